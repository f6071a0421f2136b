"""The committer answers when records are durable, and shares one sync among those who wait."""

import asyncio
import contextlib
import errno
import os
from pathlib import Path

import pytest

from deepmoat.collect.readers import Readers
from deepmoat.collect.serve import Committer
from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.errors import TransientError
from deepmoat.kit.spool import Stream, sealed

READERS = Readers(CollectSettings(), bytes(32))
APP = Stream("plain", "app", "one")


def held(folder: Path) -> bytes:
    """All bytes of all segments, sealed or not."""
    return b"".join(p.read_bytes() for p in sorted(folder.iterdir()) if p.suffix in (".seg", ".open"))


def serve(folder: Path, work, settings: CollectSettings | None = None) -> None:  # type: ignore[no-untyped-def]
    """Run ``work(committer)`` beside the committer, then stop it as core does."""

    async def main() -> None:
        committer = Committer(folder, READERS, settings or CollectSettings())
        running = asyncio.create_task(committer.run())  # noqa: TID251
        try:
            await work(committer)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_an_answered_record_is_on_disk(tmp_path: Path) -> None:
    async def work(committer: Committer) -> None:
        await committer.commit(APP, b"a\n")
        assert held(tmp_path) == b"a\n"

    serve(tmp_path, work)


def test_many_senders_share_few_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (syncs.append(fd), real(fd))[1])

    async def work(committer: Committer) -> None:
        await asyncio.gather(*(committer.commit(APP, b"%d\n" % n) for n in range(500)))

    serve(tmp_path, work)
    assert sorted(map(int, held(tmp_path).split())) == list(range(500))
    assert len(syncs) < 10


def test_what_waits_at_the_end_is_written_and_sealed(tmp_path: Path) -> None:
    async def work(committer: Committer) -> None:
        waiting = [asyncio.ensure_future(committer.commit(APP, b"%d\n" % n)) for n in range(20)]
        await asyncio.sleep(0)
        work.waiting = waiting  # type: ignore[attr-defined]

    serve(tmp_path, work)
    assert all(w.done() and w.exception() is None for w in work.waiting)  # type: ignore[attr-defined]
    assert [s.stream for s in sealed(tmp_path)] == [APP]
    assert len(held(tmp_path).split()) == 20


def test_a_segment_is_sealed_by_age_and_by_size(tmp_path: Path) -> None:
    async def by_age(committer: Committer) -> None:
        await committer.commit(APP, b"a\n")
        while not list(sealed(tmp_path / "age")):
            await asyncio.sleep(0.01)

    async def by_size(committer: Committer) -> None:
        await committer.commit(APP, b"x" * 99 + b"\n")
        assert len(list(sealed(tmp_path / "size"))) == 1

    serve(tmp_path / "age", by_age, CollectSettings(seal_seconds=0.02))
    serve(tmp_path / "size", by_size, CollectSettings(seal_bytes=100, seal_seconds=3600))


def test_a_full_spool_says_507_and_takes_no_more(tmp_path: Path) -> None:
    async def work(committer: Committer) -> None:
        await committer.commit(APP, b"x" * 99 + b"\n")
        with pytest.raises(TransientError, match="spool is full") as caught:
            await committer.commit(APP, b"y\n")
        assert caught.value.status == 507

    serve(tmp_path, work, CollectSettings(spool_bytes=100))
    assert b"y" not in held(tmp_path)


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_full_disk_says_507_keeps_nothing_of_it_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def work(committer: Committer) -> None:
        await committer.commit(APP, b"a\n")
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(TransientError, match="No space left") as caught:
                await committer.commit(APP, b"lost\n")
            assert caught.value.status == 507
        await committer.commit(APP, b"b\n")

    serve(tmp_path, work)
    assert held(tmp_path) == b"a\nb\n"


def test_after_the_end_nobody_is_left_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        committer = Committer(tmp_path, READERS, CollectSettings())
        running = asyncio.create_task(committer.run())  # noqa: TID251
        await committer.commit(APP, b"a\n")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        with pytest.raises(TransientError, match="shutting down"):
            await committer.commit(APP, b"b\n")

    asyncio.run(main())


def test_one_folder_has_one_owner(tmp_path: Path) -> None:
    async def work(committer: Committer) -> None:
        with pytest.raises(TransientError, match="another process"):
            Committer(tmp_path, READERS, CollectSettings())

    serve(tmp_path, work)


def test_a_spool_that_was_full_takes_records_again_once_it_is_loaded(tmp_path: Path) -> None:
    left = tmp_path / "00000000000000000001-00000000~plain~app~one.seg"
    left.write_bytes(b"x" * 200)  # a core that died at its limit left this

    async def work(committer: Committer) -> None:
        with pytest.raises(TransientError, match="spool is full"):
            await committer.commit(APP, b"a\n")
        left.unlink()  # the loader did that
        async with asyncio.timeout(5):
            while not held(tmp_path):
                with contextlib.suppress(TransientError):
                    await committer.commit(APP, b"a\n")
                await asyncio.sleep(0.01)

    serve(tmp_path, work, CollectSettings(spool_bytes=100))
