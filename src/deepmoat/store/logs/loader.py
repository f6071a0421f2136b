"""Loader: sealed segments into logstores, each exactly once, bad records set aside.

A segment is loaded whole, by one INSERT for each logstore it feeds, and unlinked after the last.
One that ClickHouse cannot read is halved until the bad records stand alone; those go to the
``rejected`` logstore with the reason, their neighbours where they belong. Every INSERT carries a
token made of the segment's name and the half's place, so a crash anywhere in here only means
that the same tokens come again.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from deepmoat.kit.meters import count, drop
from deepmoat.kit.spool import Segment, Stream
from deepmoat.store.logs.database import Database, UnreadableError
from deepmoat.store.logs.load import Load

REJECTS = Stream("rejects", "rejected")


class Reader(Protocol):
    """What a receiver tells the loader about its segments."""

    def loads(self, stream: Stream) -> Sequence[Load]:
        """One Load for each logstore the segment feeds."""

    def split(self, data: bytes) -> list[bytes]:
        """The segment's records; joined they are ``data`` again."""


class Reject(msgspec.Struct, frozen=True):
    """One record set aside; a line of a ``rejects`` segment. ``time`` is when it was rejected."""

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
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self, segment: Segment, now: float) -> None:
        """Load and unlink. TransientError leaves the segment as it was, to try again."""
        try:
            self._whole(segment.stream, segment.path, segment.token)
        except UnreadableError:
            self._halved(segment, now)
        count("deepmoat_store_segments_total", receiver=segment.stream.receiver)
        segment.path.unlink()

    def _whole(self, stream: Stream, path: Path, token: str) -> None:
        for load in self.reader(stream.receiver).loads(stream):
            self.database.load(load, path, token)

    def _halved(self, segment: Segment, now: float) -> None:
        records = self.reader(segment.stream.receiver).split(segment.path.read_bytes())
        rejects = [
            self._reject(segment, record, reason, now)
            for record, reason in self._try(segment.stream, records, f"{segment.token}#")
        ]
        drop(segment.stream.receiver, "unreadable", len(rejects))
        self._part(REJECTS, rejects, f"{segment.token}!")

    def _try(self, stream: Stream, records: Sequence[bytes], token: str) -> Iterator[tuple[bytes, str]]:
        """Load what can be loaded of ``records``; the ones that cannot, with the reason."""
        if not records:
            return
        try:
            self._part(stream, records, token)
        except UnreadableError as exc:
            if len(records) == 1:
                yield records[0], exc.message
                return
            middle = len(records) // 2
            yield from self._try(stream, records[:middle], token + "0")
            yield from self._try(stream, records[middle:], token + "1")

    def _part(self, stream: Stream, records: Sequence[bytes], token: str) -> None:
        part = self.scratch / "part"
        part.write_bytes(b"".join(records))
        try:
            self._whole(stream, part, token)
        finally:
            part.unlink()

    @staticmethod
    def _reject(segment: Segment, record: bytes, reason: str, now: float) -> bytes:
        stream = segment.stream
        body = record[:65_536].decode("utf-8", "replace")
        place = stream.receiver, stream.logstore, stream.source, segment.token
        return msgspec.json.encode(Reject(now, *place, reason[:1000], body)) + b"\n"
