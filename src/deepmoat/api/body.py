"""Bodies: read within bounds of size, time and memory, and inflated within bounds."""

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import to_thread
from fastapi import Request

from deepmoat.api.settings import ApiSettings
from deepmoat.kit.errors import PeerError

_SMALL = 4096
"""Bytes that are inflated on the loop, to a thousand times as many at most; more goes to a thread."""


class Held:
    """Bytes one request holds of the budget."""

    __slots__ = ("budget", "bytes")

    def __init__(self, budget: "Budget") -> None:
        self.budget, self.bytes = budget, 0

    def add(self, n: int) -> None:
        """Hold ``n`` more; PeerError 429 when all requests together hold too much."""
        if self.budget.used + n > self.budget.most:
            raise PeerError("too many bodies are being read", status=429, hint="try again in a few seconds")
        self.budget.used += n
        self.bytes += n


class Budget:
    """Memory for the bodies of all requests together."""

    def __init__(self, most: int) -> None:
        """``most`` bytes at once."""
        self.most, self.used = most, 0

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Give back all that was held when the request is over."""
        held = Held(self)
        try:
            yield held
        finally:
            self.used -= held.bytes


async def read(request: Request, settings: ApiSettings, held: Held) -> bytes:
    """The body, inflated. PeerError: 408 too slow, 413 too large, 415 unknown encoding, 400 broken gzip."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise PeerError(
            f"cannot read Content-Encoding {encoding[:40]!r}", status=415, hint="send gzip, or nothing"
        )
    data = await _read(request, settings, held)
    if encoding in ("identity", ""):
        return data
    guess = min(len(data) * 4, settings.inflated_bytes)
    held.add(guess)
    body = await _inflate(data, settings.inflated_bytes)
    held.add(max(0, len(body) - guess))
    return body


async def _inflate(data: bytes, most: int) -> bytes:
    return inflate(data, most) if len(data) < _SMALL else await to_thread.run_sync(inflate, data, most)


async def _read(request: Request, settings: ApiSettings, held: Held) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > settings.body_bytes:
        raise _too_large(settings.body_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > settings.body_bytes:
                    raise _too_large(settings.body_bytes)
                held.add(len(chunk))
                chunks.append(chunk)
    except TimeoutError as exc:
        raise PeerError(f"the body took more than {settings.body_seconds:g} s", status=408) from exc
    return b"".join(chunks)


def inflate(data: bytes, most: int) -> bytes:
    """Undo gzip (RFC 1952, any number of members).

    Raises PeerError: 413 when it grows past ``most`` bytes, 400 when it is cut off or no gzip.
    """
    parts: list[bytes] = []
    at = size = 0
    while at < len(data):
        at, member = _member(data, at, most - size)
        size += len(member)
        parts.append(member)
    return b"".join(parts)


def _member(data: bytes, at: int, most: int) -> tuple[int, bytes]:
    """The gzip member that begins at ``at``: where it ends, and what was in it."""
    inflater = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    step = 512  # grows: a body of many tiny members must not cost a copy of its rest for each
    while not inflater.eof:
        chunk = data[at : at + step]
        if not chunk:
            raise PeerError("the gzip body is cut off", where="body", hint="send it again, whole")
        part = _inflated(inflater, chunk, most + 1)
        most -= len(part)
        if most < 0:
            raise PeerError("the body grows too large", status=413, hint="send smaller batches")
        parts.append(part)
        at += len(chunk) - len(inflater.unused_data)
        step = min(step * 2, 1 << 20)
    return at, b"".join(parts)


def _inflated(inflater: "zlib._Decompress", chunk: bytes, most: int) -> bytes:
    try:
        return inflater.decompress(chunk, most)
    except zlib.error as exc:
        raise PeerError(f"the body is no gzip: {exc}", where="body") from exc


def _too_large(most: int) -> PeerError:
    return PeerError(f"the body is larger than {most} bytes", status=413, hint="send smaller batches")
