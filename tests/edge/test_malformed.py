"""Requests that two servers could read differently are refused, whatever they look like."""
# ruff: noqa: E501, PLR0915 - bytes on the wire stay on one line, a conversation in one function

import asyncio
from pathlib import Path
from typing import Any

from deepmoat.kit.meters import snapshot

HOST = b"Host: a.example\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
GET = b"GET / HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"

# name, bytes, statuses that are right, reasons that are counted
CASES: tuple[tuple[str, bytes, set[int], set[str]], ...] = (
    ("CL and TE", POST + b"Content-Length: 3\r\n" + CHUNKED + b"\r\n0\r\n\r\n", {400}, {"malformed", "bad_length"}),
    ("TE and CL", POST + CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n", {400}, {"malformed", "bad_length"}),
    ("two lengths", POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", {400}, {"malformed"}),
    ("one length twice", POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", {400}, {"malformed"}),
    ("lengths in one line", POST + b"Content-Length: 3, 3\r\n\r\nabc", {400}, {"malformed"}),
    ("space before the colon", POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", {400}, {"malformed"}),
    ("tab before the colon", POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", {400}, {"malformed"}),
    ("xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", {400}, {"malformed", "bad_transfer_encoding"}),
    ("chunked, identity", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n", {400}, {"malformed"}),
    ("TE twice", POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n", {400}, {"malformed", "bad_transfer_encoding"}),
    ("gzip, chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {400}, {"bad_transfer_encoding"}),
    ("1.0 chunked", b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n", {400}, {"bad_transfer_encoding"}),
    ("obsolete folding", GET + b"X: a\r\n b\r\n\r\n", {400}, {"malformed"}),
    ("folded TE", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", {400}, {"malformed"}),
    ("bare LF", b"GET / HTTP/1.1\nHost: a.example\n\n", {400}, {"malformed"}),
    ("bare LF in the head", GET + b"X: a\nY: b\r\n\r\n", {400}, {"malformed"}),
    ("CR in a value", GET + b"X: a\rb\r\n\r\n", {400}, {"malformed"}),
    ("NUL in a value", GET + b"X: a\0b\r\n\r\n", {400}, {"malformed"}),
    ("NUL in a name", GET + b"X\0: a\r\n\r\n", {400}, {"malformed"}),
    ("no name", GET + b": a\r\n\r\n", {400}, {"malformed"}),
    ("LF in a chunk extension", POST + CHUNKED + b"\r\n1;a\nb\r\nx\r\n0\r\n\r\n", {400}, {"bad_chunks"}),
    ("bad chunk terminator", POST + CHUNKED + b"\r\n1\r\nxyz0\r\n\r\n", {400}, {"bad_chunks"}),
    ("negative chunk", POST + CHUNKED + b"\r\n-1\r\nx\r\n0\r\n\r\n", {400}, {"bad_chunks"}),
    ("hex chunk", POST + CHUNKED + b"\r\n0x1\r\nx\r\n0\r\n\r\n", {400}, {"bad_chunks"}),
    ("huge chunk", POST + CHUNKED + b"\r\nfffffffffffffffff\r\n", {400}, {"bad_chunks"}),
    ("length with a plus", POST + b"Content-Length: +3\r\n\r\nabc", {400}, {"malformed"}),
    ("negative length", POST + b"Content-Length: -3\r\n\r\nabc", {400}, {"malformed"}),
    ("length of 30 digits", POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", {400, 413}, {"malformed"}),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", {400}, {"no_host"}),
    ("two Hosts", GET + b"Host: b.example\r\n\r\n", {400}, {"two_hosts"}),
    ("one Host twice", GET + b"host: a.example\r\n\r\n", {400}, {"two_hosts"}),
    ("path in Host", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", {400}, {"bad_host"}),
    ("user in Host", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", {400}, {"bad_host"}),
    ("list in Host", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", {400}, {"bad_host"}),
    ("another Host in the target", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", {400}, {"host_mismatch"}),
    ("no slash", b"GET evil HTTP/1.1\r\nHost: a\r\n\r\n", {400}, {"bad_target", "malformed"}),
    ("fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", {400}, {"bad_target"}),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", {405}, {"trace_not_offered"}),
    ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", {405}, {"connect_not_offered"}),
    ("unknown method", b"FROB / HTTP/1.1\r\nHost: a\r\n\r\n", {400}, {"malformed"}),
    ("version 2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", {400, 505}, {"version_not_supported"}),
    ("version 1.9", b"GET / HTTP/1.9\r\nHost: a\r\n\r\n", {400, 505}, {"malformed", "version_not_supported"}),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}, {"malformed", "version_not_supported"}),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}, {"malformed"}),
    ("odd expectation", POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx", {417}, {"unknown_expectation"}),
    ("64 KB of headers", GET + b"X: " + b"a" * 65_536 + b"\r\n\r\n", {400, 431}, {"head_too_large"}),
    ("64 KB in many lines", GET + b"X: aaaaaaaaaaaaaaaaaaaa\r\n" * 90 + b"Y: " + b"a" * 65_000, {431}, {"head_too_large"}),
    ("64 KB of target", b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {431}, {"head_too_large"}),
    ("2,000 headers", GET + b"X: a\r\n" * 2000 + b"\r\n", {400, 431}, {"too_many_headers"}),
    ("announced body too large", POST + b"Content-Length: 1000001\r\n\r\n", {413}, {"body_too_large"}),
    ("chunks too large", POST + CHUNKED + b"\r\n" + b"186a0\r\n" + b"x" * 100_000 + b"\r\n" + (
        b"186a0\r\n" + b"x" * 100_000 + b"\r\n") * 10, {413}, {"body_too_large"}),
    ("chunk extension without end", POST + CHUNKED + b"\r\n1;" + b"a" * 600_000, {400}, {"bad_chunks"}),
    ("trailers without end", POST + CHUNKED + b"\r\n0\r\n" + b"X: aaaaaaaaaaaa\r\n" * 40_000, {400}, {"bad_chunks"}),
)  # fmt: skip


def refusals() -> dict[str, float]:
    return {dict(s.labels)["reason"]: s.value for s in snapshot() if s.name == "deepmoat_edge_refused_total"}


def test_every_malformed_request_is_refused_counted_and_the_connection_closed(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy, limits=_limits()) as edge:
            for case in CASES:
                await _refused(edge, *case)
                seen.append(case[0])
            assert all(b"POST" not in head or not body for head, body in toy.requests)

    seen: list[str] = []
    bench.run(work())
    assert len(seen) == len(CASES) == 53


async def _refused(edge: Any, name: str, raw: bytes, statuses: set[int], reasons: set[str]) -> None:
    before = refusals()
    peer = await edge.connect()
    peer.send(raw)
    status, head, _ = await peer.answer(bodiless=b"HEAD" in raw[:4])
    assert status in statuses, name
    assert b"\r\nConnection: close\r\n" in head, name
    rest = await peer.closed()
    assert b"HTTP/1.1" not in rest, name
    counted = {r for r, n in refusals().items() if n > before.get(r, 0)}
    assert counted and counted <= reasons, (name, counted)


def _limits() -> Any:
    from deepmoat.edge.settings import LimitSettings

    return LimitSettings(body_bytes=1_000_000)


def test_a_malformed_request_sent_byte_by_byte_is_refused_too(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy, limits=_limits()) as edge:
            evaluated = 0
            for name, raw, statuses, _ in (c for c in CASES if len(c[1]) < 120):
                peer = await edge.connect()
                for i in range(len(raw)):
                    peer.send(raw[i : i + 1])
                    await asyncio.sleep(0)
                status, _, _ = await peer.answer()
                assert status in statuses, name
                evaluated += 1
            assert evaluated >= 30

    bench.run(work())


def test_a_slow_head_and_a_silent_connection_time_out_with_408(bench: Any, tmp_path: Path) -> None:
    from deepmoat.edge.settings import TimeoutSettings

    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy, timeouts=TimeoutSettings(head=0.1, body=0.1)) as edge:
            for raw in (
                b"",
                b"GE",
                b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
                POST + b"Content-Length: 9\r\n\r\nabc",
            ):
                peer = await edge.connect()
                status, head, _ = await peer.ask(raw)
                assert status == 408, raw
                assert await peer.closed() == b""
        rules = {r["verdict_rule"] for r in edge.records("access")}
        assert rules == {"http/head_timeout", "http/body_timeout"}

    bench.run(work())


def test_the_default_timeouts_end_a_slow_head_within_ten_seconds() -> None:
    from deepmoat.edge import serve
    from deepmoat.edge.settings import TimeoutSettings

    assert TimeoutSettings().head + 2 * serve._SWEEP < 10
