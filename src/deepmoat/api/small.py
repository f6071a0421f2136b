"""Small JSON bodies: read within bounds into a struct that refuses unknown keys."""

from typing import TypeVar

import msgspec
from fastapi import Request

from deepmoat.kit.errors import PeerError

MOST = 1_048_576
"""Bytes such a body may have."""

T = TypeVar("T", bound=msgspec.Struct)


async def read_object(request: Request, kind: type[T]) -> T:
    """The body as ``kind``; PeerError 413 or 400 that names the key."""
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST:
            raise PeerError(f"the body is larger than {MOST} bytes", status=413)
        parts.append(chunk)
    try:
        return msgspec.json.decode(b"".join(parts) or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        known = ", ".join(f.encode_name for f in msgspec.structs.fields(kind))
        raise PeerError(str(exc), where="body", hint=f"a JSON object; known keys: {known}") from exc
