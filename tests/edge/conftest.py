"""A real edge worker and a real toy backend on loopback, in one uvloop loop."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from deepmoat.edge.serve import serve
from deepmoat.edge.settings import BackendSettings, EdgeSettings
from deepmoat.model import Action

CLOSED = (asyncio.IncompleteReadError, ConnectionError)
ANSWER = (
    b'{"model":"m-1","usage":{"prompt_tokens":3,"completion_tokens":5},"choices":[{"finish_reason":"stop"}]}'
)


class Peer:
    """One end of a connection, with what tests ask of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def body(self, head: bytes) -> bytes:
        """The body that ``head`` announces, without its framing."""
        low = head.lower()
        if b"transfer-encoding: chunked" in low:
            return await self._chunks()
        length = re.search(rb"content-length: (\d+)", low)
        return await self.reader.readexactly(int(length[1])) if length else b""

    async def _chunks(self) -> bytes:
        body = b""
        while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return body

    async def answer(self, *, bodiless: bool = False) -> tuple[int, bytes, bytes]:
        """Status, head and body of the next answer."""
        head = await self.head()
        return int(head[9:12]), head, b"" if bodiless else await self.body(head)

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        self.send(request)
        return await self.answer()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def closed(self) -> bytes:
        """What still comes until the other end closes."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def close(self) -> None:
        self.writer.close()


Handler = Callable[[Peer, bytes, bytes], Awaitable[None]]


async def polite(peer: Peer, head: bytes, body: bytes) -> None:
    """Answer anything with one small JSON object."""
    peer.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
    )
    peer.send(b"" if head.startswith(b"HEAD ") else ANSWER)


class Toy:
    """A backend. ``requests`` are the (head, body) pairs it got; ``left`` counts connections that ended."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[tuple[bytes, bytes]] = []
        self.address = ""
        self.connections = 0
        self.left = asyncio.Semaphore(0)
        self.writers: list[asyncio.StreamWriter] = []
        self.server: Any = None

    async def start(self, port: int = 0, **more: Any) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", port, **more)
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await self.server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        peer = Peer(reader, writer)
        try:
            while True:
                head = await peer.head()
                body = await peer.body(head)
                self.requests.append((head, body))
                await self.handler(peer, head, body)
        except CLOSED:
            pass
        finally:
            writer.close()
            self.left.release()


class Edge:
    """A running worker."""

    def __init__(self, port: int, data: Path) -> None:
        self.port, self.data = port, data
        self.stop = asyncio.Event()
        self.task: Any = None
        self.peers: list[Peer] = []

    async def connect(self, source: str = "127.0.0.1") -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0)))
        self.peers.append(peer)
        return peer

    async def end(self) -> None:
        """Stop it and wait: what it wrote is then all there."""
        self.stop.set()
        await self.task

    def records(self, logstore: str) -> list[dict[str, Any]]:
        """All lines written to ``logstore``."""
        return [
            msgspec.json.decode(line)
            for path in sorted((self.data / "spool" / "edge-0").glob(f"*~records~{logstore}~*.seg"))
            for line in path.read_bytes().splitlines()
        ]


@asynccontextmanager
async def running(data: Path, *toys: Toy, changes: Any = None, **settings: Any) -> AsyncIterator[Edge]:
    """An edge in front of ``toys``; it and they have stopped when this ends."""
    backends = tuple(BackendSettings(address=toy.address) for toy in toys)
    settings = {"listen": "127.0.0.1:0", "backends": backends, "workers": 1} | settings
    listening = asyncio.get_running_loop().create_future()
    edge = Edge(0, data)
    work = serve(
        EdgeSettings(**settings),
        worker=0,
        data=data,
        secret=b"s" * 32,
        stop=edge.stop,
        listening=listening,
        changes=changes,
    )
    edge.task = asyncio.ensure_future(work)
    await asyncio.wait({edge.task, listening}, return_when=asyncio.FIRST_COMPLETED)
    if edge.task.done():
        await edge.task
    edge.port = listening.result()
    try:
        yield edge
    finally:
        for peer in edge.peers:
            peer.close()
        await asyncio.wait_for(edge.end(), 15)
        for toy in toys:
            await toy.stop()


async def toy(handler: Handler = polite) -> Toy:
    made = Toy(handler)
    await made.start()
    return made


def get(path: str = "/", *lines: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: a.example", *lines, "", "")).encode("latin-1")


def post(path: str, body: bytes, *lines: str) -> bytes:
    head = (f"POST {path} HTTP/1.1", "Host: a.example", *lines, f"Content-Length: {len(body)}", "", "")
    return "\r\n".join(head).encode("latin-1") + body


def orders(*actions: Action, version: int = 1) -> bytes:
    return msgspec.json.encode({"version": version, "actions": actions}) + b"\n"


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run one test on the loop the edge runs on; a hang is a failure."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work, 20))


class Bench:
    """All of the above, as one fixture: test modules do not import each other."""

    Toy, Peer, Edge, ANSWER = Toy, Peer, Edge, ANSWER
    running = staticmethod(running)
    toy = staticmethod(toy)
    polite = staticmethod(polite)
    get, post, orders, run = staticmethod(get), staticmethod(post), staticmethod(orders), staticmethod(run)


@pytest.fixture
def bench() -> type[Bench]:
    return Bench


@pytest.fixture(scope="session")
def long_bench() -> type[Bench]:
    """The same for fixtures that live longer than one test."""
    return Bench
