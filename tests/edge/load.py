"""A backend as a process of its own, and what it answers: a test can kill it and knows each byte beforehand.

``python load.py PORT LOG``: each request that came whole is one line in LOG before it is answered, so that
what was carried out is known after a SIGKILL too.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
from typing import Any
from urllib.parse import parse_qs

PIECE = 16_384
EVENT_PAUSE = 0.02


def text(name: str, size: int) -> bytes:
    """``size`` bytes that no other request has."""
    line = f"{name}:{hashlib.sha256(name.encode()).hexdigest()}\n".encode()
    return (line * (size // len(line) + 1))[:size]


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def events(name: str, count: int, *, usage: bool = False) -> list[bytes]:
    """A streamed chat of ``count`` numbered events, as a model would send them."""
    said = [
        {"id": name, "model": "load-1", "choices": [{"index": n, "delta": {"content": f"{n} "}}]}
        for n in range(count)
    ]
    if usage:
        tokens = {"prompt_tokens": 3, "completion_tokens": count}
        said.append({"id": name, "model": "load-1", "choices": [], "usage": tokens})
    return [*(b"data: %b\n\n" % json.dumps(s).encode() for s in said), b"data: [DONE]\n\n"]


def head(name: str, *lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", f"X-Load-Id: {name}", *lines, "", "")).encode()


class Backend:
    """One connection after the other, one request after the other."""

    def __init__(self, log: int) -> None:
        self.log = log

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        start = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = start.split(b"\r\n")[0].decode().split()
        body = await read_body(reader, start)
        path, _, query = target.partition("?")
        asked = {key: values[0] for key, values in parse_qs(query).items()}
        name, size = asked.get("id", ""), int(asked.get("size", "0"))
        if path == "/healthz":
            writer.write(head("", "Content-Length: 0"))
            return b"connection: close" not in start.lower()
        os.write(self.log, f"{method} {name}\n".encode())
        if path == "/get":
            await self.whole(writer, name, text(name, size))
        elif path == "/echo":
            await self.whole(writer, name, body)
        elif path == "/sum":
            said = {"id": name, "size": len(body), "sum": digest(body)}
            await self.whole(writer, name, json.dumps(said).encode())
        else:
            await self.stream(writer, name, size, body)
        return True

    async def whole(self, writer: asyncio.StreamWriter, name: str, body: bytes) -> None:
        """In pieces, so that a kill may come between."""
        writer.write(head(name, f"Content-Length: {len(body)}", f"X-Sum: {digest(body)}"))
        for start in range(0, len(body), PIECE):
            writer.write(body[start : start + PIECE])
            await writer.drain()

    async def stream(self, writer: asyncio.StreamWriter, name: str, count: int, body: bytes) -> None:
        usage = bool((json.loads(body).get("stream_options") or {}).get("include_usage"))
        writer.write(head(name, "Content-Type: text/event-stream", "Transfer-Encoding: chunked"))
        for event in events(name, count, usage=usage):
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(EVENT_PAUSE)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def read_body(reader: asyncio.StreamReader, start: bytes) -> bytes:
    """The body that a head announces, without its framing."""
    low = start.lower()
    if b"transfer-encoding: chunked" in low:
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            body += await reader.readexactly(size)
            if await reader.readexactly(2) != b"\r\n":
                raise ConnectionError("bad chunk")
        if await reader.readexactly(2) != b"\r\n":
            raise ConnectionError("bad end of chunks")
        return body
    length = re.search(rb"\r\ncontent-length: *(\d+)", low)
    return await reader.readexactly(int(length[1])) if length else b""


async def main(port: int, log: str) -> None:
    backend: Any = Backend(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    server = await asyncio.start_server(backend.serve, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
