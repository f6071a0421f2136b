"""Inflate: a compressed body opened to be read, never more of it than may be.

What is opened is a copy: client and backend get the bytes they were sent. A few bytes of deflate can stand
for a thousand times as many, so the size, the ratio and the number of gzip members are bounded. gzip is RFC
1952, deflate RFC 1950; as some senders do, deflate without its zlib wrapper (RFC 1951) is taken too.
"""

import zlib
from typing import Literal

Closed = Literal["compressed", "compressed_broken", "compressed_too_large"]
"""Why a body could not be opened: another encoding, not what it says, or too much."""

_RATIO, _FLOOR, _MEMBERS = 100, 65_536, 16
_WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
_PLAIN = (b"", b"identity")


def inflate(encoding: bytes, data: bytes, most: int, *, whole: bool = True) -> bytes | Closed:
    """``data`` opened, at most ``most`` bytes; otherwise why not. ``whole`` False takes a beginning.

    ``encoding`` is the value of Content-Encoding.

    >>> inflate(b"gzip", zlib.compress(b"moat", wbits=31), 100)
    b'moat'
    >>> inflate(b"br", b"...", 100), inflate(b"gzip", b"...", 100)
    ('compressed', 'compressed_broken')
    """
    encoding = encoding.strip().lower()
    if encoding in _PLAIN:
        return data[:most] if len(data) <= most or not whole else "compressed_too_large"
    inflater = Inflater(encoding, most)
    opened = inflater.feed(data)
    if inflater.closed == "compressed_too_large" and not whole:
        return opened
    if inflater.closed is None and whole and not inflater.ended:
        return "compressed_broken"
    return inflater.closed or opened


class Inflater:
    """Opens a stream piece by piece. ``closed`` says why it gives nothing any more."""

    __slots__ = ("_decoder", "_given", "_members", "_most", "_taken", "_window", "closed", "ended")

    def __init__(self, encoding: bytes, most: int) -> None:
        """``encoding`` as in Content-Encoding, lower case; ``most`` bytes are given altogether."""
        self._window = _WINDOWS.get(encoding, 0)
        self._most = most
        self._taken = self._given = self._members = 0
        self._decoder = zlib.decompressobj(self._window) if self._window else None
        self.closed: Closed | None = None if self._window else "compressed"
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """What ``data`` opens to, possibly nothing yet."""
        opened = b""
        if self._window == 15 and not self._taken and data and data[0] & 15 != 8:
            self._decoder = zlib.decompressobj(-15)  # no zlib header
        self._taken += len(data)
        while data and self.closed is None:
            piece, data = self._open(data)
            opened = opened + piece if opened else piece
        return opened

    def _open(self, data: bytes) -> tuple[bytes, bytes]:
        """What one member opens to, and what stands behind it."""
        if self._decoder is None or self.ended:
            if self._window != 31 or self._members >= _MEMBERS:
                self.closed = "compressed_broken"
                return b"", b""
            self._decoder, self.ended = zlib.decompressobj(31), False
        room = min(self._most, self._taken * _RATIO + _FLOOR) - self._given
        try:
            piece = self._decoder.decompress(data, room + 1)
        except zlib.error:
            self.closed = "compressed_broken"
            return b"", b""
        if len(piece) > room:
            self.closed = "compressed_too_large"
            piece = piece[:room]
        self._given += len(piece)
        if self._decoder.eof:
            self._members += 1
            self.ended = True
            return piece, self._decoder.unused_data
        return piece, b""
