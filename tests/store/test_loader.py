"""Each record is stored exactly once, whatever happens between the first load and the last."""

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmoat.collect.enrich import country
from deepmoat.collect.readers import Readers
from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.errors import MoatError, QueryError, TransientError
from deepmoat.kit.meters import dropped
from deepmoat.kit.spool import Segment, Spool, Stream, sealed
from deepmoat.store.logs.database import Database, UnreadableError
from deepmoat.store.logs.load import Load
from deepmoat.store.logs.loader import Loader

NOW = 1_767_225_600.0
DAY = 86_400
READERS = Readers(CollectSettings(), b"a key of these tests, 32 bytes..")
ACCESS = Stream("records", "access", "edge-0")


class CrashError(Exception):
    """The process died here."""


class Failing(Database):
    """The same engine, which dies before or after the n-th statement."""

    def __init__(self, database: Database, at: int, after: bool) -> None:
        self.__dict__ = database.__dict__
        self.at, self.after = at, after

    def load(self, load: Load, path: Path, token: str) -> None:
        """Count down, then die once."""
        self.at -= 1
        if self.at == 0 and not self.after:
            raise CrashError
        try:
            super().load(load, path, token)
        finally:
            if self.at == 0:
                raise CrashError


def lines(count: int, days: int = 1, **more: object) -> bytes:
    """Rows spread over ``days``, every tenth of them a login."""
    rows = (
        {"time": NOW - (n % days) * DAY, "request_id": str(n), "url_path": "/login" if n % 10 == 0 else "/"}
        | {"http_request_method": "POST", "http_response_status_code": 401}
        | more
        for n in range(count)
    )
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


@pytest.fixture
def spool(tmp_path: Path, database: Database) -> Iterator[Spool]:
    country.install(database, tmp_path, blocks=("1.0.0.0/16",))
    made = Spool(tmp_path / "core", whole=lambda name: READERS.get(name).whole)
    yield made
    made.close()


def segment(spool: Spool, data: bytes, stream: Stream = ACCESS) -> Segment:
    """One sealed segment."""
    spool.append(stream, data, NOW)
    spool.sync()
    spool.seal()
    (made,) = sealed(spool.folder)
    return made


def counts(database: Database, *logstores: str) -> tuple[int, ...]:
    """Rows of each logstore."""
    return tuple(database.scalar(f"SELECT count() FROM {name}") for name in logstores)


def test_a_segment_loaded_three_times_is_stored_once(database: Database, spool: Spool) -> None:
    made = segment(spool, lines(5000, days=3))
    loader = Loader(database, READERS.get, spool.folder.parent / "scratch")
    kept = made.path.read_bytes()
    for _ in range(3):
        made.path.write_bytes(kept)
        loader.load(made, NOW)
    assert counts(database, "access", "security", "rejected") == (5000, 500, 0)
    assert not made.path.exists()


def test_equal_segments_are_two(database: Database, spool: Spool) -> None:
    loader = Loader(database, READERS.get, spool.folder.parent / "scratch")
    for _ in range(2):
        loader.load(segment(spool, lines(10)), NOW)
    assert counts(database, "access", "security") == (20, 2)


def test_a_segment_over_more_days_than_an_insert_may_have_is_stored(database: Database, spool: Spool) -> None:
    rows = (b'{"time": %d, "body": "x"}\n' % (NOW - n * DAY) for n in range(101))
    made = segment(spool, b"".join(rows), Stream("records", "app"))
    loader = Loader(database, READERS.get, spool.folder.parent / "scratch")
    kept = made.path.read_bytes()
    for _ in range(2):
        made.path.write_bytes(kept)
        loader.load(made, NOW)
    assert counts(database, "app") == (101,)


# Rows only ClickHouse refuses: our own edge's segments are loaded without a check.
BAD = [
    b'{"time": "yesterday"}\n',
    b'{"time": 1, "http_response_status_code": "many"}\n',
    b"hello\n",
    b'{"time"\n',
]


def test_bad_records_are_set_aside_and_every_good_one_is_stored(database: Database, spool: Spool) -> None:
    rows = lines(60).splitlines(keepends=True)
    for place, bad in zip((0, 37, 38, 63), BAD, strict=True):
        rows.insert(place, bad)
    before = dropped("records", "unreadable")
    Loader(database, READERS.get, spool.folder.parent / "scratch").load(segment(spool, b"".join(rows)), NOW)
    assert counts(database, "access", "security", "rejected") == (60, 6, 4)
    assert dropped("records", "unreadable") == before + 4
    found = list(database.query("SELECT body, logstore, receiver, reason FROM rejected").dicts())
    assert {row["body"].encode() for row in found} == set(BAD)
    assert {(row["logstore"], row["receiver"]) for row in found} == {("access", "records")}
    assert all(row["reason"] for row in found)


@pytest.mark.parametrize(("at", "after"), [(n, n % 2 == 0) for n in range(1, 11)] + [(1, True), (11, True)])
def test_a_crash_at_any_statement_stores_all_exactly_once(
    database: Database, spool: Spool, at: int, after: bool
) -> None:
    rows = lines(16, days=2).splitlines(keepends=True)
    rows.insert(5, BAD[0])
    made = segment(spool, b"".join(rows))
    scratch = spool.folder.parent / "scratch"
    with pytest.raises(CrashError):
        Loader(Failing(database, at, after), READERS.get, scratch).load(made, NOW)
    assert made.path.exists()
    Loader(database, READERS.get, scratch).load(made, NOW + DAY)
    assert counts(database, "access", "security", "rejected") == (16, 2, 1)
    assert list(scratch.iterdir()) == []


def test_a_bad_record_of_the_second_load_does_not_double_the_first(database: Database, spool: Spool) -> None:
    class Halves:
        """A reader whose second Load fails on some records that its first takes."""

        split = staticmethod(lambda data: data.splitlines(keepends=True))

        def loads(self, stream: Stream) -> Sequence[Load]:
            first = Load(
                "app", "LineAsString", "line String", ("time", "body"), f"SELECT {NOW}, line FROM {{file}}"
            )
            strict = f"SELECT {NOW}, toString(toUInt8(line)) FROM {{file}}"
            return first, Load("audit", "LineAsString", "line String", ("time", "body"), strict)

    def reader(name: str) -> object:
        return READERS.get(name) if name == "rejects" else Halves()

    made = segment(spool, b"1\n2\nx\n3\n", Stream("half", "app"))
    Loader(database, reader, spool.folder.parent / "scratch").load(made, NOW)  # type: ignore[arg-type]
    assert counts(database, "app", "audit", "rejected") == (4, 3, 1)


def test_a_full_disk_keeps_the_segment_and_it_is_stored_later(database: Database, spool: Spool) -> None:
    made = segment(spool, lines(100))
    loader = Loader(database, READERS.get, spool.folder.parent / "scratch")
    too_much = 2**62
    database.command(f"ALTER TABLE access MODIFY SETTING min_free_disk_bytes_to_perform_insert = {too_much}")
    try:
        with pytest.raises(TransientError) as caught:
            loader.load(made, NOW)
        assert caught.value.status == 507
    finally:
        database.command(
            "ALTER TABLE access MODIFY SETTING min_free_disk_bytes_to_perform_insert = 268435456"
        )
    assert made.path.exists()
    assert counts(database, "access", "rejected") == (0, 0)
    loader.load(made, NOW)
    assert counts(database, "access", "security", "rejected") == (100, 10, 0)


def test_a_load_past_the_memory_cap_waits_and_is_not_set_aside(database: Database, spool: Spool) -> None:
    made = segment(spool, b"x\n" * 1000, Stream("plain", "app"))

    class Greedy:
        """A reader that sorts more than fits."""

        split = staticmethod(lambda data: data.splitlines(keepends=True))

        def loads(self, stream: Stream) -> Sequence[Load]:
            select = "SELECT 1, toString(length(groupArray(number))) FROM numbers(100000000)"
            return (
                Load(
                    "app",
                    "LineAsString",
                    "line String",
                    ("time", "body"),
                    select,
                    settings={"max_memory_usage": 10_000_000},
                ),
            )  # noqa: E501

    with pytest.raises(TransientError, match="memory"):
        Loader(database, lambda _: Greedy(), spool.folder.parent / "scratch").load(made, NOW)
    assert made.path.exists()


def test_a_wrong_statement_of_ours_is_no_fault_of_the_records(database: Database, spool: Spool) -> None:
    made = segment(spool, b"x\n" * 1000, Stream("plain", "app"))

    class Wrong:
        """A reader whose SELECT names a column that is not there."""

        split = staticmethod(lambda data: data.splitlines(keepends=True))

        def loads(self, stream: Stream) -> Sequence[Load]:
            return (
                Load("app", "LineAsString", "line String", ("time", "body"), "SELECT 1, nope FROM {file}"),
            )

    with pytest.raises(QueryError):
        Loader(database, lambda _: Wrong(), spool.folder.parent / "scratch").load(made, NOW)
    assert made.path.exists()
    assert counts(database, "rejected") == (0,)


def test_the_driver_tells_unreadable_data_from_the_rest(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x\n")
    load = Load(
        "app", "JSONEachRow", "time Float64, body String", ("time", "body"), "SELECT time, body FROM {file}"
    )
    with pytest.raises(UnreadableError):
        database.load(load, path, "t")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*BAD, b"good"]), min_size=1, max_size=24))
def test_any_mix_of_good_and_bad_is_parted(database: Database, spool: Spool, mix: list[bytes]) -> None:
    for logstore in ("access", "rejected"):
        database.command(f"TRUNCATE TABLE {logstore}")
    rows = [
        json.dumps({"time": NOW, "request_id": str(n)}).encode() + b"\n" if r == b"good" else r
        for n, r in enumerate(mix)
    ]
    Loader(database, READERS.get, spool.folder.parent / "scratch").load(segment(spool, b"".join(rows)), NOW)
    good = mix.count(b"good")
    assert counts(database, "access", "rejected") == (good, len(mix) - good)


def test_a_spool_takes_back_what_the_disk_did_not_take(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    one, two = lines(3), lines(5)
    spool.append(ACCESS, one, NOW)
    spool.sync()
    spool.append(ACCESS, two, NOW)
    spool.append(Stream("plain", "app"), b"x\n", NOW)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(OSError(errno.EIO, "Input/output error")))
        with pytest.raises(MoatError, match="cannot write"):
            spool.sync()
    spool.seal()
    (made,) = sealed(spool.folder)
    assert made.path.read_bytes() == one


def failing(error: Exception) -> Callable[[int], None]:
    """A call that raises."""

    def call(descriptor: int) -> None:
        raise error

    return call


def test_a_name_never_comes_twice_even_when_the_clock_stands_still(spool: Spool) -> None:
    tokens = set()
    for _ in range(3):
        made = segment(spool, b'{"time": 1}\n')
        tokens.add(made.token)
        assert made.born == pytest.approx(NOW)
        made.path.unlink()
        spool._last = 0
    assert len(tokens) == 3
