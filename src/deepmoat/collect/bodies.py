"""Compressed bodies, unpacked within a bound: a kilobyte of gzip can hold a gigabyte of nothing."""

import zlib

from deepmoat.kit.errors import PeerError


def gunzipped(body: bytes, limit: int) -> bytes:
    """The content of a gzip body of at most ``limit`` bytes, all its members.

    Raises PeerError: 413 when there is more, 400 when it is cut short or not gzip.
    """
    parts: list[bytes] = []
    left = limit
    while body:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            part = unpacker.decompress(body, left + 1)
        except zlib.error as exc:
            raise PeerError(f"the body is not gzip: {exc}", where="Content-Encoding") from exc
        left -= len(part)
        if left < 0:
            raise PeerError(
                f"the body is more than {limit} bytes unpacked", status=413, hint="send smaller batches"
            )
        if not unpacker.eof:
            raise PeerError("the gzip body is cut short", where="Content-Encoding", hint="send it again")
        parts.append(part)
        body = unpacker.unused_data.lstrip(b"\0")
    return b"".join(parts)
