"""HTTP/2 through a real worker: streams are requests, floods end it, nothing is cut in silence."""
# ruff: noqa: PLR0915 - a conversation in one function

import asyncio
from pathlib import Path
from typing import Any

import h2.events
import hyperframe.frame as frames
from edge.secure import h2_connect, tls
from h2.errors import ErrorCodes

from deepmoat.edge.settings import (
    BackendSettings,
    Http2Settings,
    LimitSettings,
    RateSettings,
    TimeoutSettings,
)
from deepmoat.kit.meters import snapshot

CHAT = b'{"model":"gpt-x","messages":[{"role":"user","content":"hello"}],"user":"u-7","stream":true}'
JSON = ("content-type", "application/json")


def flooded() -> float:
    return sum(
        s.value
        for s in snapshot()
        if s.name == "deepmoat_edge_refused_total" and dict(s.labels)["reason"] == "http2_flood"
    )


async def echo(peer: Any, head: bytes, body: bytes) -> None:
    answer = head.split()[1] + b" " + body
    peer.send(b"HTTP/1.1 200 OK\r\nX-Toy: 1\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))


def secured(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"listen": "", "tls": tls(tmp_path / "pem"), **more}


def test_streams_of_one_connection_are_requests_of_their_own(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy(echo)
        async with bench.running(tmp_path, toy, **secured(tmp_path)) as edge:
            peer = await h2_connect(edge.port)
            streams = [peer.request(f"/{i}", ("cookie", "a=1"), ("cookie", "b=2")) for i in range(50)]
            posted = peer.request("/post", ("content-length", "4"), method="POST", end=False)
            await peer.send(posted, b"body")
            chunked = peer.request("/chunks", method="POST", end=False)
            await peer.send(chunked, b"no length")
            for i, stream in enumerate(streams):
                status, fields, body = await peer.answer(stream)
                assert (status, fields[b"x-toy"], body) == (200, b"1", b"/%d " % i)
            assert (await peer.answer(posted))[2] == b"/post body"
            assert (await peer.answer(chunked))[2] == b"/chunks no length"
            heads = {h.split()[1]: h for h, _ in toy.requests}
            assert b"\r\nHost: a.example\r\n" in heads[b"/0"] and b"\r\ncookie: a=1; b=2\r\n" in heads[b"/0"]
            assert b"\r\nContent-Length: 4\r\n" in heads[b"/post"]
            assert b"\r\nX-Forwarded-Proto: https\r\n" in heads[b"/0"]
            peer.writer.close()
        records = edge.records("access")
        assert len(records) == 52
        assert {r["network_protocol_version"] for r in records} == {"2"}
        assert all(r["tls_client_ja4"].startswith("t13d") and "h2_" in r["tls_client_ja4"] for r in records)

    bench.run(work())


def test_a_head_request_and_an_answer_without_body_end_without_data(bench: Any, tmp_path: Path) -> None:
    async def empty(peer: Any, head: bytes, body: bytes) -> None:
        if head.startswith(b"HEAD"):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        else:
            peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def work() -> None:
        toy = await bench.toy(empty)
        async with bench.running(tmp_path, toy, **secured(tmp_path)) as edge:
            peer = await h2_connect(edge.port)
            status, fields, body = await peer.answer(peer.request("/", method="HEAD"))
            assert (status, fields[b"content-length"], body) == (200, b"99", b"")
            assert (await peer.answer(peer.request("/")))[::2] == (204, b"")
            peer.writer.close()

    bench.run(work())


def test_events_arrive_one_by_one_and_a_left_stream_closes_the_backends_connection(
    bench: Any, tmp_path: Path
) -> None:
    go = asyncio.Semaphore(0)

    async def stream(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(1000):
            event = b'data: {"model":"m-2","choices":[{"delta":{"content":"%d"}}]}\n\n' % i
            peer.send(b"%x\r\n%b\r\n" % (len(event), event))
            await go.acquire()

    async def work() -> None:
        toy = await bench.toy(stream)
        async with bench.running(tmp_path, toy, **secured(tmp_path)) as edge:
            peer = await h2_connect(edge.port)
            asked = peer.request("/v1/chat/completions", JSON, method="POST", end=False)
            await peer.send(asked, CHAT)
            for i in range(3):
                while b'"%d"' % i not in peer.body(asked):
                    assert await peer.more()
                assert b'"%d"' % (i + 1) not in peer.body(asked)
                go.release()
            peer.h2.reset_stream(asked, ErrorCodes.CANCEL)
            peer.flush()
            await asyncio.wait_for(_left(toy), 5)
            peer.writer.close()
        (record,) = edge.records("llm")
        assert record["error_type"] == "client_left" and record["client_left"] == 1
        assert record["gen_ai_request_model"] == "gpt-x" and record["streamed"] == 1

    async def _left(toy: Any) -> None:
        go.release()
        while all(w.transport.is_closing() is False for w in toy.writers):
            go.release()
            await asyncio.sleep(0.02)

    bench.run(work())


def test_bodies_of_any_size_pass_both_ways_under_small_windows(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy(echo)
        async with bench.running(tmp_path, toy, **secured(tmp_path)) as edge:
            peer = await h2_connect(edge.port)
            body = bytes(range(256)) * 12_000
            stream = peer.request("/big", ("content-length", str(len(body))), method="POST", end=False)
            await peer.send(stream, body)
            status, _, got = await peer.answer(stream)
            assert status == 200 and got == b"/big " + body
            peer.writer.close()

    bench.run(work())


def test_a_client_that_takes_nothing_holds_the_backend_and_is_ended_in_time(
    bench: Any, tmp_path: Path
) -> None:
    sent = 0

    async def endless(peer: Any, head: bytes, body: bytes) -> None:
        nonlocal sent
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            peer.send(bytes(50_000))
            await peer.writer.drain()
            sent += 50_000

    async def work() -> None:
        toy = await bench.toy(endless)
        settings = secured(tmp_path, timeouts=TimeoutSettings(send=0.5))
        async with bench.running(tmp_path, toy, **settings) as edge:
            peer = await h2_connect(edge.port)
            peer.acknowledge = False
            stream = peer.request("/")
            await peer.until(stream, h2.events.StreamReset)
            assert not peer.of(stream, h2.events.StreamEnded)
            assert len(peer.body(stream)) == 65_535
            assert sent < 20_000_000
            peer.writer.close()
        (record,) = edge.records("access")
        assert record["error_type"] == "send_timeout"

    bench.run(work())


def test_an_answer_that_breaks_off_resets_the_stream_and_others_go_on(bench: Any, tmp_path: Path) -> None:
    async def half(peer: Any, head: bytes, body: bytes) -> None:
        if b"/half" in head:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            await peer.writer.drain()
            await asyncio.sleep(0.05)
            peer.close()
        else:
            await echo(peer, head, body)

    async def work() -> None:
        toy = await bench.toy(half)
        async with bench.running(tmp_path, toy, **secured(tmp_path)) as edge:
            peer = await h2_connect(edge.port)
            broken = peer.request("/half")
            reset = await peer.until(broken, h2.events.StreamReset)
            assert reset.error_code == ErrorCodes.INTERNAL_ERROR
            assert not peer.of(broken, h2.events.StreamEnded)
            assert (await peer.answer(peer.request("/whole")))[2] == b"/whole "
            peer.writer.close()
        assert [r.get("error_type", "") for r in edge.records("access")] == ["backend_closed", ""]

    bench.run(work())


BAD_HEADS: tuple[tuple[str, list[tuple[str, str]]], ...] = (
    ("a host that is another", [("host", "b.example")]),
    ("a line break in a value", [("x-a", "1\r\nx-b: 2")]),
    ("a NUL in a value", [("x-a", "1\0")]),
)


def test_heads_that_http1_could_not_say_are_refused_and_the_connection_stays(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy(echo)
        async with bench.running(tmp_path, toy, **secured(tmp_path)) as edge:
            for name, lines in BAD_HEADS:
                peer = await h2_connect(edge.port)
                peer.h2.config.validate_outbound_headers = False
                peer.h2.config.normalize_outbound_headers = False
                stream = peer.request("/", *lines)
                try:
                    status = (await peer.answer(stream))[0]
                except AssertionError:  # h2 found it first: the connection has ended
                    status = 400
                assert status == 400, name
                peer.writer.close()
            peer = await h2_connect(edge.port)
            for path in ("/a b", "/%zz", "/../../etc", "/a#b"):
                assert (await peer.answer(peer.request(path)))[0] == 400, path
            assert (await peer.answer(peer.request("/ok")))[0] == 200
            peer.writer.close()
            assert [h.split()[1] for h, _ in toy.requests] == [b"/ok"]

    bench.run(work())


def test_a_body_too_large_or_too_slow_is_refused_on_its_stream_alone(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy(echo)
        settings = secured(
            tmp_path, limits=LimitSettings(body_bytes=100_000), timeouts=TimeoutSettings(body=0.2)
        )
        async with bench.running(tmp_path, toy, **settings) as edge:
            peer = await h2_connect(edge.port)
            announced = peer.request("/", ("content-length", "100001"), method="POST", end=False)
            assert (await peer.answer(announced))[0] == 413
            slow = peer.request("/", method="POST", end=False)
            assert (await peer.answer(slow))[0] == 408
            assert (await peer.answer(peer.request("/ok")))[0] == 200
            peer.writer.close()

    bench.run(work())


def test_a_limit_answers_429_on_the_stream(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy(echo)
        settings = secured(tmp_path, rate=RateSettings(requests_per_second=1, burst=3))
        async with bench.running(tmp_path, toy, **settings) as edge:
            peer = await h2_connect(edge.port)
            answers = [await peer.answer(peer.request("/")) for _ in range(6)]
            statuses = [status for status, _, _ in answers]
            assert statuses[:3] == [200, 200, 200] and statuses[-1] == 429
            assert int(answers[-1][1][b"retry-after"]) >= 1
            peer.writer.close()

    bench.run(work())


def rapid_reset(peer: Any) -> bytes:
    for _ in range(40):
        stream = peer.request("/v1/slow")
        peer.h2.reset_stream(stream, ErrorCodes.CANCEL)
    return peer.h2.data_to_send()


def pings(peer: Any) -> bytes:
    return frames.PingFrame(0, b"12345678").serialize() * 100


def settings_frames(peer: Any) -> bytes:
    return frames.SettingsFrame(0, {4: 65_535}).serialize() * 100


def empty_data(peer: Any) -> bytes:
    return frames.DataFrame(peer.opened, b"").serialize() * 100


def window_updates(peer: Any) -> bytes:
    return frames.WindowUpdateFrame(0, 1).serialize() * 100


def priorities(peer: Any) -> bytes:
    return frames.PriorityFrame(3, 0, 1).serialize() * 100


FLOODS = (rapid_reset, pings, settings_frames, empty_data, window_updates, priorities)


def test_each_flood_of_frames_ends_its_connection_and_is_counted(bench: Any, tmp_path: Path) -> None:
    async def slow(peer: Any, head: bytes, body: bytes) -> None:
        await asyncio.sleep(30 if b"/v1/slow" in head else 0)
        await echo(peer, head, body)

    async def work() -> None:
        toy = await bench.toy(slow)
        settings = secured(tmp_path, http2=Http2Settings(frames=500, frames_per_second=50))
        async with bench.running(tmp_path, toy, **settings) as edge:
            for flood in FLOODS:
                before = flooded()
                peer = await h2_connect(edge.port)
                peer.opened = peer.request("/v1/slow", method="POST", end=False)
                for _ in range(30):
                    peer.writer.write(flood(peer))
                    await asyncio.sleep(0)
                    if peer.writer.is_closing():
                        break
                assert await asyncio.wait_for(peer.gone(), 10) in (ErrorCodes.ENHANCE_YOUR_CALM, None), flood
                assert flooded() == before + 1, flood
                peer.writer.close()
            peer = await h2_connect(edge.port)
            assert (await peer.answer(peer.request("/ok")))[0] == 200
            peer.writer.close()

    bench.run(work())


def test_a_header_block_without_end_ends_the_connection_and_too_many_headers_are_refused(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy(echo)
        async with bench.running(tmp_path, toy, **secured(tmp_path)) as edge:
            peer = await h2_connect(edge.port)
            head = frames.HeadersFrame(1, b"\x82")
            peer.writer.write(head.serialize())
            for _ in range(200):
                peer.writer.write(frames.ContinuationFrame(1, b"\x82" * 1000).serialize())
            await asyncio.wait_for(peer.gone(), 10)
            peer.writer.close()
            peer = await h2_connect(edge.port)
            many = peer.request("/", *(("x-a", "a" * 1000) for _ in range(60)))
            assert (await peer.answer(many))[0] == 431
            peer.writer.close()
            assert not toy.requests

    bench.run(work())


def test_a_drained_connection_answers_what_is_under_way_and_takes_nothing_more(
    bench: Any, tmp_path: Path
) -> None:
    go = asyncio.Event()

    async def waits(peer: Any, head: bytes, body: bytes) -> None:
        await go.wait()
        await echo(peer, head, body)

    async def work() -> None:
        toy = await bench.toy(waits)
        async with bench.running(tmp_path, toy, **secured(tmp_path)) as edge:
            peer = await h2_connect(edge.port)
            stream = peer.request("/last")
            while not toy.requests:
                await asyncio.sleep(0.01)
            ending = asyncio.ensure_future(edge.end())
            while not any(isinstance(e, h2.events.ConnectionTerminated) for e in peer.events):
                assert await peer.more()
            go.set()
            peer.h2.state_machine.state = type(
                peer.h2.state_machine.state
            ).CLIENT_OPEN  # h2 reads no more after GOAWAY
            assert (await peer.answer(stream))[2] == b"/last "
            await ending
            peer.writer.close()

    bench.run(work())


def test_a_length_without_a_body_is_refused_and_smuggles_nothing(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy(echo)
        async with bench.running(tmp_path, toy, **secured(tmp_path)) as edge:
            peer = await h2_connect(edge.port)
            stream = peer.request("/x", ("content-length", "60"), method="POST")
            assert (await peer.answer(stream))[0] == 400
            assert (await peer.answer(peer.request("/y", ("content-length", "0"), method="POST")))[0] == 200
            peer.writer.close()
            assert [h.split()[1] for h, _ in toy.requests] == [b"/y"]

    bench.run(work())


def test_a_client_that_says_goodbye_with_its_request_harms_nobody(bench: Any, tmp_path: Path) -> None:
    async def slow(peer: Any, head: bytes, body: bytes) -> None:
        await asyncio.sleep(0.3 if b"/slow" in head else 0)
        await echo(peer, head, body)

    async def work() -> None:
        toy = await bench.toy(slow)
        short = TimeoutSettings(body=0.2, answer=0.5)
        async with bench.running(tmp_path, toy, **secured(tmp_path, timeouts=short)) as edge:
            peers = []
            for lines, end in (((("expect", "100-continue"),), False), ((), True), ((), False)):
                peer = await h2_connect(edge.port)
                peer.request("/slow", *lines, method="POST", end=end)
                peer.writer.write(frames.GoAwayFrame(0, last_stream_id=0).serialize())
                peers.append(peer)
            await asyncio.sleep(1.2)
            assert not edge.task.done()
            peer = await h2_connect(edge.port)
            assert (await peer.answer(peer.request("/ok")))[0] == 200
            for each in (*peers, peer):
                each.writer.close()

    bench.run(work())


def test_uploads_that_are_given_up_do_not_use_up_the_connections_window(bench: Any, tmp_path: Path) -> None:
    over = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1)
        backend = BackendSettings(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with bench.running(tmp_path, **secured(tmp_path, backends=(backend,))) as edge:
            peer = await h2_connect(edge.port)
            for _ in range(40):
                stream = peer.request("/up", method="POST", end=False)
                room = min(peer.h2.local_flow_control_window(stream), 16_000)
                assert room == 16_000
                await peer.send(stream, bytes(room), end=False)
                peer.h2.reset_stream(stream, ErrorCodes.CANCEL)
                peer.flush()
                await asyncio.sleep(0.02)
                peer.h2.ping(b"12345678")
                peer.flush()
                assert await peer.more()
            peer.writer.close()
        over.set()
        await asyncio.sleep(0.1)
        server.close()

    bench.run(work())
