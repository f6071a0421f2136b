"""Committer: many senders, one disk. An answer is given when the records would survive a power cut.

Requests that arrive while the disk is busy wait together and share the next fdatasync (group commit): the
appends and the sync of a group run in one thread, so the loop never waits for the disk. A quiet stream's
segment is sealed half a second after it was begun, so that the loader finds it.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from deepmoat.collect.readers import Readers
from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.errors import MoatError, TransientError
from deepmoat.kit.meters import count, drop, gauge
from deepmoat.kit.spool import Spool, Stream


class _Waiting(msgspec.Struct, frozen=True):
    stream: Stream
    data: bytes
    done: "asyncio.Future[None]"


class Committer:
    """Owns one spool. ``commit`` from any task of one loop; ``run`` is the loop's task that serves it."""

    def __init__(self, folder: Path, settings: CollectSettings, readers: Readers) -> None:
        """Take ``folder`` over; TransientError when another living process owns it."""
        self.settings = settings
        self._spool = Spool(folder, whole=lambda name: readers.get(name).whole)
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="committer")
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._size = 0

    async def commit(self, stream: Stream, data: bytes) -> None:
        """Return once ``data`` (whole records) is durable. TransientError (507) when it cannot be now."""
        if self._closing:
            raise TransientError("shutting down", where="spool", hint="send it again in a moment")
        if not data:
            return
        if self._size + sum(len(w.data) for w in self._waiting) > self.settings.spool_bytes:
            drop("committer", "spool_full")
            raise TransientError(
                "the spool is full: the store does not keep up",
                status=507,
                where=str(self._spool.folder),
                hint="send again later; see collect.spool_bytes and the free space of the disk",
            )
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(stream, data, done))
        self._wake.set()
        await done

    async def run(self) -> None:
        """Serve until ``close``; cancelling it is a crash, which loses nothing that was answered."""
        loop = asyncio.get_running_loop()
        while not (self._closing and not self._waiting):
            try:
                async with asyncio.timeout(self.settings.seal_seconds / 4):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            group, self._waiting = self._waiting, []
            errors = await loop.run_in_executor(self._disk, self._write, group, time.time())
            _answer(group, errors)

    async def close(self) -> None:
        """Refuse what comes from now on; ``run`` ends once what waits is written. Then ``release``."""
        self._closing = True
        self._wake.set()

    def release(self) -> None:
        """Seal what is open and give the folder up; after ``run`` has ended."""
        self._disk.shutdown()
        self._spool.close()

    def _write(self, group: list[_Waiting], now: float) -> list[MoatError | None]:
        """Append and sync one group; the error of each, or None. Runs in the committer's thread."""
        errors = [self._append(waiting, now) for waiting in group]
        try:
            self._spool.sync()
            self._spool.seal(older_than=now - self.settings.seal_seconds, larger_than=self.settings.seal_bytes)
        except MoatError as exc:
            drop("committer", "disk_full", len(group))
            return [exc] * len(group)
        self._size = self._spool.size()
        gauge("deepmoat_collect_spool_bytes", self._size, spool=self._spool.folder.name)
        if group:
            count("deepmoat_collect_commits_total")
        return errors

    def _append(self, waiting: _Waiting, now: float) -> MoatError | None:
        try:
            self._spool.append(waiting.stream, waiting.data, now)
        except MoatError as exc:
            drop("committer", "disk_full")
            return exc
        return None


def _answer(group: list[_Waiting], errors: list[MoatError | None]) -> None:
    for waiting, error in zip(group, errors, strict=True):
        if waiting.done.cancelled():
            continue
        if error is None:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(error)
