"""TLS and PROXY headers before HTTP: real handshakes with a real worker."""
# ruff: noqa: PLR0915 - a conversation in one function

import asyncio
import re
import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import trustme
from edge.secure import AUTHORITY, certificate, client_context, tls

from deepmoat.edge.balance.settings import BackendTlsSettings
from deepmoat.edge.settings import BackendSettings, TimeoutSettings
from deepmoat.kit.meters import snapshot


def refused(reason: str) -> float:
    return sum(
        s.value
        for s in snapshot()
        if s.name == "deepmoat_edge_refused_total" and dict(s.labels)["reason"] == reason
    )


async def connect(bench: Any, port: int, name: str = "a.example", **more: Any) -> Any:
    more.setdefault("ssl", client_context("http/1.1"))
    return bench.Peer(*await asyncio.open_connection("127.0.0.1", port, server_hostname=name, **more))


def subject(peer: Any) -> set[str]:
    names = peer.writer.get_extra_info("peercert")["subjectAltName"]
    return {name for _, name in names}


def test_requests_over_tls_are_answered_and_recorded_with_what_the_handshake_said(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy, listen="", tls=tls(tmp_path / "pem")) as edge:
            peer = await connect(bench, edge.port)
            for _ in range(3):
                status, _, body = await peer.ask(bench.get("/x"))
                assert (status, body) == (200, bench.ANSWER)
            assert b"\r\nX-Forwarded-Proto: https\r\n" in toy.requests[0][0]
            peer.close()
        record = edge.records("access")[0]
        assert record["url_scheme"] == "https"
        assert record["tls_protocol_version"] == "1.3"
        assert record["tls_cipher"].startswith("TLS_")
        assert re.fullmatch(r"t13d\d{4}h1_[0-9a-f]{12}_[0-9a-f]{12}", record["tls_client_ja4"])

    bench.run(work())


def test_the_name_a_client_asks_for_chooses_the_certificate(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        secure = tls(tmp_path / "pem", "first.example", "*.wild.example", "second.example")
        async with bench.running(tmp_path, toy, listen="", tls=secure) as edge:
            loose = client_context()
            loose.check_hostname = False
            for name, wanted in (
                ("first.example", "first.example"),
                ("second.example", "second.example"),
                ("x.wild.example", "*.wild.example"),
                ("x.y.wild.example", "first.example"),
                ("unknown.example", "first.example"),
            ):
                peer = await connect(bench, edge.port, name, ssl=loose)
                assert subject(peer) == {wanted}, name
                peer.close()

    bench.run(work())


def test_a_changed_certificate_is_taken_and_a_stream_under_way_goes_on(bench: Any, tmp_path: Path) -> None:
    go = asyncio.Event()

    async def slow(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await go.wait()
        peer.send(b"b")

    async def work() -> None:
        toy = await bench.toy(slow)
        secure = tls(tmp_path / "pem", "a.example", reread=0.05)
        other = trustme.CA()
        async with bench.running(tmp_path, toy, listen="", tls=secure) as edge:
            old = await connect(bench, edge.port)
            old.send(bench.get("/"))
            await old.head()
            certificate(tmp_path / "pem", "a.example", authority=other)
            for _ in range(100):
                await asyncio.sleep(0.05)
                try:
                    new = await connect(bench, edge.port, ssl=client_context(authority=other))
                    break
                except ssl.SSLError:
                    continue
            assert subject(new) == {"a.example"}
            go.set()
            assert await old.reader.readexactly(2) == b"ab"
            (tmp_path / "pem" / "a.example.pem").write_text("no certificate")
            await asyncio.sleep(0.2)
            again = await connect(bench, edge.port, ssl=client_context(authority=other))
            for peer in (old, new, again):
                peer.close()
        refusals = [s for s in snapshot() if s.name == "deepmoat_edge_certificates_total"]
        assert {dict(s.labels)["outcome"] for s in refusals} == {"taken", "refused"}

    bench.run(work())


def test_a_client_hello_that_comes_byte_by_byte_is_waited_for(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy, listen="", tls=tls(tmp_path / "pem")) as edge:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            secure = client_context("http/1.1").wrap_bio(incoming, outgoing, server_hostname="a.example")
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            with suppress(ssl.SSLWantReadError):
                secure.do_handshake()
            hello = outgoing.read()
            for at in range(0, len(hello), 40):
                writer.write(hello[at : at + 40])
                await asyncio.sleep(0.005)
            while True:
                incoming.write(await reader.read(65_536))
                try:
                    secure.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    continue
            secure.write(bench.get("/"))
            writer.write(outgoing.read())
            while True:
                incoming.write(await reader.read(65_536))
                try:
                    assert secure.read(1000).startswith(b"HTTP/1.1 200 OK")
                    break
                except ssl.SSLWantReadError:
                    continue
            writer.close()

    bench.run(work())


def test_what_is_no_handshake_and_who_says_nothing_is_closed_and_counted(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        short = TimeoutSettings(tls=0.3)
        async with bench.running(tmp_path, toy, listen="", tls=tls(tmp_path / "pem"), timeouts=short) as edge:
            for raw, reason in (
                (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed"),
                (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "malformed"),
                (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "handshake_timeout"),
                (b"", "handshake_timeout"),
            ):
                before = refused(reason)
                peer = await edge.connect()
                peer.send(raw)
                assert await peer.closed() == b""
                assert refused(reason) == before + 1, (raw, reason)
            peer = await connect(bench, edge.port)
            assert (await peer.ask(bench.get("/")))[0] == 200
            peer.close()

    bench.run(work())


def test_a_backends_certificate_is_checked(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        made = certificate(tmp_path / "backend", "model.example")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(made.certificate, made.key)
        (tmp_path / "ca.pem").write_bytes(AUTHORITY.cert_pem.bytes())
        (tmp_path / "other.pem").write_bytes(trustme.CA().cert_pem.bytes())
        toy = bench.Toy(bench.polite)
        await toy.start(ssl=server)
        for ca, name, verify, wanted in (
            ("ca.pem", "model.example", True, 200),
            ("ca.pem", "another.example", True, 502),
            ("other.pem", "model.example", True, 502),
            ("other.pem", "model.example", False, 200),
        ):
            secure = BackendTlsSettings(ca=str(tmp_path / ca), server_name=name, verify=verify)
            backend = BackendSettings(address=toy.address, tls=secure)
            async with bench.running(tmp_path / f"{ca}{name}{verify}", backends=(backend,)) as edge:
                peer = await edge.connect()
                status, _, _ = await peer.ask(bench.get("/"))
                assert status == wanted, (ca, name, verify)
        await toy.stop()

    bench.run(work())


V2 = b"\r\n\r\n\0\r\nQUIT\n"


def v2(client: str, port: int) -> bytes:
    addresses = socket.inet_aton(client) + socket.inet_aton("192.0.2.1") + struct.pack(">HH", port, 443)
    return V2 + b"\x21\x11" + struct.pack(">H", len(addresses)) + addresses


def test_a_trusted_forwarder_names_the_client_in_a_proxy_header_and_nobody_else_may(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        settings = {"trusted_forwarders": ("127.0.0.1",), "proxy_protocol": True}
        async with bench.running(tmp_path, toy, **settings) as edge:
            for header in (b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n", v2("203.0.113.9", 4711)):
                peer = await edge.connect()
                peer.send(header + bench.get("/"))
                assert (await peer.answer())[0] == 200
                assert b"\r\nX-Forwarded-For: 203.0.113.9\r\n" in toy.requests[-1][0]
            for raw in (bench.get("/"), b"PROXY nonsense\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n"):
                peer = await edge.connect()
                peer.send(raw)
                assert await peer.closed() == b"", raw
            before = refused("bad_proxy_header")
            stranger = await edge.connect("127.0.0.2")
            stranger.send(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n" + bench.get("/"))
            assert await stranger.closed() == b""
            assert refused("bad_proxy_header") == before + 1
        records = edge.records("access")
        assert [(r["client_address"], r["client_port"]) for r in records] == [("203.0.113.9", 4711)] * 2

    bench.run(work())


def test_a_proxy_header_may_come_before_a_handshake(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        settings = {"trusted_forwarders": ("127.0.0.1",), "proxy_protocol": True, "listen": ""}
        async with bench.running(tmp_path, toy, tls=tls(tmp_path / "pem"), **settings) as edge:
            taken = socket.create_connection(("127.0.0.1", edge.port))
            taken.sendall(v2("203.0.113.9", 4711))
            taken.setblocking(False)
            reader, writer = await asyncio.open_connection(
                sock=taken, ssl=client_context("http/1.1"), server_hostname="a.example"
            )
            peer = bench.Peer(reader, writer)
            assert (await peer.ask(bench.get("/")))[0] == 200
            peer.close()
        (record,) = edge.records("access")
        assert (record["client_address"], record["url_scheme"]) == ("203.0.113.9", "https")

    bench.run(work())
