"""Model calls through a real worker: tokens, budgets, prompts, and an answer to every bad body."""
# ruff: noqa: PLR0915 - a conversation in one function

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deepmoat.edge.settings import (
    BackendSettings,
    BudgetSettings,
    LimitSettings,
    LlmSettings,
    RateSettings,
)

CHAT = "/v1/chat/completions"


def chat(**more: Any) -> bytes:
    return json.dumps({"model": "m-1", "messages": [{"role": "user", "content": "hello"}], **more}).encode()


def events(*objects: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(o).encode() for o in objects) + b"data: [DONE]\n\n"


def delta(text: str) -> dict[str, Any]:
    return {"id": "c-9", "model": "m-1", "choices": [{"index": 0, "delta": {"content": text}}], "usage": None}


USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 4},
}


async def streaming(peer: Any, head: bytes, body: bytes) -> None:
    """Streams words, and tokens only when it is asked for them, as OpenAI does."""
    asked = json.loads(body)
    whole = [delta("one "), delta("two")]
    if asked.get("stream_options", {}).get("include_usage"):
        whole.append({"id": "c-9", "model": "m-1", "choices": [], "usage": USAGE})
    data = events(*whole)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for start in range(0, len(data), 97):
        piece = data[start : start + 97]
        peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await asyncio.sleep(0)
    peer.send(b"0\r\n\r\n")


def test_tokens_of_a_stream_are_asked_for_and_the_client_sees_only_what_it_asked_for(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy(streaming)
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            without = events(delta("one "), delta("two"))
            status, head, body = await peer.ask(bench.post(CHAT, chat(stream=True)))
            assert (status, body) == (200, without)
            assert b"Transfer-Encoding: chunked" in head
            assert json.loads(toy.requests[-1][1])["stream_options"] == {"include_usage": True}
            asked = chat(stream=True, stream_options={"include_usage": True})
            _, _, body = await peer.ask(bench.post(CHAT, asked))
            assert b'"completion_tokens": 12' in body
            assert toy.requests[-1][1] == asked
            old = bench.post(CHAT, chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0")
            ancient = await edge.connect()
            ancient.send(old)
            head = await ancient.head()
            assert b"chunked" not in head and await ancient.closed() == without
        for record in edge.records("llm"):
            assert record["gen_ai_usage_input_tokens"] == 30
            assert record["gen_ai_usage_output_tokens"] == 12
            assert record["gen_ai_usage_cache_read_input_tokens"] == 10
            assert record["gen_ai_usage_reasoning_output_tokens"] == 4
            assert record["gen_ai_response_id"] == "c-9" and record["answer"] == "one two"
            assert record["prompt"] == "user: hello" and record["streamed"] == 1
            assert 0 < record["time_to_first_token"] <= record["duration"]
            assert "gen_ai_usage_estimated" not in record

    bench.run(work())


def test_where_the_backend_sends_no_tokens_they_are_estimated_and_the_record_says_so(
    bench: Any, tmp_path: Path
) -> None:
    async def silent(peer: Any, head: bytes, body: bytes) -> None:
        data = events(*(delta(f"word{i} ") for i in range(40)))
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))

    async def work() -> None:
        toy = await bench.toy(silent)
        llm = LlmSettings(add_usage=False, record_prompts=False, record_answers=False)
        async with bench.running(tmp_path, toy, llm=llm) as edge:
            peer = await edge.connect()
            await peer.ask(bench.post(CHAT, chat(stream=True)))
            assert b"stream_options" not in toy.requests[-1][1]
        (record,) = edge.records("llm")
        assert record["gen_ai_usage_estimated"] == 1 and record["attributes"]["usage"] == "estimated"
        assert 30 <= record["gen_ai_usage_output_tokens"] <= 200
        assert "prompt" not in record and "answer" not in record

    bench.run(work())


def test_a_budget_counts_what_streams_used_answers_in_the_apis_shape_and_survives_a_restart(
    bench: Any, tmp_path: Path
) -> None:
    budgets = (BudgetSettings(name="daily", by=("key",), tokens_per_day=100),)

    async def work() -> None:
        toy = await bench.toy(streaming)
        async with bench.running(tmp_path, toy, budgets=budgets) as edge:
            peer = await edge.connect()
            for _ in range(2):  # 42 tokens each
                status, _, _ = await peer.ask(
                    bench.post(CHAT, chat(stream=True), "Authorization: Bearer one")
                )
                assert status == 200
        toy = await bench.toy(streaming)
        async with bench.running(tmp_path, toy, budgets=budgets) as edge:
            peer = await edge.connect()
            status, _, _ = await peer.ask(bench.post(CHAT, chat(stream=True), "Authorization: Bearer one"))
            assert status == 200
            status, head, body = await peer.ask(bench.post(CHAT, chat(), "Authorization: Bearer one"))
            assert status == 429 and int(head.partition(b"etry-After: ")[2].split()[0]) > 0
            assert b"should-retry: false" in head.lower()
            error = json.loads(body)["error"]
            assert error["code"] == error["type"] == "insufficient_quota"
            status, _, body = await peer.ask(
                bench.post(
                    "/v1/messages", chat(max_tokens=5), "X-Api-Key: one", "anthropic-version: 2023-06-01"
                )
            )
            assert status == 429 and json.loads(body)["type"] == "error"
            status, _, _ = await peer.ask(bench.post(CHAT, chat(stream=True), "Authorization: Bearer two"))
            assert status == 200
        refused = [r for r in edge.records("llm") if r["verdict"] == "limit"]
        assert refused[0]["verdict_rule"] == "budget/daily"
        (counted,) = edge.records("ddos")
        assert counted["cc_phase"] == "budget" and counted["cc_blocks"] == 1 and counted["requests"] == 2

    bench.run(work())


async def answered(peer: Any, head: bytes, body: bytes) -> None:
    text = json.dumps(
        {"id": "c-1", "model": "m-1", "choices": [{"finish_reason": "stop"}], "usage": USAGE}
    ).encode()
    peer.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(text), text)
    )


BOMB = gzip.compress(b'{"model":"m-1","messages":"' + b"a" * 50_000_000 + b'"}')
DEEP = b'{"model":"m-1","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BAD_BODIES: tuple[tuple[str, bytes, tuple[str, ...], str], ...] = (
    ("not JSON", b"not json at all", (), "not_json"),
    ("empty", b"", (), "not_json"),
    ("half", chat()[:-5], (), "not_json"),
    ("deep", DEEP, (), "too_deep"),
    ("UTF-16", chat().decode().encode("utf-16"), (), "not_utf8"),
    ("a gzip bomb", BOMB, ("Content-Encoding: gzip",), "compressed_too_large"),
    ("not gzip", chat(), ("Content-Encoding: gzip",), "compressed_broken"),
    ("brotli", chat(), ("Content-Encoding: br",), "compressed"),
)


def test_bodies_that_cannot_be_read_are_passed_on_as_they_are_and_the_record_says_why(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy(answered)
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            for name, body, lines, _ in BAD_BODIES:
                status, _, _ = await peer.ask(bench.post(CHAT, body, *lines))
                assert status == 200, name
                assert toy.requests[-1][1] == body, name
        records = edge.records("llm")
        assert [r["attributes"]["request"] for r in records] == [reason for *_, reason in BAD_BODIES]

    bench.run(work())


def test_a_compressed_call_is_read_without_being_changed(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy(answered)
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            body = gzip.compress(chat(stream=True, user="u-1"))
            await peer.ask(bench.post(CHAT, body, "Content-Encoding: gzip"))
            assert toy.requests[-1][1] == body
        (record,) = edge.records("llm")
        assert record["gen_ai_request_model"] == "m-1" and record["user_name"] == "u-1"

    bench.run(work())


def test_a_prompt_of_100_megabytes_is_refused_by_its_length_or_streamed_in_little_memory(
    bench: Any, tmp_path: Path
) -> None:
    import resource

    got = 0

    async def swallow(peer: Any, head: bytes, body: bytes) -> None:
        await answered(peer, head, body)

    async def work() -> None:
        nonlocal got
        toy = await bench.toy(swallow)

        async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal got
            peer = bench.Peer(reader, writer)
            try:
                head = await peer.head()
                while got < 100_000_000 and (data := await reader.read(1 << 20)):
                    got += len(data)
                await answered(peer, head, b"")
            except asyncio.IncompleteReadError:
                pass
            writer.close()

        server = await asyncio.start_server(read, "127.0.0.1", 0)
        backend = BackendSettings(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with bench.running(tmp_path / "a", toy) as edge:
            peer = await edge.connect()
            head = bench.post(CHAT, b"").replace(b"Content-Length: 0", b"Content-Length: 100000000")
            status, _, body = await peer.ask(head)
            assert status == 413 and json.loads(body)["error"]["code"] == "body_too_large"
        limits = LimitSettings(body_bytes=200 << 20)
        async with bench.running(tmp_path / "b", backends=(backend,), limits=limits) as edge:
            peer = await edge.connect()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            peer.send(head)
            start = b'{"model":"m-1","messages":[{"role":"user","content":"'
            peer.send(start + b"x" * (1_000_000 - len(start)))
            for _ in range(99):
                peer.send(b"x" * 1_000_000)
                await peer.writer.drain()
            assert (await peer.answer())[0] == 200
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000
        server.close()

    bench.run(work())


ERRORS = (
    ("/v1/chat/completions", lambda e: e["error"]["code"] == "backend_unreachable"),
    ("/v1/messages", lambda e: e["type"] == "error" and e["error"]["type"] == "api_error"),
    ("/api/chat", lambda e: isinstance(e["error"], str)),
    ("/other", lambda e: e["error"]["type"] == "backend_unreachable"),
)


@pytest.mark.parametrize(("path", "right"), ERRORS)
def test_an_error_has_the_shape_of_the_api_that_was_called(
    bench: Any, tmp_path: Path, path: str, right: Any
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        await toy.stop()
        async with bench.running(tmp_path, backends=(BackendSettings(address=toy.address),)) as edge:
            peer = await edge.connect()
            status, _, body = await peer.ask(bench.post(path, chat()))
            assert status == 502 and right(json.loads(body)), body

    bench.run(work())


def test_an_asset_of_the_operators_own_is_read_by_its_json_paths(bench: Any, tmp_path: Path) -> None:
    async def own(peer: Any, head: bytes, body: bytes) -> None:
        text = json.dumps({"out": {"text": "the answer"}}).encode()
        peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(text), text)
        )

    async def work() -> None:
        toy = await bench.toy(own)
        asset = {"name": "own", "path": "/ask", "prompt": "$.q[*].t", "answer": "$.out.text", "model": "$.m"}
        llm = msgspec.convert({"assets": [asset]}, LlmSettings)
        async with bench.running(tmp_path, toy, llm=llm) as edge:
            peer = await edge.connect()
            await peer.ask(bench.post("/ask", b'{"m": "own-1", "q": [{"t": "why"}, {"t": "how"}]}'))
        (record,) = edge.records("llm")
        assert record["gen_ai_request_model"] == "own-1"
        assert "why" in record["prompt"] and "how" in record["prompt"] and record["answer"] == "the answer"

    bench.run(work())


def test_a_client_that_leaves_before_the_answer_is_charged_for_its_prompt(bench: Any, tmp_path: Path) -> None:
    async def thinking(peer: Any, head: bytes, body: bytes) -> None:
        await asyncio.sleep(30)

    async def work() -> None:
        toy = await bench.toy(thinking)
        budgets = (BudgetSettings(name="day", tokens_per_day=100),)
        async with bench.running(tmp_path, toy, budgets=budgets) as edge:
            body = chat(messages=[{"role": "user", "content": "many words of a prompt " * 60}])
            peer = await edge.connect()
            peer.send(bench.post(CHAT, body))
            while not toy.requests:
                await asyncio.sleep(0.01)
            peer.close()
            await asyncio.wait_for(toy.left.acquire(), 5)
            await asyncio.wait_for(toy.left.acquire(), 5)
            again = await edge.connect()
            assert (await again.ask(bench.post(CHAT, chat())))[0] == 429
        left, _ = edge.records("llm")
        assert left["client_left"] == 1 and left["gen_ai_usage_estimated"] == 1
        assert 150 < left["gen_ai_usage_input_tokens"] < 600
        assert left.get("gen_ai_usage_output_tokens", 0) == 0

    bench.run(work())


def test_a_client_that_leaves_mid_stream_is_counted_with_what_it_had_got(bench: Any, tmp_path: Path) -> None:
    async def endless(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            event = b"data: %b\n\n" % json.dumps(delta("a word ")).encode()
            peer.send(b"%x\r\n%b\r\n" % (len(event), event))
            await peer.writer.drain()
            await asyncio.sleep(0.01)

    async def work() -> None:
        toy = await bench.toy(endless)
        async with bench.running(tmp_path, toy, rate=RateSettings(requests_per_second=100)) as edge:
            peer = await edge.connect()
            peer.send(bench.post(CHAT, chat(stream=True)))
            for _ in range(10):
                await peer.reader.readuntil(b"a word ")
            peer.close()
            await asyncio.wait_for(toy.left.acquire(), 5)
            await asyncio.wait_for(toy.left.acquire(), 5)  # one of them was the health check's
        (record,) = edge.records("llm")
        assert record["client_left"] == 1 and record["error_type"] == "client_left"
        assert record["gen_ai_usage_estimated"] == 1 and record["gen_ai_usage_output_tokens"] >= 10

    bench.run(work())
