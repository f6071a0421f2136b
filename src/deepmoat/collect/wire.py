"""The wire format of protobuf, as far as it takes to count records without building them.

A body of a few megabytes can hold millions of empty records, each of which becomes an object of a
hundred bytes and more when it is parsed.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from itertools import islice

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# resource_logs (1) of the request, scope_logs (2) of these, log_records (2) of these.
_PATH = (1, 2, 2)


def at_most(body: bytes, most: int) -> bool:
    """Has an ExportLogsServiceRequest at most ``most`` log records? Counted up to the first fault.

    >>> one = bytes([10, 4, 18, 2, 18, 0])  # a request of one empty record
    >>> at_most(one, 1), at_most(one + one, 1)
    (True, False)
    """
    spans: Iterator[tuple[int, int]] = iter([(0, len(body))])
    for number in _PATH:
        spans = _inside(body, spans, number)
    return sum(1 for _ in islice(spans, most + 1)) <= most


def _inside(body: bytes, spans: Iterator[tuple[int, int]], number: int) -> Iterator[tuple[int, int]]:
    return (inner for start, end in spans for inner in _messages(body, start, end, number))


def _messages(body: bytes, at: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    """Where the fields ``number`` of the message in ``body[at:end]`` begin and end."""
    try:
        while at < end:
            tag, at = _varint(body, at)
            kind = tag & 7
            if kind == _BYTES:
                size, at = _varint(body, at)
                if at + size > end:
                    return
                if tag >> 3 == number:
                    yield at, at + size
                at += size
            elif kind == _VARINT:
                _, at = _varint(body, at)
            elif kind in (_FIXED64, _FIXED32):
                at += 8 if kind == _FIXED64 else 4
            else:
                return
    except (IndexError, ValueError):
        return


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and where it ends. IndexError past the end, ValueError past 64 bits."""
    byte = body[at]
    if byte < 128:
        return byte, at + 1
    number, shift = byte & 127, 7
    while True:
        at += 1
        byte = body[at]
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at + 1
        shift += 7
        if shift > 63:
            raise ValueError("not a varint")
