"""The two ends of the bench of the edge: a backend, and clients that ask it through a proxy.

Both do as little as they can, so that they do not hold up the proxy between them: no parser, only a look at
how bytes begin and end. ``python edge_load.py PORT`` serves the backend.
"""

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import uvloop

PLAIN, CHAT, STREAM, IDLE = (
    "/v1/plain",
    "/v1/chat/completions",
    "/v1/stream/chat/completions",
    "/v1/idle/chat/completions",
)
EVENTS, PACE = 200, 0.01
_PROMPT = "Tell me, in a few plain words, what a moat is for and how deep it ought to be. " * 8
_SIZES = range(500, 621)
"""Letters of the prompt: no request is quite like the one before it."""
_USAGE = {"prompt_tokens": 120, "completion_tokens": 40, "total_tokens": 160}
_MESSAGE = {"role": "assistant", "content": "Deep enough. " * 12}
_CHOICE = {"index": 0, "message": _MESSAGE, "finish_reason": "stop"}
_ANSWER = json.dumps(
    {"id": "c-1", "object": "chat.completion", "model": "m-1", "choices": [_CHOICE], "usage": _USAGE}
).encode()
_DELTA = {"index": 0, "delta": {"content": "deep "}, "finish_reason": None}
_EVENT = b"data: %b\n\n" % json.dumps({"id": "c-1", "model": "m-1", "choices": [_DELTA]}).encode()
_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_ANSWERED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: toy\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_ANSWER), _ANSWER)
)
_STREAMED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_ASKED_END, _ANSWER_END = b'"}]}', _ANSWER[-12:]
_WARM = 50


class _Protocol:
    """What both ends do not care for."""

    transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None: ...
    def eof_received(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Backend(_Protocol):
    """Answers at once, with a paced stream of events, or with a stream that stays open and says no more."""

    seen = b""
    left = 0

    def data_received(self, data: bytes) -> None:
        if self.seen:
            data = self.seen + data
        if not data.endswith(_ASKED_END):
            self.seen = data
            return
        self.seen = b""
        if data.startswith(b"POST /v1/stream/"):
            self.transport.write(_STREAMED)
            self.left = EVENTS
            self.tick()
        elif data.startswith(b"POST /v1/idle/"):
            self.transport.write(_STREAMED + _CHUNK)
        else:
            self.transport.write(_ANSWERED)

    def tick(self) -> None:
        if self.transport.is_closing():
            return
        if not self.left:
            self.transport.write(_LAST_CHUNK)
            return
        self.left -= 1
        self.transport.write(_CHUNK)
        asyncio.get_running_loop().call_later(PACE, self.tick)


class Asker(_Protocol):
    """Sends ``requests``, one after the answer of the other; an answer is over where it ends in ``end``."""

    def __init__(self, path: str, requests: int, done: "asyncio.Future[Any]") -> None:
        self.requests, self.left, self.done = _requests(path), requests, done
        self.end = _LAST_CHUNK if path == STREAM else _ANSWER_END
        self.tail = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.left:
            self.send()

    def send(self) -> None:
        self.transport.write(self.requests[self.left % len(self.requests)])

    def data_received(self, data: bytes) -> None:
        if not self.tail and not data.startswith(b"HTTP/1.1 200 "):
            self.done.set_exception(ConnectionError(f"no 200 but {data[:200]!r}"))
            self.transport.close()
            return
        if not data.endswith(self.end):
            self.tail = (self.tail + data)[-64:]
            if not self.tail.endswith(self.end):
                return
        self.tail = b""
        self.left -= 1
        if self.left > 0:
            self.send()
            return
        if not self.done.done():
            self.done.set_result(None)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(f"closed with {self.left} requests to go"))


class _Patient(Asker):
    """Sends one request whenever ``ask`` is called, and says when its answer was there."""

    def ask(self) -> "asyncio.Future[Any]":
        self.done = asyncio.get_running_loop().create_future()
        self.send()
        return self.done

    def data_received(self, data: bytes) -> None:
        self.tail += data
        if self.tail.endswith(self.end):
            self.tail = b""
            self.done.set_result(time.perf_counter())


class _Listener(Asker):
    """Asks for a stream and holds it; done with its beginning."""

    def data_received(self, data: bytes) -> None:
        self.tail += data
        if self.tail.endswith(_CHUNK) and not self.done.done():
            self.done.set_result(None)


def trusting(certificate: str) -> ssl.SSLContext:
    """A client's context that trusts ``certificate`` alone, for TLS 1.3."""
    context = ssl.create_default_context(cafile=certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


@cache
def _requests(path: str) -> tuple[bytes, ...]:
    return tuple(_request(path, _PROMPT[:size]) for size in _SIZES)


def _request(path: str, prompt: str) -> bytes:
    body = json.dumps({"model": "m-1", "messages": [{"role": "user", "content": prompt}]}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: moat.example\r\nUser-Agent: bench/1\r\n"
        "Authorization: Bearer k-1\r\nAccept: */*\r\nContent-Type: application/json\r\n"
    )
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _connect(made: Any, port: int, context: ssl.SSLContext | None) -> Any:
    name = "moat.example" if context else None
    connected = await asyncio.get_running_loop().create_connection(
        made, "127.0.0.1", port, ssl=context, server_hostname=name
    )
    return connected[1]


async def ask(
    port: int, path: str, connections: int, requests: int, context: ssl.SSLContext | None = None
) -> None:
    """``requests`` over ``connections`` that stay open, each as soon as the one before is answered."""
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(connections)]
    share = max(1, requests // connections)
    for future in done:
        await _connect(partial(Asker, path, share, future), port, context)
    await asyncio.gather(*done)


async def greet(port: int, path: str, at_once: int, connections: int, context: ssl.SSLContext) -> None:
    """``connections`` one after the other, ``at_once`` side by side, each for one request."""

    async def some() -> None:
        for _ in range(connections // at_once):
            await ask(port, path, 1, 1, context)

    await asyncio.gather(*(some() for _ in range(at_once)))


async def hold(port: int, streams: int, context: ssl.SSLContext | None, look: Any) -> Any:
    """Open ``streams`` that say nothing after their first event; what ``look`` finds then."""
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(streams)]
    made = [await _connect(partial(_Listener, IDLE, 1, future), port, context) for future in done]
    await asyncio.gather(*done)
    await asyncio.sleep(1)
    found = look()
    for listener in made:
        listener.transport.abort()
    await asyncio.sleep(0.2)
    return found


async def clock(ports: Mapping[str, int], rounds: int, pause: float) -> dict[str, list[float]]:
    """Seconds each answer took, for the ports in turn, one request every ``pause`` seconds."""
    loop = asyncio.get_running_loop()
    patient = {
        name: await _connect(partial(_Patient, PLAIN, 0, loop.create_future()), port, None)
        for name, port in ports.items()
    }
    took: dict[str, list[float]] = {name: [] for name in ports}
    for step in range(rounds + _WARM):
        for name, asker in patient.items():
            await asyncio.sleep(pause)
            started = time.perf_counter()
            ended = await asker.ask()
            if step >= _WARM:
                took[name].append(ended - started)
    for asker in patient.values():
        asker.transport.close()
    return took


async def serve(port: int) -> None:
    """The backend, until it is killed."""
    made: Any = Backend
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
