"""The official clients of OpenAI and Anthropic, unmodified, through a real edge in front of a model."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from edge.models import (
    CACHE_READ,
    CACHE_WRITTEN,
    CACHED,
    FRESH,
    INPUT,
    MODEL,
    OUTPUT,
    REASONING,
    TEXT,
    TOOL,
    VECTOR,
    WORDS,
    Model,
    chat_events,
)

from deepmoat.edge.settings import HealthSettings, LimitSettings, RateSettings

pytestmark = pytest.mark.system
KEY = "sk-moat-clients-0123456789"
ASKED: list[Any] = [{"role": "user", "content": "How deep is the moat?"}]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
OPENAI_TOOLS: list[Any] = [{"type": "function", "function": {"name": TOOL["name"], "parameters": SCHEMA}}]
ANTHROPIC_TOOLS: list[Any] = [{"name": TOOL["name"], "input_schema": SCHEMA}]
CALL = {"model": "toy-1", "messages": ASKED}
FOR_CLAUDE: dict[str, Any] = {**CALL, "max_tokens": 100}


class Place:
    """An edge in front of a model, and the two clients of it."""

    def __init__(self, bench: Any, edge: Any, model: Model, toy: Any) -> None:
        self.bench, self.edge, self.model, self.toy = bench, edge, model, toy
        more = {"api_key": KEY, "max_retries": 0, "timeout": 15}
        self.openai = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{edge.port}/v1", **more)
        self.anthropic = anthropic.AsyncAnthropic(base_url=f"http://127.0.0.1:{edge.port}", **more)

    async def close(self) -> None:
        await self.openai.close()
        await self.anthropic.close()

    async def one_by_one(self, stream: Any) -> list[Any]:
        """All events of ``stream``; the model sends the next one only when this one is here."""
        assert self.model.step is not None
        got: list[Any] = []
        self.model.step.release()
        async with asyncio.timeout(15):
            async for event in stream:
                got.append(event)
                self.model.step.release()
        return got


@asynccontextmanager
async def place(bench: Any, data: Path, model: Model | None = None, **settings: Any) -> AsyncIterator[Place]:
    model = model or Model()
    toy = await bench.toy(model)
    settings = {"health": HealthSettings(every=60)} | settings
    async with bench.running(data, toy, **settings) as edge:
        made = Place(bench, edge, model, toy)
        try:
            yield made
        finally:
            await made.close()


def run(
    bench: Any, data: Path, work: Callable[[Place], Awaitable[None]], **settings: Any
) -> list[dict[str, Any]]:
    """Do ``work`` at a place; the ``llm`` records it made, oldest first."""
    records: list[dict[str, Any]] = []

    async def all_of_it() -> None:
        async with place(bench, data, **settings) as made:
            await work(made)
            edge = made.edge
        records.extend(edge.records("llm"))

    bench.run(all_of_it())
    return records


def said(record: dict[str, Any], **wanted: Any) -> None:
    """``record`` says ``wanted``, by column names; fields at their default are left out of the line."""
    got = {name: record.get(name, "" if isinstance(value, str) else 0) for name, value in wanted.items()}
    assert got == wanted


OPENAI_TOKENS = {
    "gen_ai_usage_input_tokens": INPUT,
    "gen_ai_usage_output_tokens": OUTPUT,
    "gen_ai_usage_cache_read_input_tokens": CACHED,
    "gen_ai_usage_reasoning_output_tokens": REASONING,
    "gen_ai_usage_estimated": 0,
}
ANTHROPIC_TOKENS = {
    "gen_ai_usage_input_tokens": FRESH + CACHE_READ + CACHE_WRITTEN,
    "gen_ai_usage_output_tokens": OUTPUT,
    "gen_ai_usage_cache_read_input_tokens": CACHE_READ,
    "gen_ai_usage_cache_creation_input_tokens": CACHE_WRITTEN,
    "gen_ai_usage_estimated": 0,
}
MODELS = {"gen_ai_request_model": "toy-1", "gen_ai_response_model": MODEL}


# OpenAI.


def test_a_chat_is_answered_and_its_record_says_everything(bench: Any, tmp_path: Path) -> None:
    async def work(at: Place) -> None:
        metadata = {"conversation_id": "talk-7"}
        got = await at.openai.chat.completions.create(**CALL, user="u-1", metadata=metadata)
        assert got.choices[0].message.content == TEXT
        assert got.usage is not None and (got.usage.prompt_tokens, got.usage.completion_tokens) == (
            INPUT,
            OUTPUT,
        )
        again = await at.openai.chat.completions.create(**CALL)
        assert again == got
        other = at.openai.with_options(api_key="sk-another")
        await other.chat.completions.create(**CALL)

    first, second, third = run(bench, tmp_path, work)
    said(first, **MODELS, **OPENAI_TOKENS)
    said(
        first,
        gen_ai_provider_name="openai",
        gen_ai_operation_name="chat",
        gen_ai_conversation_id="talk-7",
        gen_ai_response_finish_reason="stop",
        http_response_status_code=200,
        streamed=0,
        user_name="u-1",
        verdict="pass",
        client_left=0,
    )
    assert len(first["key_hash"]) == 16 and first["key_hash"] == second["key_hash"] != third["key_hash"]
    assert KEY not in json.dumps(first)
    assert 0 < first["time_to_first_token"] <= first["duration"] < 15


def test_a_streamed_chat_arrives_event_by_event_with_the_tokens_it_asked_for(
    bench: Any, tmp_path: Path
) -> None:
    async def work(at: Place) -> None:
        stream = await at.openai.chat.completions.create(
            **CALL, stream=True, stream_options={"include_usage": True}
        )
        got = await at.one_by_one(stream)
        assert "".join(c.choices[0].delta.content or "" for c in got if c.choices) == TEXT
        assert [len(c.choices) for c in got] == [1] * (len(WORDS) + 2) + [0]
        assert got[-1].usage.completion_tokens == OUTPUT
        assert [c.usage for c in got[:-1]] == [None] * (len(got) - 1)

    (record,) = run(bench, tmp_path, work, model=Model(stepped=True, null_usage=True))
    said(record, **MODELS, **OPENAI_TOKENS, gen_ai_response_finish_reason="stop", streamed=1)
    assert 0 < record["time_to_first_token"] < record["duration"]


def test_a_stream_without_tokens_stays_one_and_its_record_has_them(bench: Any, tmp_path: Path) -> None:
    """Needs ``llm.add_usage``."""
    wanted: list[bytes] = []

    async def work(at: Place) -> None:
        for tools in ({}, {"tools": OPENAI_TOOLS}):
            call = {**CALL, **tools, "stream": True}
            async with at.openai.chat.completions.with_streaming_response.create(**call) as answer:
                raw = b"".join([piece async for piece in answer.iter_bytes()])
            assert raw == b"".join(chat_events(call))
            wanted.append(raw)
            assert at.model.asked[-1][1]["stream_options"] == {"include_usage": True}  # asked in its place

    plain, tools = run(bench, tmp_path, work)
    assert len(wanted) == 2 and all(b"usage" not in raw for raw in wanted)
    said(plain, **MODELS, **OPENAI_TOKENS, gen_ai_response_finish_reason="stop", streamed=1)
    said(tools, **MODELS, **OPENAI_TOKENS, gen_ai_response_finish_reason="tool_calls", streamed=1)


@pytest.mark.parametrize("null_usage", [False, True])
def test_whoever_did_not_ask_for_tokens_gets_the_same_events_one_by_one(
    bench: Any, tmp_path: Path, *, null_usage: bool
) -> None:
    """Needs ``llm.add_usage``. OpenAI says ``"usage": null`` in the others then, which says the same."""

    async def work(at: Place) -> None:
        stream = await at.openai.chat.completions.create(
            **CALL, stream=True, stream_options={"include_usage": False}
        )
        got = await at.one_by_one(stream)
        events = [json.loads(e.removeprefix(b"data: ")) for e in chat_events({})[:-1]]
        assert [c.to_dict(exclude_none=True) for c in got] == [_without_none(e) for e in events]
        assert all(c.usage is None for c in got)

    (record,) = run(bench, tmp_path, work, model=Model(stepped=True, null_usage=null_usage))
    said(record, **MODELS, **OPENAI_TOKENS, gen_ai_response_finish_reason="stop", streamed=1)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(inner) for name, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value


def test_tool_calls_of_openai_arrive_plain_and_streamed(bench: Any, tmp_path: Path) -> None:
    async def work(at: Place) -> None:
        plain = await at.openai.chat.completions.create(**CALL, tools=OPENAI_TOOLS)
        (call,) = plain.choices[0].message.tool_calls or []
        assert call.type == "function" and json.loads(call.function.arguments) == json.loads(
            TOOL["arguments"]
        )
        async with at.openai.chat.completions.stream(**CALL, tools=OPENAI_TOOLS) as stream:
            whole = await stream.get_final_completion()
        (call,) = whole.choices[0].message.tool_calls or []
        assert (call.function.name, call.function.arguments) == (TOOL["name"], TOOL["arguments"])

    plain, streamed = run(bench, tmp_path, work)
    said(plain, **MODELS, **OPENAI_TOKENS, gen_ai_response_finish_reason="tool_calls", streamed=0)
    said(streamed, **MODELS, **OPENAI_TOKENS, gen_ai_response_finish_reason="tool_calls", streamed=1)


def test_responses_are_answered_plain_and_streamed(bench: Any, tmp_path: Path) -> None:
    async def work(at: Place) -> None:
        plain = await at.openai.responses.create(model="toy-1", input="deep?", previous_response_id="resp_0")
        assert (plain.output_text, plain.status) == (TEXT, "completed")
        at.model.step = asyncio.Semaphore(0)
        stream = await at.openai.responses.create(model="toy-1", input="deep?", stream=True)
        got = await at.one_by_one(stream)
        assert "".join(e.delta for e in got if e.type == "response.output_text.delta") == TEXT
        assert [e.sequence_number for e in got] == list(range(len(got)))
        assert "stream_options" not in at.model.asked[-1][1]  # this API knows no such field

    plain, streamed = run(bench, tmp_path, work)
    said(plain, **MODELS, **OPENAI_TOKENS, gen_ai_conversation_id="resp_0", streamed=0)
    said(streamed, **MODELS, **OPENAI_TOKENS, streamed=1)
    assert plain["gen_ai_response_finish_reason"] == streamed["gen_ai_response_finish_reason"] != ""


def test_embeddings_are_answered_and_counted(bench: Any, tmp_path: Path) -> None:
    async def work(at: Place) -> None:
        got = await at.openai.embeddings.create(model="toy-1", input=["a moat", "a wall"])
        assert tuple(got.data[0].embedding) == VECTOR

    (record,) = run(bench, tmp_path, work)
    said(record, **MODELS, gen_ai_operation_name="embeddings", gen_ai_usage_input_tokens=INPUT)
    said(record, gen_ai_usage_output_tokens=0, streamed=0)


# Anthropic.


def test_a_message_is_answered_and_its_record_says_everything(bench: Any, tmp_path: Path) -> None:
    async def work(at: Place) -> None:
        got = await at.anthropic.messages.create(**FOR_CLAUDE, metadata={"user_id": "u-2"})
        assert got.content[0].type == "text" and got.content[0].text == TEXT
        tools = await at.anthropic.messages.create(**FOR_CLAUDE, tools=ANTHROPIC_TOOLS)
        assert tools.content[1].type == "tool_use"
        assert tools.content[1].input == json.loads(TOOL["arguments"])

    plain, tools = run(bench, tmp_path, work)
    said(plain, **MODELS, **ANTHROPIC_TOKENS, gen_ai_response_finish_reason="end_turn", streamed=0)
    said(plain, gen_ai_provider_name="anthropic", gen_ai_operation_name="chat", user_name="u-2")
    said(tools, **MODELS, **ANTHROPIC_TOKENS, gen_ai_response_finish_reason="tool_use", streamed=0)
    assert len(plain["key_hash"]) == 16 and KEY not in json.dumps(plain)


def test_a_streamed_message_arrives_event_by_event_with_its_tool(bench: Any, tmp_path: Path) -> None:
    async def work(at: Place) -> None:
        stream = await at.anthropic.messages.create(**FOR_CLAUDE, tools=ANTHROPIC_TOOLS, stream=True)
        got = await at.one_by_one(stream)
        deltas = [e.delta for e in got if e.type == "content_block_delta"]
        assert "".join(d.text for d in deltas if d.type == "text_delta") == TEXT
        assert "".join(d.partial_json for d in deltas if d.type == "input_json_delta") == TOOL["arguments"]
        at.model.step = None
        async with at.anthropic.messages.stream(**FOR_CLAUDE, tools=ANTHROPIC_TOOLS) as whole:
            final = await whole.get_final_message()
        assert final.content[1].type == "tool_use"
        assert final.content[1].input == json.loads(TOOL["arguments"])
        assert final.usage.output_tokens == OUTPUT

    first, second = run(bench, tmp_path, work, model=Model(stepped=True))
    for record in (first, second):
        said(record, **MODELS, **ANTHROPIC_TOKENS, gen_ai_response_finish_reason="tool_use", streamed=1)


# When something is wrong.


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_client_that_leaves_in_mid_stream_ends_the_generation(bench: Any, tmp_path: Path, api: str) -> None:
    async def work(at: Place) -> None:
        create: Any = at.openai.chat.completions.create if api == "openai" else at.anthropic.messages.create
        stream = await create(**FOR_CLAUDE, stream=True)
        assert at.model.step is not None
        for _ in range(2):
            at.model.step.release()
            assert await anext(aiter(stream))
        await stream.close()
        async with asyncio.timeout(10):
            await at.toy.left.acquire()  # a connection to the backend has ended
        assert len(at.model.sent) < len(WORDS)

    (record,) = run(bench, tmp_path, work, model=Model(stepped=True), **_never_probed())
    said(record, client_left=1, gen_ai_request_model="toy-1", streamed=1, http_response_status_code=200)
    assert record["gen_ai_response_model"] == MODEL
    assert "gen_ai_response_finish_reason" not in record


def _never_probed() -> dict[str, Any]:
    """A health check opens and ends a connection of its own: here the first is waited for."""
    return {"health": HealthSettings(every=3600)}


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_limited_client_comes_back_by_itself_after_the_time_it_is_told(
    bench: Any, tmp_path: Path, api: str
) -> None:
    async def work(at: Place) -> None:
        create: Any = at.openai.chat.completions.create if api == "openai" else at.anthropic.messages.create
        for _ in range(2):
            await create(**FOR_CLAUDE)  # the burst
        wrong: Any = openai.RateLimitError if api == "openai" else anthropic.RateLimitError
        with pytest.raises(wrong) as refused:
            await create(**FOR_CLAUDE)
        told = int(refused.value.response.headers["retry-after"])
        assert 1 <= told <= 2
        patient: Any = (at.openai if api == "openai" else at.anthropic).with_options(max_retries=2)
        again = patient.chat.completions.create if api == "openai" else patient.messages.create
        loop = asyncio.get_running_loop()
        begin = loop.time()
        assert await again(**FOR_CLAUDE)
        assert loop.time() - begin >= 0.5  # it waited: its own first step would be half a second at most
        assert len(at.model.asked) == 3

    rate = RateSettings(requests_per_second=0.5, burst=2)
    records = run(bench, tmp_path, work, rate=rate)
    assert [r["verdict"] for r in records].count("pass") == 3
    assert {r["verdict"] for r in records} == {"pass", "limit"}


def test_a_backend_that_is_away_is_each_clients_own_server_error(bench: Any, tmp_path: Path) -> None:
    """Needs refusals in the shape of the API."""

    async def work(at: Place) -> None:
        await at.toy.stop()
        with pytest.raises(openai.InternalServerError) as first:
            await at.openai.chat.completions.create(**CALL)
        assert first.value.status_code in (502, 503)
        assert set(first.value.body) == {"message", "type", "param", "code"}  # type: ignore[call-overload]
        assert first.value.type == "server_error"
        with pytest.raises(anthropic.InternalServerError) as second:
            await at.anthropic.messages.create(**FOR_CLAUDE)
        assert second.value.status_code in (502, 503)
        body: Any = second.value.body
        assert body["type"] == "error" and body["error"]["type"] in ("api_error", "overloaded_error")
        assert body["request_id"] and body["error"]["message"]

    records = run(bench, tmp_path, work)
    assert [r["http_response_status_code"] in (502, 503) for r in records] == [True, True]
    assert all("gen_ai_usage_output_tokens" not in r for r in records)


def test_a_backend_that_comes_back_serves_the_clients_retry(bench: Any, tmp_path: Path) -> None:
    async def work(at: Place) -> None:
        port = int(at.toy.address.rpartition(":")[2])
        await at.toy.stop()
        again = bench.Toy(at.model)
        asyncio.get_running_loop().call_later(
            0.3, lambda: starting.append(asyncio.ensure_future(again.start(port)))
        )
        starting: list[Any] = []
        patient = at.openai.with_options(max_retries=6)
        got = await patient.chat.completions.create(**CALL)
        assert got.choices[0].message.content == TEXT
        await again.stop()

    records = run(bench, tmp_path, work, health=HealthSettings(every=0.1, fall=1))
    assert records[-1]["http_response_status_code"] == 200
    assert len(records) >= 2 and records[0]["http_response_status_code"] in (502, 503)


def test_a_stream_that_breaks_off_is_an_error_and_no_short_answer(bench: Any, tmp_path: Path) -> None:
    async def breaking(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        event = chat_events({})[0]
        peer.send(b"%x\r\n%b\r\n" % (len(event), event))
        await asyncio.sleep(0.05)
        peer.close()

    async def work(at: Place) -> None:
        at.toy.handler = breaking
        stream = await at.openai.chat.completions.create(**CALL, stream=True)
        with pytest.raises(Exception) as broken:  # noqa: B017, PT011 - its HTTP library's own
            async for _ in stream:
                pass
        assert "RemoteProtocolError" in repr(broken.value) or isinstance(broken.value, openai.APIError)

    (record,) = run(bench, tmp_path, work)
    said(record, http_response_status_code=200, streamed=1, client_left=0, error_type="backend_closed")


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_a_body_too_large_is_told_in_the_words_of_the_api(bench: Any, tmp_path: Path, api: str) -> None:
    """Needs refusals in the shape of the API."""

    async def work(at: Place) -> None:
        long = {**FOR_CLAUDE, "messages": [{"role": "user", "content": "moat " * 30_000}]}
        if api == "openai":
            with pytest.raises(openai.APIStatusError) as refused:
                await at.openai.chat.completions.create(**long)
            assert refused.value.status_code == 413
            assert refused.value.type == "invalid_request_error"
            return
        with pytest.raises(anthropic.RequestTooLargeError) as large:
            await at.anthropic.messages.create(**long)
        body: Any = large.value.body
        assert body["error"]["type"] == "request_too_large"

    assert not any(
        r["http_response_status_code"] == 200
        for r in run(bench, tmp_path, work, limits=LimitSettings(body_bytes=100_000))
    )


def test_an_error_of_the_model_reaches_the_client_as_it_is(bench: Any, tmp_path: Path) -> None:
    async def work(at: Place) -> None:
        at.model.failing = 404
        with pytest.raises(openai.NotFoundError) as first:
            await at.openai.chat.completions.create(**CALL)
        assert (first.value.param, first.value.type) == ("model", "invalid_request_error")
        with pytest.raises(anthropic.NotFoundError) as second:
            await at.anthropic.messages.create(**FOR_CLAUDE)
        assert "no such thing" in str(second.value)

    records = run(bench, tmp_path, work)
    assert [r["http_response_status_code"] for r in records] == [404, 404]
    assert all("gen_ai_usage_output_tokens" not in r for r in records)


def test_many_clients_at_once_over_two_models_get_their_own_answers(bench: Any, tmp_path: Path) -> None:
    """Blocking clients in threads and waiting ones, beside each other."""
    models: list[Model] = []

    async def work(at: Place) -> None:
        await at.openai.chat.completions.create(**CALL)
        with openai.OpenAI(
            base_url=str(at.openai.base_url), api_key=KEY, max_retries=0, timeout=15
        ) as blocking:

            def talk() -> str:
                with blocking.chat.completions.create(**CALL, stream=True) as stream:
                    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)

            threads = [asyncio.to_thread(talk) for _ in range(8)]
            async with asyncio.timeout(15):
                texts = await asyncio.gather(*threads)
        assert texts == [TEXT] * 8
        answers = await asyncio.gather(*(at.anthropic.messages.create(**FOR_CLAUDE) for _ in range(8)))
        assert [a.content[0].text for a in answers] == [TEXT] * 8  # type: ignore[union-attr]
        models.append(at.model)

    records = run(bench, tmp_path, work)
    assert len(records) == 17 and len(models[0].asked) == 17
    assert all(r["gen_ai_usage_output_tokens"] == OUTPUT for r in records)
    assert {r["http_response_status_code"] for r in records} == {200}
