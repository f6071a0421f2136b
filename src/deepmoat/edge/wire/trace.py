"""W3C Trace Context: the traceparent header, read and written anew.

Source: https://www.w3.org/TR/trace-context-1/. We take part in a trace: its id goes on, our own id takes
the place of the caller's. When a traceparent is no good, tracestate has to be dropped with it (section
3.3).
"""

import re

import msgspec

_FIELDS = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE, _NO_PARENT = b"0" * 32, b"0" * 16
_SPAN = (1 << 64) - 1
_TRACE = (1 << 128) - 1


class Trace(msgspec.Struct, frozen=True, gc=False):
    """One position in a trace: 32 and 16 lower-case hex digits, never all zero."""

    trace_id: str
    parent_id: str
    sampled: bool

    def header(self) -> bytes:
        """The value of traceparent, in version 00.

        >>> Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True).header()
        b'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        """
        return b"00-%b-%b-%b" % (
            self.trace_id.encode(),
            self.parent_id.encode(),
            b"01" if self.sampled else b"00",
        )


def read_traceparent(value: bytes) -> Trace | None:
    """The position in a header's value; None when it is invalid, as two headers joined by a comma are.

    Of a version above 00 the four fields of 00 are read, and what follows them after a dash is not. Version
    ff is invalid.
    """
    match = _FIELDS.fullmatch(value)
    if not match:
        return None
    version, trace, parent, flags, more = match.groups()
    if version == b"ff" or (more is not None and version == b"00"):
        return None
    if trace == _NO_TRACE or parent == _NO_PARENT:
        return None
    return Trace(trace.decode(), parent.decode(), bool(int(flags, 16) & 1))


def new_traceparent(received: Trace | None, bits: int, *, sampled: bool = True) -> Trace:
    """Our position: in the trace ``received``, or in a new one that is ``sampled``.

    ``bits`` are 192 random ones (``random.getrandbits(192)``); the lower 64 become our id, the others a new
    trace's.

    >>> new_traceparent(None, (7 << 64) + 5).header()
    b'00-00000000000000000000000000000007-0000000000000005-01'
    """
    parent = f"{bits & _SPAN or 1:016x}"
    if received is not None:
        return Trace(received.trace_id, parent, received.sampled)
    return Trace(f"{bits >> 64 & _TRACE or 1:032x}", parent, sampled)
