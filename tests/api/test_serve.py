"""The real server on loopback: it starts, says its port, and ends in time whatever is open."""

import asyncio
import signal
import socket

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse

from deepmoat.api.serve import serve
from deepmoat.kit.errors import ConfigError

pytestmark = pytest.mark.anyio


def endless() -> FastAPI:
    app = FastAPI()

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks():  # type: ignore[no-untyped-def]
            while True:
                yield b"data: x\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(chunks())

    @app.websocket("/socket")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await asyncio.sleep(60)

    return app


async def started(app: FastAPI, stop: asyncio.Event) -> tuple["asyncio.Task[None]", int]:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(serve(app, "127.0.0.1", 0, stop, ready=port.set_result))
    return task, await asyncio.wait_for(port, 10)


async def test_it_ends_at_once_when_nothing_is_open_and_leaves_signals_alone() -> None:
    before, stop = signal.getsignal(signal.SIGTERM), asyncio.Event()
    task, port = await started(endless(), stop)
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/hello")
    assert answer.json() == "hello"
    assert "server" not in answer.headers
    assert signal.getsignal(signal.SIGTERM) is before
    stop.set()
    await asyncio.wait_for(task, 3)


async def test_it_ends_within_five_seconds_with_a_stream_and_a_websocket_open() -> None:
    from websockets.asyncio.client import connect

    stop = asyncio.Event()
    task, port = await started(endless(), stop)
    async with (
        httpx.AsyncClient() as client,
        client.stream("GET", f"http://127.0.0.1:{port}/stream") as answer,
    ):
        async for _ in answer.aiter_raw():
            break
        socket = await connect(f"ws://127.0.0.1:{port}/socket")
        stop.set()
        await asyncio.wait_for(task, 5)
        assert task.done() and task.exception() is None
        await socket.close()


async def test_an_address_that_is_taken_is_the_operators_to_mend() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen") as caught:
            await serve(endless(), "127.0.0.1", port, asyncio.Event())
    assert str(port) in caught.value.where
