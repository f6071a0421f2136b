"""What the body of a model request says, whatever is in it."""
# ruff: noqa: E501 - bytes on the wire stay on one line

import zlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm.call import Call, read_request
from deepmoat.edge.llm.endpoint import find_endpoint

CHAT = find_endpoint("POST", "/v1/chat/completions")
MESSAGES = find_endpoint("POST", "/v1/messages")
RESPONSES = find_endpoint("POST", "/v1/responses")
COMPLETIONS = find_endpoint("POST", "/v1/completions")
EMBEDDINGS = find_endpoint("POST", "/v1/embeddings")
OLLAMA = find_endpoint("POST", "/api/generate")
assert CHAT and MESSAGES and RESPONSES and COMPLETIONS and EMBEDDINGS and OLLAMA

# body, model, streamed, conversation, user
BODIES = (
    (b'{"model":"m"}', "m", False, "", ""),
    (b'{"model":"m","stream":true,"user":"u"}', "m", True, "", "u"),
    (b'{"model":"m","metadata":{"user_id":"u","session_id":"s"}}', "m", False, "s", "u"),
    (b'{"model":"m","conversation":{"id":"c"}}', "m", False, "c", ""),
    (b'{"model":"m","conversation":"c","previous_response_id":"r"}', "m", False, "c", ""),
    (b'{"model":"m","previous_response_id":"r"}', "m", False, "r", ""),
    (b'{"messages":[{"role":"user","content":"\\"model\\":\\"evil\\""}],"model":"m"}', "m", False, "", ""),
    (b'{"model":5,"stream":"yes","user":[],"metadata":7,"conversation":{"id":{}}}', "", False, "", ""),
    (b'{"model":"' + b"m" * 5000 + b'"}', "m" * 200, False, "", ""),
    (b'{"model":"old","model":"m"}', "m", False, "", ""),
    (b'\xef\xbb\xbf{"model":"m"}', "m", False, "", ""),
    (b'{"model":"m","metadata":{"x":1e400,"user_id":"u"},"x":NaN,"user":"v"}', "m", False, "", "v"),
    (b'{"model":"m","metadata":{"x":1e400},"user":"v","stream":true}', "m", True, "", "v"),
    (b'{"model":"m","metadata":[-Infinity ,NaN],"user":"v"}', "m", False, "", "v"),
    (b'{"model":"m\xff"}', "m\ufffd", False, "", ""),
    (b'{"model":"m\\ud800"}', "m\ufffd", False, "", ""),
)
UNREADABLE = (
    (b"", "not_json"),
    (b"{", "not_json"),
    (b"[]", "not_json"),
    (b"null", "not_json"),
    (b"\xff", "not_json"),
    ('{"model":"m"}'.encode("utf-16"), "not_utf8"),
    ('{"model":"m"}'.encode("utf-16-be"), "not_utf8"),
    (b'{"x":' + b"[" * 100_000, "too_deep"),
    (b'"model":"m"', "not_json"),
    (b"model=m", "not_json"),
)


def test_bodies_are_read_and_surprises_in_them_are_no_error() -> None:
    for body, model, streamed, conversation, user in BODIES:
        call = read_request(CHAT, body)
        assert (call.model, call.streamed, call.conversation, call.user) == (
            model,
            streamed,
            conversation,
            user,
        )
        assert call.readable and call.reason == ""
    for body, reason in UNREADABLE:
        for text_chars in (0, 100):
            call = read_request(CHAT, body, text_chars=text_chars)
            assert (call.readable, call.reason) == (False, reason), body[:20]
    assert len(BODIES) == 16 and len(UNREADABLE) == 10


def test_ollama_streams_unless_told_not_to() -> None:
    assert read_request(OLLAMA, b"{}").streamed
    assert not read_request(OLLAMA, b'{"stream":false}').streamed


def test_who_asks_for_the_tokens_of_a_stream() -> None:
    cases = (
        (CHAT, b'{"stream":true}', False, True),
        (COMPLETIONS, b'{"stream":true,"stream_options":{}}', False, True),
        (CHAT, b'{"stream":true,"stream_options":{"include_usage":true}}', True, False),
        (CHAT, b'{"stream":true,"stream_options":7}', False, True),
        (CHAT, b'{"stream":false}', False, False),
        (RESPONSES, b'{"stream":true}', False, False),
        (MESSAGES, b'{"stream":true}', False, False),
        (OLLAMA, b'{"stream":true}', False, False),
    )
    for endpoint, body, wants, lacks in cases:
        call = read_request(endpoint, body)
        assert (call.wants_usage, call.lacks_usage) == (wants, lacks), body
    assert len(cases) == 8


def test_the_most_tokens_that_are_wanted() -> None:
    cases = (
        (b'{"max_tokens":5}', 5),
        (b'{"max_tokens":5,"max_completion_tokens":7}', 7),
        (b'{"max_output_tokens":9}', 9),
        (b'{"options":{"num_predict":11}}', 11),
        (b'{"options":{"num_predict":-1}}', 0),
        (b'{"max_tokens":-5}', 0),
        (b'{"max_tokens":99999999999999999999999}', 0),
        (b'{"max_tokens":true}', 0),
        (b'{"max_tokens":[],"options":3}', 0),
    )
    assert [read_request(CHAT, body).max_tokens for body, _ in cases] == [wanted for _, wanted in cases]


# endpoint, body, prompt, system
TEXTS = (
    (
        CHAT,
        b'{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"one"},{"role":"assistant","content":"1"},'
        b'{"role":"user","content":"two"},{"role":"user","content":[{"type":"text","text":"three"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}',
        "system: Be brief.\nuser: two\nuser: three\n[image]",
        "Be brief.",
    ),
    (
        CHAT,
        b'{"messages":[{"role":"developer","content":"A"},{"role":"system","content":[{"type":"text","text":"B"}]},{"role":"user","content":"dig"},'
        b'{"role":"assistant","content":null,"tool_calls":[{"id":"t","function":{"name":"dig","arguments":"{}"}}]},{"role":"tool","tool_call_id":"t","content":"dug 3 m"}]}',
        "system: A\nB\ntool: dug 3 m",
        "A\nB",
    ),
    (
        MESSAGES,
        b'{"system":[{"type":"text","text":"Be kind.","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use",'
        b'"id":"t","name":"dig","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"dug"},{"type":"image","source":{}}]},'
        b'{"type":"tool_result","content":"dug more"},{"type":"document","source":{}},{"type":"text","text":"and?"}]}]}',
        "system: Be kind.\nuser: [tool result] dug\n[image]\n[tool result] dug more\n[document]\nand?",
        "Be kind.",
    ),
    (
        MESSAGES,
        b'{"system":"S","messages":[{"role":"user","content":"Write JSON"},{"role":"assistant","content":"{"}]}',
        "system: S\nuser: Write JSON\nassistant: {",
        "S",
    ),
    (RESPONSES, b'{"instructions":"Be brief.","input":"How deep?"}', "system: Be brief.\nuser: How deep?", "Be brief."),
    (
        RESPONSES,
        b'{"input":[{"role":"user","content":"a"},{"type":"function_call","name":"dig","arguments":"{}","call_id":"c"},{"type":"function_call_output","call_id":"c","output":"dug"},'
        b'{"type":"message","role":"user","content":[{"type":"input_text","text":"b"},{"type":"input_image","image_url":"u"},{"type":"input_file","file_id":"f"}]}]}',
        "tool: dug\nuser: b\n[image]\n[document]",
        "",
    ),
    (COMPLETIONS, b'{"prompt":"Once"}', "user: Once", ""),
    (COMPLETIONS, b'{"prompt":["Once","Twice"]}', "user: Once\nTwice", ""),
    (COMPLETIONS, b'{"prompt":[1,2,3]}', "user: [other]", ""),
    (EMBEDDINGS, b'{"input":"Moat"}', "user: Moat", ""),
    (EMBEDDINGS, b'{"input":["Moat","Wall"]}', "user: Moat\nuser: Wall", ""),
    (OLLAMA, b'{"system":"S","prompt":"P","images":["AAAA","BBBB"]}', "system: S\nuser: P [image] [image]", "S"),
    (OLLAMA, b'{"messages":[{"role":"user","content":"what is it","images":["AAAA"]}]}', "user: what is it [image]", ""),
    (CHAT, b'{"messages":[{"role":"user\\nsystem","content":"x"},{"role":{},"content":7},"y",null,{"content":{"a":1}}]}', "other: x\nuser: [unreadable]\nuser: y\nuser: [unreadable]", ""),
    (CHAT, b'{"messages":[{"role":"user","content":"a \xff"}]}', "user: a \ufffd", ""),
    (CHAT, b'{"messages":[{"role":"user","content":"a \\ud83d"}]}', "user: a \ufffd", ""),
    (CHAT, b'{"messages":{"role":"user"},"system":[[[]]],"prompt":{}}', "system: [other]\nuser: [other]", "[other]"),
    (CHAT, b'{"messages":[]}', "", ""),
    (CHAT, b"{}", "", ""),
)  # fmt: skip


def test_the_texts_of_a_call_are_its_system_prompt_and_its_last_turn() -> None:
    for endpoint, body, prompt, system in TEXTS:
        call = read_request(endpoint, body, text_chars=4000)
        assert call.system == system, body
        assert call.prompt == prompt, body
        assert read_request(endpoint, body).prompt == read_request(endpoint, body).system == ""
    assert len(TEXTS) == 19


def test_long_texts_are_cut_in_the_middle_and_a_system_prompt_leaves_room_for_the_person() -> None:
    body = msgspec.json.encode(
        {
            "messages": [
                {"role": "system", "content": "s" * 9000},
                {"role": "user", "content": "u" * 9000 + "end"},
            ]
        }
    )
    call = read_request(CHAT, body, text_chars=400)
    assert len(call.prompt) == 400 and len(call.system) == 400
    assert (
        call.prompt.startswith("system: sss")
        and call.prompt.endswith("uend")
        and "\nuser: uuu" in call.prompt
    )


def test_a_long_conversation_is_read_from_its_end() -> None:
    talk = [{"role": r, "content": f"{r} {n}"} for n in range(5000) for r in ("user", "assistant")]
    body = msgspec.json.encode({"messages": [*talk, {"role": "user", "content": "last"}]})
    assert read_request(CHAT, body, text_chars=100).prompt == "user: last"
    only = msgspec.json.encode({"messages": [{"role": "user", "content": f"{n}"} for n in range(5000)]})
    assert read_request(CHAT, only, text_chars=4000).prompt.startswith("user: 4936\n")


def test_compressed_bodies_are_opened_and_what_cannot_be_is_named() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"' + b"hello " * 100 + b'"}]}'
    raw = zlib.compressobj(wbits=-15)
    packed = (
        (b"gzip", zlib.compress(body, wbits=31)),
        (b"GZIP", zlib.compress(body[:50], wbits=31) + zlib.compress(body[50:], wbits=31)),
        (b"deflate", zlib.compress(body)),
        (b"deflate", raw.compress(body) + raw.flush()),
        (b"identity", body),
    )
    for encoding, data in packed:
        call = read_request(CHAT, data, encoding=encoding, text_chars=12)
        assert (call.model, call.readable, call.prompt) == ("m", True, "user: hel…o "), encoding
    refused = (
        (b"br", body, "compressed"),
        (b"gzip, gzip", body, "compressed"),
        (b"gzip", body, "compressed_broken"),
        (b"gzip", packed[0][1][:-9], "compressed_broken"),
        (b"gzip", zlib.compress(b" " * (2 << 20), wbits=31), "compressed_too_large"),
        (b"deflate", zlib.compress(b"\0" * 400_000), "compressed_too_large"),
    )
    for encoding, data, reason in refused:
        call = read_request(CHAT, data, encoding=encoding)
        assert (call.readable, call.reason) == (False, reason), encoding
    assert len(packed) == 5 and len(refused) == 6


def test_the_beginning_of_a_long_body_tells_its_model_and_how_much_is_to_come() -> None:
    body = (
        b'{"model":"m","stream": true,"messages":[{"role":"user","content":"'
        + b"Tell me about moats. " * 2000
    )
    call = read_request(CHAT, body, whole=False, size=10 * len(body))
    assert (call.model, call.streamed, call.readable, call.reason) == ("m", True, False, "too_large")
    assert 90_000 < call.estimated_input < 110_000
    packed = zlib.compress(body, wbits=31)
    assert read_request(CHAT, packed[:-20], whole=False, encoding=b"gzip").model == "m"


def test_of_a_body_only_a_sample_is_kept_to_estimate_its_tokens_from() -> None:
    body = (
        b'{"model":"m","messages":[{"role":"user","content":"' + b"Tell me about moats. " * 20_000 + b'"}]}'
    )
    for data in (body, bytearray(body)):
        call = read_request(CHAT, data)
        assert (len(call.sample), call.size) == (4096, len(body))
        assert 85_000 < call.estimated_input < 95_000
    assert len(read_request(CHAT, body[:9000], whole=False).sample) == 256
    unopened = read_request(CHAT, body[:4000], encoding=b"br")
    assert (unopened.sample, unopened.estimated_input) == (b"", 1000)


@given(st.text(), st.integers(0, 400))
def test_no_prompt_can_pretend_to_be_the_model_even_in_a_cut_body(prompt: str, cut: int) -> None:
    spoofed = prompt + '"model":"evil"' + prompt
    body = msgspec.json.encode({"messages": [{"content": spoofed}], "model": "honest"})
    assert read_request(CHAT, body).model == "honest"
    assert read_request(CHAT, body[: len(body) - cut] if cut else body, whole=False).model in ("honest", "")


@given(st.binary(max_size=300), st.booleans(), st.sampled_from((b"", b"gzip", b"deflate", b"br")))
def test_any_bytes_at_all_give_a_call(body: bytes, whole: bool, encoding: bytes) -> None:
    for endpoint in (CHAT, OLLAMA):
        call = read_request(endpoint, body, whole=whole, encoding=encoding, text_chars=50)
        assert msgspec.json.encode(msgspec.structs.replace(call, endpoint=CHAT)).startswith(b"{")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "model",
                    "stream",
                    "messages",
                    "role",
                    "content",
                    "type",
                    "text",
                    "input",
                    "output",
                    "images",
                    "system",
                    "instructions",
                    "prompt",
                    "stream_options",
                    "options",
                    "metadata",
                    "conversation",
                    "max_tokens",
                    "name",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@given(
    st.dictionaries(
        st.sampled_from(["messages", "system", "input", "instructions", "prompt", "images", "metadata"]), JSON
    ),
    st.integers(1, 60),
)
def test_any_json_of_the_apis_own_field_names_gives_texts_no_longer_than_wanted(
    body: dict[str, object], most: int
) -> None:
    call = read_request(CHAT, msgspec.json.encode(body), text_chars=most)
    assert isinstance(call, Call) and call.readable
    assert len(call.prompt) <= most and len(call.system) <= most
