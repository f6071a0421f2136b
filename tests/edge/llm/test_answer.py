"""Tokens of an answer are the same wherever its bytes were cut, and memory stays bounded."""
# ruff: noqa: E501, PLR0915 - bytes on the wire stay on one line, a conversation in one function

import sys

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm.answer import AnswerReader, Usage

JSON, SSE, NDJSON = b"application/json", b"text/event-stream", b"application/x-ndjson"
LIMIT = 1 << 16

ANSWERS: tuple[tuple[str, bytes, bytes, Usage], ...] = (
    (
        "openai chat",
        JSON,
        b'{"id":"1","model":"g","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}',
        Usage(9, 12, "g", "stop", True),
    ),
    (
        "openai embeddings",
        JSON,
        b'{"object":"list","data":[{"embedding":[0.1,-0.2]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}',
        Usage(8, 0, "e", "", True),
    ),
    (
        "openai responses",
        JSON,
        b'{"model":"g","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":4}}',
        Usage(3, 4, "g", "completed", True),
    ),
    (
        "anthropic",
        JSON,
        b'{"type":"message","model":"c","content":[{"text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":5,'
        b'"output_tokens":6,"cache_read_input_tokens":1}}',
        Usage(5, 6, "c", "end_turn", True),
    ),
    (
        "ollama",
        JSON,
        b'{"model":"l","message":{"role":"assistant","content":"x"},"done":true,"done_reason":"stop",'
        b'"prompt_eval_count":26,"eval_count":298}',
        Usage(26, 298, "l", "stop", True),
    ),
    (
        "openai stream",
        SSE,
        b'data: {"model":"g","choices":[{"delta":{"content":"h"},"finish_reason":null}],"usage":null}\n\n'
        b'data: {"model":"g","choices":[{"delta":{},"finish_reason":"length"}],"usage":null}\n\n'
        b'data: {"model":"g","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\ndata: [DONE]\n\n',
        Usage(7, 2, "g", "length", True),
    ),
    (
        "openai stream without usage, CRLF, comments",
        SSE,
        b': ping\r\n\r\ndata:{"model":"g","choices":[{"delta":{"content":"h"},"finish_reason":"stop"}]}\r\n\r\n'
        b"data: [DONE]\r\n\r\n",
        Usage(0, 0, "g", "stop", False),
    ),
    (
        "openai responses stream",
        SSE,
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"hi"}\n\n'
        b'event: response.completed\ndata: {"type":"response.completed","response":{"model":"g","status":"completed",'
        b'"usage":{"input_tokens":1,"output_tokens":2}}}\n\n',
        Usage(1, 2, "g", "completed", True),
    ),
    (
        "anthropic stream",
        SSE,
        b'event: message_start\ndata: {"type":"message_start","message":{"model":"c","usage":{"input_tokens":25,'
        b'"output_tokens":1}}}\n\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n'
        b'data: {"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":15}}\n\n',
        Usage(25, 15, "c", "max_tokens", True),
    ),
    (
        "ollama stream",
        NDJSON,
        b'{"model":"l","response":"He","done":false}\n{"model":"l","response":"","done":true,"done_reason":"stop",'
        b'"prompt_eval_count":4,"eval_count":6}\n',
        Usage(4, 6, "l", "stop", True),
    ),
    ("hostile types", JSON, b'{"model":5,"usage":{"prompt_tokens":"9","completion_tokens":3},"choices":7}',
     Usage(0, 3, "", "", True)),
    ("hostile numbers", JSON, b'{"usage":{"prompt_tokens":-1,"completion_tokens":99999999999999999999999}}', Usage()),
    ("no object", JSON, b"[1,2,3]", Usage()),
    ("broken", JSON, b'{"usage":{"prompt_tokens":1', Usage()),
    ("bad text", SSE, b'data: {"model":"\xff"}\n\n', Usage()),
    ("empty", SSE, b"", Usage()),
)  # fmt: skip


def read(kind: bytes, pieces: list[bytes], limit: int = LIMIT) -> Usage:
    reader = AnswerReader(kind, limit)
    for piece in pieces:
        reader.feed(piece)
    return reader.usage()


def test_each_api_is_understood_whole_and_byte_by_byte() -> None:
    for name, kind, body, wanted in ANSWERS:
        assert read(kind, [body]) == wanted, name
        assert read(kind, [body[i : i + 1] for i in range(len(body))]) == wanted, name
    assert len(ANSWERS) == 16


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 600), max_size=8))
def test_any_split_gives_the_same_usage(answer: tuple[str, bytes, bytes, Usage], cuts: list[int]) -> None:
    _, kind, body, wanted = answer
    places = sorted({0, len(body), *(c for c in cuts if c < len(body))})
    assert read(kind, [body[a:b] for a, b in zip(places, places[1:], strict=False)]) == wanted


@given(st.sampled_from((JSON, SSE, NDJSON)), st.lists(st.binary(max_size=80), max_size=8))
def test_any_bytes_at_all_give_a_usage_in_range(kind: bytes, pieces: list[bytes]) -> None:
    usage = read(kind, pieces)
    assert 0 <= usage.input_tokens < 2**63 and 0 <= usage.output_tokens < 2**63
    msgspec.json.encode(usage)


def test_memory_is_bounded_and_a_long_answer_still_tells_its_tokens() -> None:
    tail = b'],"model":"e","usage":{"prompt_tokens":11,"total_tokens":11}}'
    for kind, head, end in ((JSON, b'{"data":[', b""), (SSE, b'data: {"data":[', b"\n\n")):
        reader = AnswerReader(kind, LIMIT)
        reader.feed(head)
        for _ in range(1000):
            reader.feed(b"0.123456789," * 1000)
            assert sys.getsizeof(reader._buffer) < 4 * LIMIT
        reader.feed(b"1" + tail + end)
        usage = reader.usage()
        assert (usage.input_tokens, usage.known) == (11, True)


def test_a_line_too_long_does_not_hide_the_lines_behind_it() -> None:
    lines = (
        b"data: {"
        + b"x" * (3 * LIMIT)
        + b'}\n\ndata: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    )
    assert read(SSE, [lines]).output_tokens == 2
    assert read(SSE, [lines[i : i + 1000] for i in range(0, len(lines), 1000)]).output_tokens == 2
