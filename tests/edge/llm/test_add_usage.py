"""Tokens of a stream are asked for in the client's place, and the client does not see it."""
# ruff: noqa: E501 - bytes on the wire stay on one line

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm.add_usage import UsageFilter, with_usage

ASKED = '"stream_options":{"include_usage":true}'
BODIES = (
    ('{"stream":true,"model":"m"}', "{" + ASKED + ',"stream":true,"model":"m"}'),
    (' \n{ "model" : "m",\n "stream" : true }\n', " \n{" + ASKED + ', "model" : "m",\n "stream" : true }\n'),
    ('{"stream":true,"x":1.0,"x":1e2,"y":"\\u00e9"}', "{" + ASKED + ',"stream":true,"x":1.0,"x":1e2,"y":"\\u00e9"}'),
    ('{"stream":true,"stream_options":null}', '{"stream":true,' + ASKED + "}"),
    ('{"stream":true,"stream_options":{}}', '{"stream":true,' + ASKED + "}"),
    ('{"stream":true,"stream_options":{"a":[1.0],"include_usage":false}}', '{"stream":true,"stream_options":{"a":[1.0],"include_usage":true}}'),
    ('{"stream":true,"stream\\u005foptions":{}}', '{"stream":true,' + ASKED + "}"),
    ('{"stream_options":{"include_usage":true},"stream":true,"stream_options":{}}', "{" + ASKED + ',"stream":true}'),
    ('{"stream":false,"stream":true}', "{" + ASKED + ',"stream":false,"stream":true}'),
    ('{"stream":true,"x":NaN,"y":"\\ud83d"}', "{" + ASKED + ',"stream":true,"x":NaN,"y":"\\ud83d"}'),
    ('{"stream":true,"stream_options":{"include_usage":true}}', None),
    ('{"stream":true,"stream_options":7}', None),
    ('{"stream":true,"stream_options":[]}', None),
    ('{"stream":false}', None),
    ('{"stream":true,"stream":false}', None),
    ('{"stream":"true"}', None),
    ('{"model":"m"}', None),
    ("{}", None),
    ("[]", None),
    ("", None),
    ('{"stream":true', None),
)  # fmt: skip


def test_bodies_ask_for_tokens_and_stay_otherwise_as_they_are() -> None:
    for body, wanted in BODIES:
        assert with_usage(body.encode()) == (wanted.encode() if wanted is not None else None), body
    assert len(BODIES) == 21
    assert with_usage(b'{"stream":true,"a":' + b"[" * 100_000) is None
    assert with_usage(b'{"stream":true,"a":"\xff"}') == b"{" + ASKED.encode() + b',"stream":true,"a":"\xff"}'


@given(st.binary(max_size=200))
def test_any_bytes_are_no_error(body: bytes) -> None:
    assert with_usage(body) is None or b"include_usage" in (with_usage(body) or b"")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), JSON), st.none() | st.dictionaries(st.text(), JSON, max_size=2), st.booleans()
)
def test_a_reader_finds_the_same_fields_and_the_wish(
    fields: dict[str, object], options: object, plain: bool
) -> None:
    fields["stream"] = True
    if options is not None:
        fields["stream_options"] = options
    changed = with_usage(json.dumps(fields, ensure_ascii=plain).encode())
    assert changed is not None
    read = json.loads(changed)
    assert read.pop("stream_options") == {**(options or {}), "include_usage": True}  # type: ignore[dict-item]
    fields.pop("stream_options", None)
    assert read == fields


USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
KEPT = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}],"usage":null}\n\n',
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7}}\n\n',
    b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}\n\n',
    b'data: {"choices":[],"prompt_filter_results":[]}\n\n',
    b'data: {"choices":[{"delta":{"content":"\\"choices\\":[],\\"usage\\":{}"}}]}\n\n',
    b'data: {"choices":[],"usage":{}\n\n',
    b"data: [DONE]\n\n",
    b": ping\n\n",
    b"event: x\r\ndata: {}\r\n\r\n",
    b"\n",
    b"\r\n",
    b"data: a\rdata: b\r\r",
    b"data: a\n",
    b"data: {",
    b"\r",
)
TAKEN = (
    USAGE,
    b'data:{"usage":{},"choices": [ ]}\r\n\r\n',
    b'id: 7\nevent: m\ndata: {"x":1,\ndata: "choices":[],"usage":{"a":1}}\n\n',
    b'data: {"choices":[],"usage":{}}\r\r',
)


def filtered(data: bytes, cuts: list[int]) -> bytes:
    taken = UsageFilter()
    places = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    return b"".join(taken.feed(data[a:b]) for a, b in zip(places, places[1:], strict=False)) + taken.end()


def test_the_event_is_taken_out_and_everything_else_stays() -> None:
    for event in TAKEN:
        stream = KEPT[0] + event + KEPT[6]
        for cuts in ([], list(range(len(stream))), [len(KEPT[0])], [len(stream) - 3]):
            assert filtered(stream, cuts) == KEPT[0] + KEPT[6], event
    for event in KEPT[:9]:
        assert filtered(KEPT[0] + event + event, []) == KEPT[0] + event + event
    assert filtered(USAGE[:-2], []) == filtered(USAGE[:-1], []) == b""


@given(
    st.lists(st.sampled_from(KEPT) | st.binary(max_size=12), max_size=12),
    st.lists(st.integers(0, 900), max_size=10),
)
def test_a_stream_without_such_an_event_comes_out_as_it_went_in(events: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(events)
    if not re.search(rb'"choices"\s*:\s*\[\s*\](?=.*"usage"\s*:\s*\{)', stream, re.DOTALL):
        assert filtered(stream, cuts) == stream


@given(st.lists(st.sampled_from(KEPT + TAKEN), max_size=12), st.lists(st.integers(0, 900), max_size=10))
def test_it_is_the_same_wherever_the_bytes_are_cut(events: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(events)
    assert filtered(stream, cuts) == filtered(stream, []) == filtered(stream, list(range(len(stream))))


@given(st.lists(st.sampled_from(KEPT[:10] + TAKEN[:3]), max_size=8), st.integers(0, 60))
def test_a_complete_event_never_waits(events: list[bytes], more: int) -> None:
    stream = b"".join(events)
    taken = UsageFilter()
    out = taken.feed(stream + KEPT[0][:more])
    assert len(taken._held) <= more + (1 if stream.endswith(b"\n") else 0) + 2
    assert out == filtered(stream, []) or stream[-1:] == b"\n"


def test_an_event_without_end_is_not_held_without_end_and_is_not_searched_again() -> None:
    taken = UsageFilter()
    piece = b"x" * 1000
    out = taken.feed(b"data: ")
    for _ in range(1000):
        out += taken.feed(piece)
        assert len(taken._held) <= 65_536 + 6
    out += taken.feed(b"\n\n" + USAGE + KEPT[0])
    assert out == b"data: " + piece * 1000 + b"\n\n" + KEPT[0]
    long = b'data: {"choices":[],"usage":{},"x":"' + b"y" * 70_000 + b'"}\n\n'
    assert filtered(long, []) == filtered(long, list(range(0, len(long), 999))) == long
