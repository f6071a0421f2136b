"""Tokens of an answer are the same wherever its bytes were cut, and memory stays bounded."""
# ruff: noqa: E501 - bytes on the wire stay on one line

import sys
import zlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm.answer import AnswerReader, Usage
from deepmoat.edge.llm.call import Call, read_request
from deepmoat.edge.llm.endpoint import Endpoint, Endpoints
from deepmoat.edge.llm.settings import AssetSettings, LlmSettings
from deepmoat.kit.meters import dropped

JSON, SSE, NDJSON = b"application/json", b"text/event-stream", b"application/x-ndjson"
LIMIT = 1 << 16
CALL = Call(Endpoint("openai", "chat"), "g", size=200)


def events(*data: str) -> bytes:
    return "".join(f"data: {d}\n\n" for d in data).encode()


def delta(fields: str, finish: str = "null") -> str:
    return (
        '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"g","choices":[{"index":0,'
        f'"delta":{fields},"logprobs":null,"finish_reason":{finish}}}],"usage":null}}'
    )


# name, content type, body, usage
ANSWERS: tuple[tuple[str, bytes, bytes, Usage], ...] = (
    (
        "openai chat",
        JSON,
        b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"g","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"hi there","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":2009,'
        b'"completion_tokens":312,"total_tokens":2321,"prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":300,"audio_tokens":0}},"service_tier":"default"}',
        Usage(2009, 312, "g", "stop", True, 300, 1920, 0, "chatcmpl-1", text="hi there"),
    ),
    (
        "openai embeddings",
        JSON,
        b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-0.2]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}',
        Usage(8, 0, "e", "", True),
    ),
    (
        "openai completions",
        JSON,
        b'{"id":"cmpl-1","object":"text_completion","model":"g","choices":[{"text":" deep","index":0,"finish_reason":"length"}],'
        b'"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}',
        Usage(5, 1, "g", "length", True, response_id="cmpl-1", text=" deep"),
    ),
    (
        "openai chat with tools",
        JSON,
        b'{"id":"c","model":"g","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":'
        b'"function","function":{"name":"get_weather","arguments":"{\\"city\\":\\"Oslo\\"}"}},{"id":"b","type":"function","function":'
        b'{"name":"get_time","arguments":"{}"}},{"id":"d","type":"function","function":{"name":"get_time","arguments":"{}"}}]},'
        b'"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":80,"completion_tokens":33,"total_tokens":113}}',
        Usage(80, 33, "g", "tool_calls", True, response_id="c", tool_calls=("get_weather", "get_time")),
    ),
    (
        "deepseek with reasoning",
        JSON,
        b'{"id":"d","model":"deepseek-reasoner","choices":[{"index":0,"message":{"role":"assistant","content":"9","reasoning_content":'
        b'"let me see"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,'
        b'"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36,"completion_tokens_details":{"reasoning_tokens":18}}}',
        Usage(100, 20, "deepseek-reasoner", "stop", True, 18, 64, 0, "d", text="9"),
    ),
    (
        "reasoning counted apart, as xAI does",
        JSON,
        b'{"id":"x","model":"grok","choices":[{"index":0,"message":{"content":"9"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,'
        b'"completion_tokens":1,"total_tokens":111,"completion_tokens_details":{"reasoning_tokens":100}}}',
        Usage(10, 101, "grok", "stop", True, 100, response_id="x", text="9"),
    ),
    (
        "openai responses",
        JSON,
        b'{"id":"resp_1","object":"response","status":"completed","error":null,"model":"g","output":[{"id":"rs_1","type":"reasoning",'
        b'"summary":[]},{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text",'
        b'"text":"deep","annotations":[]}]},{"type":"function_call","name":"dig","arguments":"{}","call_id":"c"}],"reasoning":{"effort":"low"},'
        b'"text":{"format":{"type":"text"}},"usage":{"input_tokens":328,"input_tokens_details":{"cached_tokens":256},"output_tokens":52,'
        b'"output_tokens_details":{"reasoning_tokens":44},"total_tokens":380}}',
        Usage(328, 52, "g", "completed", True, 44, 256, 0, "resp_1", text="deep", tool_calls=("dig",)),
    ),
    (
        "anthropic",
        JSON,
        b'{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"thinking","thinking":"hm","signature":"x"},'
        b'{"type":"text","text":"hi"},{"type":"tool_use","id":"t","name":"dig","input":{"deep":true}}],"stop_reason":"tool_use",'
        b'"stop_sequence":null,"usage":{"input_tokens":5,"cache_creation_input_tokens":200,"cache_read_input_tokens":1000,"output_tokens":6,'
        b'"service_tier":"standard"}}',
        Usage(1205, 6, "c", "tool_use", True, 0, 1000, 200, "msg_1", text="hi", tool_calls=("dig",)),
    ),
    (
        "ollama",
        JSON,
        b'{"model":"l","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"x"},"done":true,"done_reason":"stop",'
        b'"total_duration":5,"prompt_eval_count":26,"eval_count":298}',
        Usage(26, 298, "l", "stop", True, text="x"),
    ),
    ("ollama embeddings", JSON, b'{"model":"e","embeddings":[[0.1,0.2]],"prompt_eval_count":8}', Usage(8, 0, "e", "", True)),
    (
        "openai stream",
        SSE,
        events(
            delta('{"role":"assistant","content":"","refusal":null}'),
            delta('{"content":"Deep"}'),
            delta('{"content":" enough"}'),
            delta("{}", '"length"'),
            '{"id":"chatcmpl-1","model":"g","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9,'
            '"prompt_tokens_details":{"cached_tokens":4}}}',
            "[DONE]",
        ),
        Usage(7, 2, "g", "length", True, 0, 4, 0, "chatcmpl-1", text="Deep enough"),
    ),
    (
        "openai stream with tools",
        SSE,
        events(
            delta('{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"dig","arguments":""}}]}'),
            delta('{"tool_calls":[{"index":0,"function":{"arguments":"{\\"deep\\":"}}]}'),
            delta('{"tool_calls":[{"index":0,"function":{"arguments":"true}"}}]}'),
            delta("{}", '"tool_calls"'),
            '{"id":"chatcmpl-1","model":"g","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":12}}',
            "[DONE]",
        ),
        Usage(7, 12, "g", "tool_calls", True, response_id="chatcmpl-1", tool_calls=("dig",)),
    ),
    (
        "openai stream without usage, CRLF, comments",
        SSE,
        (": ping\n\n" + delta('{"content":"Deep enough, one would say."}') + "\n\n").replace(": ping\n\n", ": ping\n\ndata:").replace("\n", "\r\n").encode()
        + b"data: " + delta("{}", '"stop"').encode() + b"\r\n\r\ndata: [DONE]\r\n\r\n",
        Usage(50, 7, "g", "stop", False, response_id="chatcmpl-1", estimated=True, text="Deep enough, one would say."),
    ),
    (
        "openai stream that its client left",
        SSE,
        events(delta('{"content":"Deep"}'), delta('{"content":" enough"}'), delta('{"content":","}'), delta('{"content":" o"}'))[:-30],
        Usage(50, 3, "g", "", False, response_id="chatcmpl-1", estimated=True, text="Deep enough,", truncated=True),
    ),
    (
        "vllm stream with usage in each event, left",
        SSE,
        events(
            '{"id":"v","model":"q","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":{"prompt_tokens":30,"completion_tokens":0}}',
            '{"id":"v","model":"q","choices":[{"index":0,"delta":{"content":"One two three four five six"},"finish_reason":null}],"usage":{"prompt_tokens":30,"completion_tokens":5}}',
        ),
        Usage(30, 5, "q", "", True, response_id="v", text="One two three four five six", truncated=True),
    ),
    (
        "deepseek stream with reasoning, left",
        SSE,
        events(delta('{"content":null,"reasoning_content":"护城河有多深"}'), delta('{"content":"深","reasoning_content":null}')),
        Usage(50, 6, "g", "", False, response_id="chatcmpl-1", estimated=True, text="深", truncated=True),
    ),
    (
        "openai responses stream",
        SSE,
        b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1","object":"response","status":"in_progress","model":"g","output":[],"usage":null}}\n\n'
        b'event: response.output_item.added\ndata: {"type":"response.output_item.added","output_index":0,"item":{"id":"fc","type":"function_call","name":"dig","arguments":""}}\n\n'
        b'event: response.function_call_arguments.delta\ndata: {"type":"response.function_call_arguments.delta","delta":"{}"}\n\n'
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"hi"}\n\n'
        b'event: response.output_text.done\ndata: {"type":"response.output_text.done","text":"hi"}\n\n'
        b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"resp_1","model":"g","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],'
        b'"usage":{"input_tokens":37,"input_tokens_details":{"cached_tokens":0},"output_tokens":11,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":48}}}\n\n',
        Usage(37, 11, "g", "completed", True, 5, 0, 0, "resp_1", text="hi", tool_calls=("dig",)),
    ),
    (
        "anthropic stream",
        SSE,
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"c","stop_reason":null,'
        b'"usage":{"input_tokens":25,"cache_creation_input_tokens":0,"cache_read_input_tokens":2000,"output_tokens":1}}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        b'event: ping\ndata: {"type": "ping"}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"dig","input":{}}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":15}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        Usage(2025, 15, "c", "max_tokens", True, 0, 2000, 0, "msg_1", text="Hi", tool_calls=("dig",)),
    ),
    (
        "anthropic stream that its client left",
        SSE,
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"c","usage":{"input_tokens":25,"output_tokens":1}}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"How deep is it, I wonder?"}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"It is deep enough for most."}}\n\n',
        Usage(25, 12, "c", "", True, response_id="msg_1", estimated=True, text="It is deep enough for most.", truncated=True),
    ),
    (
        "anthropic stream with an error",
        SSE,
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"c","usage":{"input_tokens":25,"output_tokens":1}}}\n\n'
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
        Usage(25, 1, "c", "error", True, response_id="msg_1"),
    ),
    (
        "ollama stream",
        NDJSON,
        b'{"model":"l","created_at":"2026-01-01T00:00:00Z","response":"He","done":false}\n{"model":"l","response":"","done":true,"done_reason":"stop",'
        b'"prompt_eval_count":4,"eval_count":6}\n',
        Usage(4, 6, "l", "stop", True, text="He"),
    ),
    (
        "ollama chat stream with thinking and tools",
        NDJSON,
        b'{"model":"l","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}\n'
        b'{"model":"l","message":{"role":"assistant","content":"Hi"},"done":false}\n'
        b'{"model":"l","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"dig","arguments":{"deep":true}}}]},"done":false}\n'
        b'{"model":"l","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":4,"eval_count":6}',
        Usage(4, 6, "l", "stop", True, text="Hi", tool_calls=("dig",)),
    ),
    (
        "a stream that calls itself JSON",
        JSON,
        b'{"model":"l","response":"He","done":false}\n{"model":"l","response":"y","done":true,"prompt_eval_count":4,"eval_count":2}\n',
        Usage(4, 2, "l", "", True, text="Hey"),
    ),
    (
        "half a character in the text, as some send it",
        SSE,
        events('{"choices":[{"delta":{"content":"\\ud83d"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}', "[DONE]"),
        Usage(3, 1, "", "", True, text="\ufffd"),
    ),
    (
        "a line that no reader takes still tells its tokens",
        SSE,
        events('{"choices":[{"delta":{"content":"a\tb"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}', "[DONE]"),
        Usage(3, 1, "", "", True),
    ),
    (
        "gemini, whose text an asset would name",
        JSON,
        b'{"candidates":[{"content":{"parts":[{"text":"hi"}]}}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":2,'
        b'"thoughtsTokenCount":30,"cachedContentTokenCount":4,"totalTokenCount":42}}',
        Usage(10, 32, "", "", True, 30, 4),
    ),
    ("error", JSON, b'{"error":{"message":"no","type":"server_error","code":null}}', Usage(finish_reason="error")),
    (
        "hostile types",
        JSON,
        b'{"model":5,"id":{},"usage":{"prompt_tokens":"9","completion_tokens":3,"prompt_tokens_details":7},"choices":7,"status":[],"type":{}}',
        Usage(50, 3, "", "", True, estimated=True),
    ),
    (
        "hostile events",
        SSE,
        events('{"type":[],"delta":"x"}', '{"type":{},"delta":{"text":[],"stop_reason":{}}}', '{"choices":[{"index":[],"finish_reason":[],"delta":{"content":[{"text":{}}]}}]}'),
        Usage(50, 0, estimated=True),
    ),
    ("hostile numbers", JSON, b'{"usage":{"prompt_tokens":-1,"completion_tokens":99999999999999999999999,"input_tokens":1e3}}', Usage(50, 0, estimated=True)),
    ("more cached than asked", JSON, b'{"usage":{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":9},"completion_tokens_details":{"reasoning_tokens":7}}}', Usage(5, 1, known=True, cached_tokens=5, reasoning_tokens=1)),
    ("no object", JSON, b"[1,2,3]", Usage(50, 0, estimated=True)),
    ("broken off", JSON, b'{"usage":{"prompt_tokens":1', Usage(50, 0, estimated=True, truncated=True)),
    ("too deep", JSON, b'{"choices":' + b"[" * 50_000, Usage(50, 0, estimated=True, truncated=True)),
    ("bad text", SSE, b'data: {"model":"\xff"}\n\n', Usage(50, 0, "\ufffd", estimated=True, truncated=True)),
    ("empty stream", SSE, b"", Usage(50, 0, estimated=True, truncated=True)),
)  # fmt: skip


def read(kind: bytes, pieces: list[bytes], limit: int = LIMIT) -> Usage:
    reader = AnswerReader(kind, limit, call=CALL, text_chars=40)
    for piece in pieces:
        reader.feed(piece)
    return reader.usage()


def test_each_api_is_understood_whole_and_byte_by_byte() -> None:
    for name, kind, body, wanted in ANSWERS:
        assert read(kind, [body]) == wanted, name
        assert read(kind, [body[i : i + 1] for i in range(len(body))]) == wanted, name
    assert len(ANSWERS) == 36


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 1500), max_size=8))
def test_any_split_gives_the_same_usage(answer: tuple[str, bytes, bytes, Usage], cuts: list[int]) -> None:
    _, kind, body, wanted = answer
    places = sorted({0, len(body), *(c for c in cuts if c < len(body))})
    assert read(kind, [body[a:b] for a, b in zip(places, places[1:], strict=False)]) == wanted


LINES = st.sampled_from([line + b"\n" for _, _, body, _ in ANSWERS for line in body.split(b"\n")])


@given(
    st.lists(LINES | st.binary(max_size=40), max_size=60),
    st.integers(1, 5000),
    st.sampled_from((JSON, SSE, NDJSON)),
)
def test_any_mixture_of_streams_is_the_same_however_it_is_batched(
    lines: list[bytes], step: int, kind: bytes
) -> None:
    body = b"".join(lines)
    whole = read(kind, [body])
    assert read(kind, [body[i : i + step] for i in range(0, len(body), step)]) == whole
    assert 0 <= whole.cached_tokens + whole.cache_write_tokens <= whole.input_tokens < 2**43
    assert 0 <= whole.reasoning_tokens <= whole.output_tokens < 2**42
    assert len(whole.text) <= 40


@given(
    st.sampled_from((JSON, SSE, NDJSON)),
    st.lists(st.binary(max_size=80), max_size=8),
    st.sampled_from((b"", b"gzip", b"br")),
)
def test_any_bytes_at_all_give_a_usage_in_range(kind: bytes, pieces: list[bytes], encoding: bytes) -> None:
    reader = AnswerReader(kind, LIMIT, encoding=encoding)
    for piece in pieces:
        reader.feed(piece)
    usage = reader.usage()
    assert 0 <= usage.input_tokens < 2**42 and 0 <= usage.output_tokens < 2**42
    msgspec.json.encode(usage)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "model",
                    "choices",
                    "usage",
                    "delta",
                    "message",
                    "content",
                    "type",
                    "status",
                    "done",
                    "error",
                    "tool_calls",
                    "function",
                    "name",
                    "item",
                    "index",
                    "response",
                    "output",
                    "content_block",
                    "finish_reason",
                    "stop_reason",
                    "text",
                    "thinking",
                    "input_tokens",
                    "output_tokens",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(st.lists(VALUES, max_size=6))
def test_any_json_of_our_own_field_names_is_no_error(values: list[object]) -> None:
    body = b"".join(b"data: " + msgspec.json.encode(value) + b"\n\n" for value in values)
    usage = read(SSE, [body])
    assert usage == read(SSE, [body[:7], body[7:]])


def test_memory_is_bounded_and_a_long_answer_still_tells_its_tokens() -> None:
    tail = b'],"model":"e","usage":{"prompt_tokens":11,"total_tokens":11}}'
    for kind, head, end in ((JSON, b'{"data":[', b""), (SSE, b'data: {"data":[', b"\n\n")):
        reader = AnswerReader(kind, LIMIT)
        reader.feed(head)
        for _ in range(1000):
            reader.feed(b"0.123456789," * 1000)
            assert sum(map(sys.getsizeof, reader._pieces)) < 4 * LIMIT
        reader.feed(b"1" + tail + end)
        usage = reader.usage()
        assert (usage.input_tokens, usage.known) == (11, True)


def test_a_stream_without_end_keeps_a_batch_and_the_text_that_is_wanted() -> None:
    reader = AnswerReader(SSE, LIMIT, text_chars=100)
    piece = events(delta('{"content":" deep"}'))
    for _ in range(20_000):
        reader.feed(piece)
    assert reader._held < 10_000
    usage = reader.usage()
    assert usage.text == " deep" * 20 and usage.output_tokens == 21_000 and usage.truncated


def test_a_line_too_long_does_not_hide_the_lines_behind_it() -> None:
    lines = (
        b"data: {"
        + b"x" * (3 * LIMIT)
        + b'}\n\ndata: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    )
    assert read(SSE, [lines]).output_tokens == 2
    assert read(SSE, [lines[i : i + 1000] for i in range(0, len(lines), 1000)]).output_tokens == 2


def test_a_long_text_in_few_events_is_weighed_and_a_token_an_event_is_counted() -> None:
    few = events(delta('{"content":"' + "A moat is deep enough when nobody swims. " * 20 + '"}'))
    many = events(*(delta(f'{{"content":" {letter}"}}') for letter in "abcdefghijkl"))
    spelled = events(*(delta(f'{{"content":"{letter}"}}') for letter in "abcdefghij" * 10))
    assert read(SSE, [few]).output_tokens == 178
    assert read(SSE, [many]).output_tokens == 12
    assert read(SSE, [spelled]).output_tokens == 21


def test_an_error_status_is_never_estimated() -> None:
    reader = AnswerReader(JSON, LIMIT, call=CALL, status=503)
    reader.feed(b'{"message":"what the model says about this is not known"}')
    usage = reader.usage()
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (0, 0, False)


def test_a_compressed_answer_is_read_from_a_copy_and_a_bomb_is_left_alone() -> None:
    for name, kind, body, wanted in ANSWERS:
        packed = zlib.compress(body, wbits=31)
        for step in (len(packed), 7):
            reader = AnswerReader(kind, LIMIT, call=CALL, encoding=b"gzip", text_chars=40)
            for at in range(0, len(packed), step):
                reader.feed(packed[at : at + step])
            assert reader.usage() == wanted, name
    before = dropped("edge.llm", "compressed_too_large")
    reader = AnswerReader(JSON, LIMIT, encoding=b"gzip")
    reader.feed(zlib.compress(b"\0" * (200 << 20), wbits=31))
    assert reader._held <= (64 << 20) and reader.usage().output_tokens == 0
    assert dropped("edge.llm", "compressed_too_large") == before + 1


def test_an_asset_of_the_operators_own_is_read_at_its_places() -> None:
    asset = AssetSettings(
        name="bot",
        path="/ask",
        prompt="$.question",
        answer="$.result.answer[*].t",
        model="$.engine",
        stream="sse",
    )
    endpoint = Endpoints(LlmSettings(assets=(asset,))).find("POST", "any", "/ask")
    assert endpoint is not None
    call = read_request(endpoint, b'{"question":"How deep is it?","engine":"own-1"}', text_chars=100)
    assert (call.model, call.prompt, call.streamed) == ("own-1", "How deep is it?", True)
    body = events(
        '{"result":{"answer":[{"t":"Deep"},{"t":"er"}]}}', '{"result":{"answer":[{"t":" yet"}]},"choices":[{"text":"no"}]}', '{"result":7}'
    )  # fmt: skip
    for step in (len(body), 11):
        reader = AnswerReader(b"text/plain", LIMIT, call=call, text_chars=100)
        for at in range(0, len(body), step):
            reader.feed(body[at : at + step])
        usage = reader.usage()
        assert (usage.text, usage.output_tokens, usage.estimated) == ("Deeper yet", 3, True)
        assert usage.input_tokens == call.estimated_input == 15


def test_usage_may_be_asked_again() -> None:
    reader = AnswerReader(JSON, LIMIT)
    reader.feed(ANSWERS[0][2])
    assert reader.usage() is reader.usage()
