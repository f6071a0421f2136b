"""Loader: sealed segments into logstores, each exactly once, bad records set aside.

A segment is loaded whole, by one INSERT for each logstore it feeds, and unlinked after the last.
One that ClickHouse cannot read is halved until the bad records stand alone; those go to the
``rejected`` logstore with the reason, their neighbours where they belong. Every INSERT carries a
token made of the segment's name and the half's place, so a crash anywhere in here only means
that the same tokens come again. Each Load of a segment is halved by itself: what another one has
already stored under the segment's own token must not come again under those of its halves.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from deepmoat.kit.meters import count, drop, gauge
from deepmoat.kit.spool import Segment, Stream, disk_trouble
from deepmoat.store.logs.database import Database, UnreadableError
from deepmoat.store.logs.load import Load

REJECTS = Stream("rejects", "rejected")


class Reader(Protocol):
    """What a receiver tells the loader about its segments."""

    def loads(self, stream: Stream) -> Sequence[Load]:
        """One Load for each logstore the segment feeds; never two for one logstore.

        Their SELECTs may use the parameters ``{segment:String}`` (its token) and ``{born:Float64}``.
        """

    def split(self, data: bytes) -> list[bytes]:
        """The segment's records; joined they are ``data`` again."""


class Reject(msgspec.Struct, frozen=True):
    """One record set aside; a line of a ``rejects`` segment. ``time`` is when its segment was begun."""

    time: float
    receiver: str
    logstore: str
    source: str
    segment: str
    reason: str
    body: str


class Loader:
    """Load segments with the readers of their receivers."""

    def __init__(self, database: Database, reader: Callable[[str], Reader], scratch: Path) -> None:
        """``scratch`` is a folder of our own for halves of bad segments."""
        self.database, self.reader, self.scratch = database, reader, scratch
        self._known: dict[Stream, tuple[Load, ...]] = {}
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self, segment: Segment, now: float) -> None:
        """Load and unlink. TransientError leaves the segment as it was, to try again."""
        rejects: dict[int, bytes] = {}
        for load in self._loads(segment):
            if load.words and not load.concerns(segment.path.read_bytes()):
                continue
            for place, reject in self._one(segment, load):
                rejects.setdefault(place, reject)
        self._set_aside(segment, list(rejects.values()))
        count("deepmoat_store_segments_total", receiver=segment.stream.receiver)
        gauge("deepmoat_store_load_lag_seconds", max(0.0, now - segment.born))
        segment.path.unlink()

    def _one(self, segment: Segment, load: Load) -> Iterator[tuple[int, bytes]]:
        """Run one Load, or those it names otherwise, or halves; what is to be set aside, by its place."""
        try:
            self.database.load(load, segment.path, segment.token)
        except UnreadableError:
            for other in load.otherwise:
                told = msgspec.structs.replace(other, parameters=other.parameters | load.parameters)
                yield from self._one(segment, told)
            if not load.otherwise:
                yield from self._halved(segment, load)
            return
        if load.logstore == REJECTS.logstore and segment.stream.receiver != REJECTS.receiver:
            self._count_rejected(segment)

    def _count_rejected(self, segment: Segment) -> None:
        """Count what the receiver's own statement set aside, by its reasons, which are a small set."""
        since = f"time >= fromUnixTimestamp64Milli({int(segment.born * 1000) - 1000})"
        where = f"segment = {{segment:String}} AND {since}"
        sql = f"SELECT reason, count() FROM {REJECTS.logstore} WHERE {where} GROUP BY reason"  # noqa: S608
        for reason, n in self.database.query(sql, {"segment": segment.token}).rows:
            drop(segment.stream.receiver, reason.replace(" ", "_"), n)

    def _loads(self, segment: Segment) -> list[Load]:
        """The receiver's Loads, told which segment this is and when it was born.

        Both are the same when a crash makes us load it again, so the same rows come out.
        """
        own = {"segment": segment.token, "born": repr(segment.born)}
        stream = segment.stream
        if stream not in self._known:
            self._known[stream] = tuple(self.reader(stream.receiver).loads(stream))
        loads = self._known[stream]
        return [msgspec.structs.replace(load, parameters=load.parameters | own) for load in loads]

    def _halved(self, segment: Segment, load: Load) -> Iterator[tuple[int, bytes]]:
        """Load what can be loaded; the places of the records that cannot, and what to set aside of them."""
        records = self.reader(segment.stream.receiver).split(segment.path.read_bytes())
        for place, reason in self._try(load, records, 0, f"{segment.token}#"):
            yield place, self._reject(segment, records[place], f"{load.logstore}: {reason}")

    def _try(self, load: Load, records: Sequence[bytes], at: int, token: str) -> Iterator[tuple[int, str]]:
        if not records:
            return
        try:
            self._part(load, records, token)
        except UnreadableError as exc:
            if len(records) == 1:
                yield at, exc.message
                return
            middle = len(records) // 2
            yield from self._try(load, records[:middle], at, token + "0")
            yield from self._try(load, records[middle:], at + middle, token + "1")

    def _set_aside(self, segment: Segment, rejects: Sequence[bytes]) -> None:
        if not rejects:
            return
        drop(segment.stream.receiver, "unreadable", len(rejects))
        for load in self.reader(REJECTS.receiver).loads(REJECTS):
            self._part(load, rejects, f"{segment.token}!")

    def _part(self, load: Load, records: Sequence[bytes], token: str) -> None:
        part = self.scratch / "part"
        try:
            part.write_bytes(b"".join(records))
        except OSError as exc:
            raise disk_trouble(exc, self.scratch) from exc
        try:
            self.database.load(load, part, token)
        finally:
            part.unlink()

    @staticmethod
    def _reject(segment: Segment, record: bytes, reason: str) -> bytes:
        stream = segment.stream
        body = record[:65_536].decode("utf-8", "replace")
        place = stream.receiver, stream.logstore, stream.source, segment.token
        return msgspec.json.encode(Reject(segment.born, *place, reason[:1000], body)) + b"\n"
