"""Upgrades: WebSocket passes both ways, anything else is answered as if nobody had asked."""

import asyncio
from pathlib import Path
from typing import Any

import websockets
from edge.secure import client_context, tls
from websockets.asyncio.server import serve

from deepmoat.edge.settings import BackendSettings, TimeoutSettings

UPGRADE = ("Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


async def _echo(socket: Any) -> None:
    async for message in socket:
        await socket.send(message)


def test_a_websocket_talks_through_the_edge_plain_and_over_tls(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        async with serve(_echo, "127.0.0.1", 0, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            backend = BackendSettings(address=f"127.0.0.1:{port}")
            for secure in (False, True):
                more: dict[str, Any] = {"listen": "", "tls": tls(tmp_path / "pem")} if secure else {}
                data = tmp_path / str(secure)
                async with bench.running(data, backends=(backend,), **more) as edge:
                    url = f"ws{'s' if secure else ''}://127.0.0.1:{edge.port}/chat"
                    context = (
                        {"ssl": client_context("http/1.1"), "server_hostname": "a.example"} if secure else {}
                    )
                    async with websockets.connect(
                        url, max_size=None, proxy=None, compression=None, **context
                    ) as socket:
                        for message in ("hello", b"\0" * 3_000_000, "end"):
                            await socket.send(message)
                            assert await socket.recv() == message
                (record,) = edge.records("access")
                assert record["http_response_status_code"] == 101
                assert record["http_request_body_size"] > 3_000_000
                assert "error_type" not in record

    bench.run(work())


def test_what_the_backend_closes_is_closed_and_what_it_sent_last_arrives(bench: Any, tmp_path: Path) -> None:
    async def switch(peer: Any, head: bytes, body: bytes) -> None:
        assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in head
        peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst"
        )
        assert await peer.reader.readexactly(5) == b"early"
        peer.send(b"last")
        peer.close()

    async def work() -> None:
        toy = await bench.toy(switch)
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            peer.send(bench.get("/", "Upgrade: websocket", *UPGRADE) + b"early")
            head = await peer.head()
            assert head.startswith(b"HTTP/1.1 101 ") and b"Upgrade: websocket" in head
            assert await peer.closed() == b"firstlast"

    bench.run(work())


def test_an_upgrade_that_is_not_offered_or_not_asked_for_properly_is_declined(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            for lines in (
                ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"),
                ("Upgrade: websocket",),
                ("Upgrade: websocket", "Connection: keep-alive, upgrade-not"),
                ("Upgrade: other", "Connection: Upgrade"),
            ):
                status, _, _ = await peer.ask(bench.get("/", *lines))
                assert status == 200, lines
                assert b"pgrade" not in toy.requests[-1][0], lines

    bench.run(work())


def test_a_backend_that_switches_unasked_or_to_another_protocol_is_a_bad_gateway(
    bench: Any, tmp_path: Path
) -> None:
    async def switch(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")

    async def work() -> None:
        toy = await bench.toy(switch)
        async with bench.running(tmp_path, toy) as edge:
            for lines in ((), ("Upgrade: websocket", *UPGRADE)):
                peer = await edge.connect()
                status, _, _ = await peer.ask(bench.get("/", *lines))
                assert status == 502, lines

    bench.run(work())


def test_a_backend_that_declines_the_upgrade_answers_and_the_connection_goes_on(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            for _ in range(2):
                status, _, body = await peer.ask(bench.get("/", "Upgrade: websocket", *UPGRADE))
                assert (status, body) == (200, bench.ANSWER)

    bench.run(work())


def test_a_silent_tunnel_ends(bench: Any, tmp_path: Path) -> None:
    async def switch(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await asyncio.sleep(30)

    async def work() -> None:
        toy = await bench.toy(switch)
        async with bench.running(tmp_path, toy, timeouts=TimeoutSettings(tunnel=0.3)) as edge:
            peer = await edge.connect()
            peer.send(bench.get("/", "Upgrade: websocket", *UPGRADE))
            assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
            assert await peer.closed() == b""
        (record,) = edge.records("access")
        assert record["error_type"] == "tunnel_timeout"

    bench.run(work())
