import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepmoat.app.intake import QUARANTINE, Intake
from deepmoat.collect.enrich import country
from deepmoat.collect.readers import Readers
from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.meters import dropped
from deepmoat.kit.spool import Spool, Stream, whole_lines
from deepmoat.store.logs.database import Database
from deepmoat.store.logs.loader import Loader

ACCESS = Stream("records", "access", "edge-0")


@pytest.fixture
def intake(database: Database, tmp_path: Path) -> Iterator[Intake]:
    country.install(database, tmp_path / "cache", blocks=["81.2.69.0/24"])
    readers = Readers(CollectSettings(), b"k" * 32)
    loader = Loader(database, readers.get, tmp_path / "scratch")
    (tmp_path / "spool").mkdir()
    yield Intake(loader, readers, tmp_path / "spool")
    database.command("TRUNCATE TABLE country_ranges")  # for tests that want other ranges


def line(n: int) -> bytes:
    return json.dumps({"time": 1_770_000_000.0 + n, "url_path": f"/{n}"}).encode() + b"\n"


def owned(intake: Intake, name: str) -> Spool:
    return Spool(intake.spools / name, whole=lambda receiver: whole_lines)


def count(intake: Intake) -> int:
    return intake.loader.database.scalar("SELECT count() FROM access")


def test_sealed_segments_of_every_spool_are_loaded_and_gone(intake: Intake) -> None:
    for name in ("core", "edge-0", "edge-1"):
        spool = owned(intake, name)
        spool.append(ACCESS, line(1) + line(2), 1.0)
        spool.close()
    assert intake.pass_over() == 3
    assert count(intake) == 6 and not list(intake.spools.glob("*/*.seg"))


def test_open_segments_of_the_living_wait_and_those_of_the_dead_are_recovered(intake: Intake) -> None:
    spool = owned(intake, "edge-0")
    spool.append(ACCESS, line(1), 1.0)
    intake._recover_orphans()
    assert intake.pass_over() == 0
    dead = intake.spools / "edge-9"
    dead.mkdir()
    (dead / "00000000000000000009~records~access~edge-9.open").write_bytes(line(7) + b'{"torn')
    intake._recover_orphans()
    assert intake.pass_over() == 1 and count(intake) == 1
    spool.close()


def test_what_nobody_can_read_is_set_aside_and_counted(intake: Intake) -> None:
    folder = intake.spools / "core"
    folder.mkdir()
    before = dropped("intake", "segment_set_aside")
    names = [
        "00000000000000000001~nobody~access~x.seg",
        "00000000000000000001~records~nologstore~x.seg",
        "00000000000000000001~ndjson~nologstore~x.seg",
        "x~records~access~x.seg",
        "nonsense.seg",
    ]
    for name in names:
        (folder / name).write_bytes(b"kept\n")
    assert intake.pass_over() == 0
    kept = sorted((intake.spools / QUARANTINE).iterdir())
    assert [p.read_bytes() for p in kept] == [b"kept\n"] * len(names)
    assert dropped("intake", "segment_set_aside") == before + len(names)


def test_the_thread_loads_and_stops(intake: Intake) -> None:
    spool = owned(intake, "core")
    intake.start(lambda exc: pytest.fail(str(exc)))
    spool.append(ACCESS, line(1), 1.0)
    spool.close()
    intake.stop()
    assert count(intake) == 1


def test_a_bug_while_loading_is_told_and_not_survived(intake: Intake) -> None:
    spool = owned(intake, "core")
    spool.append(ACCESS, line(1), 1.0)
    spool.close()
    told: list[BaseException] = []
    intake.loader.database = None  # type: ignore[assignment]
    intake.start(told.append)
    intake._thread.join(10)
    assert len(told) == 1 and not intake._thread.is_alive() and len(list(intake.spools.glob("*/*.seg"))) == 1


def test_a_spool_that_is_far_behind_holds_up_no_other(intake: Intake) -> None:
    for name, segments in (("core", 6), ("edge-0", 2), ("edge-1", 1)):
        spool = owned(intake, name)
        for n in range(segments):
            spool.append(ACCESS, line(n), 1.0 + n)
            spool.seal()
        spool.close()
    order: list[str] = []
    load = intake.loader.load
    intake.loader.load = lambda segment, now: (  # type: ignore[method-assign]
        order.append(segment.path.parent.name),
        load(segment, now),
    )[1]
    assert intake.pass_over() == 9 and count(intake) == 9
    assert order[:5] == ["core", "edge-0", "edge-1", "core", "edge-0"]


def test_a_large_backlog_does_not_hold_up_the_end(intake: Intake) -> None:
    spool = owned(intake, "core")
    for n in range(30):
        spool.append(ACCESS, line(n), 1.0 + n)
        spool.seal()
    spool.close()
    intake.stop(0.0)
    left = len(list(intake.spools.glob("*/*.seg")))
    assert left == 30 - count(intake) > 0, "what is not loaded yet waits for the next start"


def test_what_detectors_look_at_is_loaded_first(intake: Intake) -> None:
    folder = intake.spools / "core"
    folder.mkdir()
    for number, logstore in enumerate(("llm", "audit", "access", "security")):
        (folder / f"{number:020d}~records~{logstore}~x.seg").write_bytes(b"")
    order = [path.name.split("~")[2] for path in intake._sealed()]
    assert order == ["access", "security", "llm", "audit"]
