"""Traffic through a real worker: what the client gets, what the backend sees, what is written down."""
# ruff: noqa: E501, PLR0915 - bytes on the wire stay on one line, a conversation in one function

import asyncio
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deepmoat.edge.settings import (
    BackendSettings,
    HealthSettings,
    LimitSettings,
    RateSettings,
    TimeoutSettings,
)
from deepmoat.kit.errors import ConfigError, TransientError
from deepmoat.kit.meters import Sample, snapshot
from deepmoat.model import LOGSTORES

CHAT = b'{"model":"gpt-x","messages":[{"role":"user","content":"hello"}],"user":"u-7"}'


def value(name: str, **labels: str) -> float:
    wanted = tuple(sorted(labels.items()))
    return next((s.value for s in snapshot() if (s.name, s.labels) == (name, wanted)), 0.0)


def test_requests_on_one_connection_are_answered_in_order_over_one_backend_connection(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy, health=HealthSettings(every=60)) as edge:
            peer = await edge.connect()
            for i in range(5):
                status, head, body = await peer.ask(bench.get(f"/{i}"))
                assert (status, body) == (200, bench.ANSWER)
                assert b"connection" not in head.lower()
            assert [h.split()[1] for h, _ in toy.requests] == [b"/%d" % i for i in range(5)]
            assert toy.connections <= 2  # one of them is the health check's

    bench.run(work())


def test_pipelined_requests_are_answered_in_order_and_reading_stops_meanwhile(
    bench: Any, tmp_path: Path
) -> None:
    async def echo(peer: Any, head: bytes, body: bytes) -> None:
        path = head.split()[1] + body
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    async def work() -> None:
        toy = await bench.toy(echo)
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            sent = b"".join(bench.get(f"/{i}") + bench.post(f"/p{i}", b"body") for i in range(100))
            peer.send(sent)
            got = [(await peer.answer())[2] for _ in range(200)]
            assert got == [part for i in range(100) for part in (b"/%d" % i, b"/p%dbody" % i)]

    bench.run(work())


def test_a_request_behind_chunks_in_the_same_bytes_is_not_answered_and_the_connection_closes(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            peer.send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
            peer.send(bench.get("/b"))
            rest = await peer.closed()
            assert rest.count(b"HTTP/1.1 200") == 1 and b"Connection: close" in rest
            assert [h.split()[1] for h, _ in toy.requests] == [b"/a"]

    bench.run(work())


def test_chunked_requests_one_after_the_other_keep_the_connection(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            for _ in range(3):
                peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
                peer.send(b"2;ext=1\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n")
                assert (await peer.answer())[0] == 200
            assert [b for _, b in toy.requests] == [b"abcde"] * 3
            assert all(b"X-Trailer" not in h and b"ext" not in h for h, _ in toy.requests)

    bench.run(work())


def test_heads_are_written_anew_without_the_clients_framing_and_forwarding(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            lines = (
                "Connection: keep-alive, X-Private",
                "Keep-Alive: timeout=5",
                "X-Private: 1",
                "TE: trailers",
                "Proxy-Connection: keep-alive",
                "X-Forwarded-For: 203.0.113.9",
                "X_Forwarded_For: 203.0.113.9",
                "Forwarded: for=203.0.113.9",
                "X-Real-IP: 203.0.113.9",
                "X-Forwarded-Proto: https",
                "X-Request-Id: mine",
                "Accept-Encoding: gzip",
                "X-Kept: yes",
            )
            await peer.ask(bench.get("/", *lines))
            head = toy.requests[0][0]
            for gone in (
                b"203.0.113.9",
                b"X-Private",
                b"Keep-Alive",
                b"TE:",
                b"https",
                b"mine",
                b"Connection",
            ):
                assert gone not in head, gone
            assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in head
            assert b"\r\nX-Forwarded-Proto: http\r\n" in head
            assert b"\r\nX-Kept: yes\r\n" in head and b"\r\nAccept-Encoding: gzip\r\n" in head
            assert head.startswith(b"GET / HTTP/1.1\r\nHost: a.example\r\n")
        (record,) = edge.records("access")
        assert b"\r\nX-Request-Id: %b\r\n" % record["request_id"].encode() in head
        assert record["client_address"] == "127.0.0.1"

    bench.run(work())


FORWARDED = (
    ("203.0.113.9", "203.0.113.9"),
    ("198.51.100.1, 203.0.113.9", "203.0.113.9"),  # only the last entry was written by the forwarder
    ("203.0.113.9, 127.0.0.7", "203.0.113.9"),  # the last one is a forwarder too
    ("203.0.113.9:4711", "203.0.113.9"),
    ("[2001:db8::1]:80", "2001:db8::1"),
    ("2001:DB8::1", "2001:db8::1"),
    ("::ffff:203.0.113.9", "203.0.113.9"),
    ("evil, 127.0.0.7", "127.0.0.7"),
    ("unknown", "127.0.0.1"),
    ("", "127.0.0.1"),
)


def test_a_trusted_forwarder_names_the_client_and_the_request_and_nobody_else_does(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy, trusted_forwarders=("127.0.0.0/8",)) as edge:
            peer = await edge.connect()
            for given, _ in FORWARDED:
                await peer.ask(bench.get("/", f"X-Forwarded-For: {given}", "X-Request-Id: r-1"))
            assert b"X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n" in toy.requests[0][0]
        records = edge.records("access")
        assert [r["client_address"] for r in records] == [wanted for _, wanted in FORWARDED]
        assert {r["request_id"] for r in records} == {"r-1"}

    bench.run(work())


def test_a_stream_of_events_arrives_event_by_event(bench: Any, tmp_path: Path) -> None:
    go = asyncio.Semaphore(0)

    async def stream(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(5):
            event = b'data: {"model":"m-2","choices":[{"delta":{"content":"%d"}}]}\n\n' % i
            peer.send(b"%x\r\n%b\r\n" % (len(event), event))
            await go.acquire()  # the next one is written only after the client has this one
        end = b'data: {"choices":[{"finish_reason":"length"}],"usage":{"prompt_tokens":7,"completion_tokens":5}}\n\n'
        end += b"data: [DONE]\n\n"
        peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end))

    async def work() -> None:
        toy = await bench.toy(stream)
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            peer.send(
                bench.post("/v1/chat/completions", CHAT[:-1] + b',"stream":true}', "Accept-Encoding: gzip")
            )
            assert (await peer.head()).startswith(b"HTTP/1.1 200 OK")
            for i in range(5):
                await peer.reader.readuntil(b'"%d"}}]}\n\n\r\n' % i)
                go.release()
            await peer.reader.readuntil(b"0\r\n\r\n")
            assert b"Accept-Encoding: identity\r\n" in toy.requests[0][0]
            assert b"gzip" not in toy.requests[0][0]
        (record,) = edge.records("llm")
        assert record["streamed"] == 1 and record["gen_ai_response_model"] == "m-2"
        assert (record["gen_ai_usage_input_tokens"], record["gen_ai_usage_output_tokens"]) == (7, 5)
        assert record["gen_ai_response_finish_reason"] == "length"
        assert 0 < record["time_to_first_token"] < record["duration"]

    bench.run(work())


def test_access_and_llm_records_say_what_happened_in_columns_that_exist(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            lines = ("Authorization: Bearer sk-secret", "User-Agent: test/1", "Referer: http://r.example/x")
            await peer.ask(bench.post("/v1/chat/completions?a=b", CHAT, *lines))
            peer.send(bench.post("/other", CHAT, "X-Api-Key: sk-secret"))
            await peer.answer()
        first, second = edge.records("access")
        (call,) = edge.records("llm")
        for logstore, record in (("access", first), ("access", second), ("llm", call)):
            assert set(record) <= {c.name for c in LOGSTORES[logstore].columns}
            assert b"sk-secret" not in msgspec.json.encode(record)
        wanted = {
            "client_address": "127.0.0.1",
            "http_request_method": "POST",
            "server_address": "a.example",
            "url_path": "/v1/chat/completions",
            "url_query": "a=b",
            "http_response_status_code": 200,
            "upstream_status_code": 200,
            "upstream_address": toy.address,
            "http_request_body_size": len(CHAT),
            "http_response_body_size": len(bench.ANSWER),
            "user_agent_original": "test/1",
            "http_request_referer": "http://r.example/x",
            "network_protocol_version": "1.1",
            "verdict": "pass",
            "user_name": "u-7",
        }
        assert {k: first[k] for k in wanted} == wanted
        assert 0 < first["upstream_duration"] <= first["duration"] < 5
        assert len(first["key_hash"]) == 16 and first["key_hash"] == second["key_hash"] == call["key_hash"]
        assert call["gen_ai_request_model"] == "gpt-x" and call["gen_ai_response_model"] == "m-1"
        assert (call["gen_ai_usage_input_tokens"], call["gen_ai_usage_output_tokens"]) == (3, 5)
        assert call["request_id"] == first["request_id"] != second["request_id"]
        assert call["gen_ai_provider_name"] == "openai" and call["gen_ai_operation_name"] == "chat"
        assert abs(first["time"] - call["time"]) < 1e-9 and first["time"] > 1.7e9

    bench.run(work())


HOSTILE = (
    b"\xff\xfe\x80",
    b'"}\\',
    b"<script>",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"a\tb",
    b"';--",
    b"\x80" * 2000,
)


def test_hostile_header_values_are_written_as_json_that_anyone_reads(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            for bad in HOSTILE:
                head = b"POST /v1/messages?q=%22%ff HTTP/1.1\r\nHost: a\r\nUser-Agent: " + bad
                head += b"\r\nReferer: " + bad + b"\r\nX-Api-Key: " + bad
                body = b'{"model":"' + bad + b'"}'
                status, _, _ = await peer.ask(head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                assert status == 200
        for logstore in ("access", "llm"):
            raw = b"".join(
                p.read_bytes() for p in (tmp_path / "spool" / "edge-0").glob(f"*~{logstore}~*.seg")
            )
            raw.decode("utf-8")
            assert raw.count(b"\n") == len(HOSTILE) == len(edge.records(logstore))
        agents = [r.get("user_agent_original") for r in edge.records("access")]
        assert (
            agents[1] == '"}\\'
            and agents[3] == "\N{GRINNING FACE}"
            and agents[0] == "\N{REPLACEMENT CHARACTER}" * 3
        )

    bench.run(work())


def test_a_client_that_leaves_cancels_the_request_at_the_backend(bench: Any, tmp_path: Path) -> None:
    started = asyncio.Event()

    async def slow(peer: Any, head: bytes, body: bytes) -> None:
        started.set()
        assert await peer.reader.read() == b""

    async def work() -> None:
        toy = await bench.toy(slow)
        async with bench.running(tmp_path, toy, health=HealthSettings(every=60)) as edge:
            await toy.left.acquire()  # the health check
            peer = await edge.connect()
            peer.send(bench.get("/"))
            await started.wait()
            peer.close()
            await toy.left.acquire()
        (record,) = edge.records("access")
        assert record["http_response_status_code"] == 499
        assert record["error_type"] == "client_left"

    bench.run(work())


def test_memory_stays_bounded_when_the_client_does_not_read(bench: Any, tmp_path: Path) -> None:
    size = 64 << 20
    sent = 0

    async def flood(peer: Any, head: bytes, body: bytes) -> None:
        nonlocal sent
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        piece = b"x" * 65_536
        while sent < size:
            peer.send(piece)
            sent += len(piece)
            await peer.writer.drain()

    async def work() -> None:
        toy = await bench.toy(flood)
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            peer.reader._limit = 1  # the client's own buffer is small
            peer.send(bench.get("/"))
            await _still(lambda: sent)
            assert 0 < sent < size // 2  # the rest is held back in the backend, not in the edge
            peer.reader._limit = 1 << 20
            await peer.head()
            assert len(await peer.reader.readexactly(size)) == size

    bench.run(work())


def test_memory_stays_bounded_when_the_backend_does_not_read(bench: Any, tmp_path: Path) -> None:
    size = 60 << 20

    async def work() -> None:
        toy = await _sleepy()
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            taken = 0

            async def upload() -> None:
                nonlocal taken
                while taken < size:
                    peer.send(b"x" * 65_536)
                    taken += 65_536
                    await peer.writer.drain()

            task = asyncio.ensure_future(upload())
            await _still(lambda: taken)
            assert 0 < taken < size // 2
            toy.go.set()
            await task
            assert (await peer.answer())[0] == 200

    async def _sleepy() -> Any:
        class Sleepy(bench.Toy):
            go = asyncio.Event()

            async def _serve(self, reader: Any, writer: Any) -> None:
                self.writers.append(writer)
                reader._limit = 1
                await self.go.wait()
                reader._limit = 1 << 20
                try:
                    await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(size)
                except asyncio.IncompleteReadError:
                    writer.close()
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        toy = Sleepy(bench.polite)
        await toy.start()
        return toy

    bench.run(work())


def test_refusals_a_client_does_not_read_do_not_pile_up(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        async with bench.running(tmp_path) as edge:  # no backend: every answer is a 503 of our own
            peer = await edge.connect()
            peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            peer.reader._limit = 1
            sent, piece = 0, bench.get("/") * 1000

            async def pour() -> None:
                nonlocal sent
                while sent < 40 << 20:
                    peer.send(piece)
                    sent += len(piece)
                    await peer.writer.drain()

            task = asyncio.ensure_future(pour())
            await _still(lambda: sent)
            assert len(piece) < sent < 30 << 20
            asked = value("deepmoat_edge_refused_total", reason="no_backend")
            await _still(lambda: value("deepmoat_edge_refused_total", reason="no_backend"))
            assert value("deepmoat_edge_refused_total", reason="no_backend") - asked < 50_000
            task.cancel()

    bench.run(work())


async def _still(measure: Any) -> None:
    """Wait until ``measure`` has not changed over many rounds of the loop."""
    last, rounds = -1, 0
    while rounds < 40:
        now = measure()
        rounds = rounds + 1 if now == last else 0
        last = now
        await asyncio.sleep(0.005)


ANSWERS: tuple[tuple[str, bytes, bytes, int, bytes, bool], ...] = (
    # name, request, the backend's answer, status, body, does the client's connection live on
    ("head", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, b"", True),
    ("204", b"", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    ("304", b"", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b"", True),
    ("empty", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    ("early hints", b"", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
     200, b"x", True),
    ("until close", b"", b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello", False),
    ("closing", b"", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", 200, b"x", True),
    ("chunks and length", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
     200, b"x", True),
    ("more than announced", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n", 200, b"x", True),
    ("hop by hop", b"", b"HTTP/1.1 200 OK\r\nKeep-Alive: 5\r\nConnection: X-A\r\nX-A: 1\r\nContent-Length: 1\r\n\r\nx",
     200, b"x", True),
    ("closing client", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", False),
    ("old client", b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", False),
    ("old client keeps alive", b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", True),
    ("nonsense", b"", b"SSH-2.0-OpenSSH\r\n\r\n", 502, b"", True),
    ("two lengths", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 502, b"", True),
    ("bare LF", b"", b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n", 502, b"", True),
    ("folded", b"", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", 502, b"", True),
    ("gzip, chunked", b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502, b"", True),
    ("bad length", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\nx", 502, b"", True),
    ("switching", b"", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 502, b"", True),
)  # fmt: skip


def test_every_kind_of_answer_reaches_the_client_whole_or_not_at_all(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        now = b""

        async def scripted(peer: Any, head: bytes, body: bytes) -> None:
            peer.send(now)
            if b"HTTP/1.0 200" in now or b"Connection: close" in now:
                peer.close()

        toy = await bench.toy(scripted)
        async with bench.running(tmp_path, toy) as edge:
            for name, request, now, status, body, lives in ANSWERS:
                peer = await edge.connect()
                peer.send(request or bench.get("/"))
                head = await peer.head()
                assert int(head[9:12]) == status, name
                assert head.startswith(b"HTTP/1.1 "), name
                for hop in (b"keep-alive: 5", b"x-a", b"upgrade"):
                    assert hop not in head.lower(), name
                assert (
                    head.lower().count(b"content-length") + head.lower().count(b"transfer-encoding") <= 1
                ), name
                if b"content-length" in head.lower() or b"transfer-encoding" in head.lower():
                    got = b"" if name in ("head", "304") else await peer.body(head)
                else:
                    got = b"" if lives else await peer.closed()
                assert not body or got == body, name
                assert (b"Connection: close" in head) is not lives, name
                if lives:
                    now = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                    assert (await peer.ask(bench.get("/again")))[0] == 200, name
                done.append(name)

    done: list[str] = []
    bench.run(work())
    assert len(done) == len(ANSWERS) == 20


def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(bench: Any, tmp_path: Path) -> None:
    async def broken(peer: Any, head: bytes, body: bytes) -> None:
        chunked = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        peer.send(b"HTTP/1.1 200 OK\r\n" + (chunked if b"/c" in head else b"Content-Length: 9\r\n\r\nhello"))
        peer.close()

    async def work() -> None:
        toy = await bench.toy(broken)
        async with bench.running(tmp_path, toy) as edge:
            for path in ("/c", "/l"):
                peer = await edge.connect()
                peer.send(bench.get(path))
                got = await peer.closed()
                assert not got.endswith(b"0\r\n\r\n") and b"502" not in got
        assert {r["error_type"] for r in edge.records("access")} == {"backend_closed"}

    bench.run(work())


def test_bytes_behind_a_chunked_answer_never_reach_the_next_client(bench: Any, tmp_path: Path) -> None:
    async def smuggling(peer: Any, head: bytes, body: bytes) -> None:
        evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + evil)

    async def work() -> None:
        toy = await bench.toy(smuggling)
        async with bench.running(tmp_path, toy) as edge:
            for _ in range(3):
                peer = await edge.connect()
                peer.send(bench.get("/"))
                assert b"evil" not in await peer.closed()

    bench.run(work())


def test_a_dead_backend_gives_502_is_ejected_and_the_other_one_serves(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        dead, alive = await bench.toy(), await bench.toy()
        address = dead.address
        await dead.stop()
        backends = (BackendSettings(address=address), BackendSettings(address=alive.address))
        health = HealthSettings(every=0.05, fall=1)
        async with bench.running(tmp_path / "two", alive, backends=backends, health=health) as edge:
            peer = await edge.connect()
            for _ in range(6):
                assert (await peer.ask(bench.post("/", b"x")))[0] == 200  # nothing was sent: asked elsewhere
            while (
                value("deepmoat_edge_backend_healthy", backend=address, worker="edge-0") != 0.0
                or not alive.requests
            ):
                await asyncio.sleep(0.01)
        async with bench.running(tmp_path / "one", backends=backends[:1], health=health) as edge:
            peer = await edge.connect()
            status, _, body = await peer.ask(bench.get("/"))
            assert status == 502 and msgspec.json.decode(body)["error"]["type"] == "backend_unreachable"
            assert (await peer.ask(bench.get("/")))[0] == 502  # the connection lives on
        records = edge.records("access")
        assert [r["verdict"] for r in records] == ["pass", "pass"]
        assert records[0]["error_type"] == "backend_unreachable"

    bench.run(work())


def test_a_backend_that_returns_is_used_again(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        port = int(toy.address.rpartition(":")[2])
        await toy.stop()
        health = HealthSettings(every=0.02, fall=1)
        backends = (BackendSettings(address=f"127.0.0.1:{port}", health="/healthz"),)
        async with bench.running(tmp_path, backends=backends, health=health) as edge:
            peer = await edge.connect()
            assert (await peer.ask(bench.get("/")))[0] == 502
            again = bench.Toy(bench.polite)
            await again.start(port)
            while value("deepmoat_edge_backend_healthy", backend=backends[0].address, worker="edge-0") != 1.0:
                await asyncio.sleep(0.01)
            assert (await peer.ask(bench.get("/")))[0] == 200
            assert any(head.startswith(b"GET /healthz ") for head, _ in again.requests)
            await again.stop()

    bench.run(work())


def test_no_backend_is_503_and_a_silent_one_504(bench: Any, tmp_path: Path) -> None:
    async def silent(peer: Any, head: bytes, body: bytes) -> None:
        await peer.reader.read()

    async def work() -> None:
        async with bench.running(tmp_path / "none") as edge:
            assert (await (await edge.connect()).ask(bench.get("/")))[0] == 503
        toy = await bench.toy(silent)
        async with bench.running(tmp_path / "silent", toy, timeouts=TimeoutSettings(answer=0.1)) as edge:
            assert (await (await edge.connect()).ask(bench.get("/")))[0] == 504

    bench.run(work())


def test_a_pooled_connection_that_has_died_costs_no_request(bench: Any, tmp_path: Path) -> None:
    async def once(peer: Any, head: bytes, body: bytes) -> None:
        await bench.polite(peer, head, body)
        peer.close()  # without having said so

    async def work() -> None:
        toy = await bench.toy(once)
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            for _ in range(10):
                assert (await peer.ask(bench.get("/")))[0] == 200

    bench.run(work())


def test_an_upgrade_is_declined_and_the_request_served(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
            for _ in range(2):
                assert (await peer.ask(bench.post("/up", b"GET / HTTP/1.1\r\n", *lines)))[0] == 200
                assert (await peer.ask(bench.get("/up", *lines)))[0] == 200
            assert [b for _, b in toy.requests] == [b"GET / HTTP/1.1\r\n", b""] * 2
            assert all(b"pgrade" not in h for h, _ in toy.requests)

    bench.run(work())


def test_expect_100_is_answered_before_the_body_comes(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            assert await peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await peer.ask(b"body"))[0] == 200
            assert toy.requests[0][1] == b"body" and b"Expect" not in toy.requests[0][0]

    bench.run(work())


def test_a_client_above_its_rate_is_told_to_come_back(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        rate = RateSettings(requests_per_second=0.5, burst=3)
        async with bench.running(tmp_path, toy, rate=rate) as edge:
            peer = await edge.connect()
            answers = [await peer.ask(bench.get("/")) for _ in range(20)]
            assert [s for s, _, _ in answers[:3]] == [200] * 3 and {s for s, _, _ in answers[4:]} == {429}
            assert b"\r\nRetry-After: 2\r\n" in answers[-1][1]
            other = await edge.connect("127.0.0.2")
            assert (await other.ask(bench.get("/")))[0] == 200
        flood = edge.records("ddos")
        assert sum(r["requests"] for r in flood) == sum(s == 429 for s, _, _ in answers)
        assert {(r["cc_phase"], r["verdict"], r["client_address"]) for r in flood} == {
            ("rate", "limit", "127.0.0.1")
        }
        limited = [r for r in edge.records("access") if r["verdict"] == "limit"]
        assert len(limited) == len(flood)  # one line a second, however many requests

    bench.run(work())


def test_a_full_disk_stops_no_request_and_every_lost_record_is_counted(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        before = _dropped("disk_full")
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            with _small_files():
                for _ in range(5):
                    assert (await peer.ask(bench.get("/full")))[0] == 200
                while _dropped("disk_full") < before + 5:
                    await asyncio.sleep(0.02)
            assert (await peer.ask(bench.get("/free")))[0] == 200
        assert [r["url_path"] for r in edge.records("access")] == ["/free"]
        assert _dropped("disk_full") == before + 5

    bench.run(work())


def _dropped(reason: str) -> float:
    return value("deepmoat_dropped_records_total", component="edge", reason=reason)


class _small_files:  # noqa: N801
    """No file may grow: what a full disk is to ``write`` (EFBIG in place of ENOSPC)."""

    def __enter__(self) -> None:
        import resource
        import signal

        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self.limits[1]))

    def __exit__(self, *exc: object) -> None:
        import resource
        import signal

        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)
        signal.signal(signal.SIGXFSZ, self.handler)


def test_stopping_lets_requests_in_flight_end_and_seals_the_spool(bench: Any, tmp_path: Path) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(peer: Any, head: bytes, body: bytes) -> None:
        asked.set()
        await go.wait()
        await bench.polite(peer, head, body)

    async def work() -> None:
        toy = await bench.toy(slow)
        async with bench.running(tmp_path, toy) as edge:
            idle, busy = await edge.connect(), await edge.connect()
            busy.send(bench.get("/"))
            await asked.wait()
            edge.stop.set()
            assert await idle.closed() == b""
            go.set()
            status, head, _ = await busy.answer()
            assert status == 200
            await edge.task
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", edge.port)
        assert len(edge.records("access")) == 1
        assert not list((tmp_path / "spool" / "edge-0").glob("*.open"))
        meters = msgspec.json.decode(
            (tmp_path / "run" / "meters-edge-0.json").read_bytes(), type=list[Sample]
        )
        names = {m.name.removeprefix("deepmoat_edge_") for m in meters}
        assert {
            "requests_total",
            "requests_in_flight",
            "connections",
            "actions_in_force",
            "spool_bytes",
        } <= names

    bench.run(work())


def test_a_second_worker_on_the_same_spool_and_wrong_settings_are_refused(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy):
            with pytest.raises(TransientError, match="another process uses this folder"):
                async with bench.running(tmp_path):
                    pass
        for wrong in (
            {"listen": "8080"},
            {"trusted_forwarders": ("everyone",)},
            {"listen": "127.0.0.1:99999"},
        ):
            with pytest.raises(ConfigError, match=r"edge\."):
                async with bench.running(tmp_path, **wrong):
                    pass

    bench.run(work())


def test_too_many_connections_are_told_so(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        async with bench.running(tmp_path, toy, limits=LimitSettings(connections=2)) as edge:
            first, second = await edge.connect(), await edge.connect()
            assert (await first.ask(bench.get("/")))[0] == (await second.ask(bench.get("/")))[0] == 200
            third = await edge.connect()
            assert (await third.answer())[0] == 503

    bench.run(work())


def test_an_answer_that_came_before_the_request_was_whole_ends_the_connection(
    bench: Any, tmp_path: Path
) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\nab")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
            await reader.readexactly(2)
        except asyncio.IncompleteReadError:  # a health check
            pass
        finally:
            writer.close()

    async def work() -> None:
        server = await asyncio.start_server(early, "127.0.0.1", 0)
        backend = BackendSettings(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with bench.running(tmp_path, backends=(backend,)) as edge:
            peer = await edge.connect()
            peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
            assert b"Connection: close" in await peer.head()
            peer.send(b"cd")
            assert await asyncio.wait_for(peer.closed(), 5) == b"hello"
        server.close()

    bench.run(work())


def test_a_kept_alive_connection_closes_when_its_last_answer_ends_while_draining(
    bench: Any, tmp_path: Path
) -> None:
    go = asyncio.Event()

    async def halves(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await go.wait()
        peer.send(b"b")

    async def work() -> None:
        toy = await bench.toy(halves)
        async with bench.running(tmp_path, toy, timeouts=TimeoutSettings(drain=10)) as edge:
            peer = await edge.connect()
            peer.send(bench.get("/"))
            await peer.head()
            ending = asyncio.ensure_future(edge.end())
            await asyncio.sleep(0.1)
            go.set()
            assert await asyncio.wait_for(peer.closed(), 5) == b"ab"
            await asyncio.wait_for(ending, 5)

    bench.run(work())
