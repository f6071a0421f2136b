"""Receiver: the door records come in by. One file a protocol or a format.

A receiver never sees a record one by one: ``check`` says which of a body's records can be read, the
rest of the body is appended to a segment as it came, and ClickHouse reads the segment by the
receiver's ``loads``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.spool import Stream, whole_lines
from deepmoat.store.logs.load import Load


class Refusal(msgspec.Struct, frozen=True):
    """One record not taken: ``position`` counts from 1 (the line, or the record in the request)."""

    position: int
    reason: str


class Checked(msgspec.Struct, frozen=True):
    """What ``check`` found: bytes to append, how many records they hold, and what was refused."""

    good: bytes
    records: int
    refused: tuple[Refusal, ...] = ()


class Context(msgspec.Struct, frozen=True):
    """What every receiver is made with.

    ``key`` is the redaction key in hex. ``year`` is the year of lines that name none; 0 chooses the
    newest year that does not put the line in the segment's future.
    """

    settings: CollectSettings
    key: str
    year: int = 0


class Receiver(ABC):
    """Check a body, and say how ClickHouse reads it.

    ``check`` never raises on bad input: it names the refused records by position and reason. What it
    passes, the SELECTs of ``loads`` read without an error, each record exactly once, whatever its
    neighbours. No object per row is kept.
    """

    SAMPLE: bytes
    """A body of one or more good records."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.settings = context.settings

    @abstractmethod
    def check(self, body: bytes, now: float, logstore: str = "app") -> Checked:
        """The records of ``body`` that can be read into ``logstore`` and are in range.

        ``now`` is seconds since 1970.
        """

    @abstractmethod
    def loads(self, stream: Stream) -> Sequence[Load]:
        """One Load for each logstore that segments of ``stream`` feed."""

    def split(self, data: bytes) -> list[bytes]:
        """A segment's records; joined they are ``data`` again. Here: its lines."""
        return lines(data)

    def whole(self, data: bytes) -> int:
        """The length of a segment's leading run of whole records. Here: up to the last newline."""
        return whole_lines(data)


def lines(data: bytes) -> list[bytes]:
    """Lines that end with a newline only.

    >>> lines(b"a\\rb\\nc")
    [b'a\\rb\\n', b'c']
    """
    parts = data.split(b"\n")
    return [p + b"\n" for p in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def counted(body: bytes, kind: type[msgspec.Struct]) -> Checked:
    """Lines of our own that are each a ``kind``: all of them, or none and why."""
    try:
        records = len(msgspec.json.Decoder(kind).decode_lines(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        return Checked(b"", 0, (Refusal(1, str(exc)),))
    return Checked(body if records else b"", records)
