"""What the body of a model request says, whatever is in it."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm.call import read_request
from deepmoat.edge.llm.endpoint import find_endpoint
from deepmoat.edge.llm.key import key_hasher

CHAT = find_endpoint("POST", "/v1/chat/completions")
OLLAMA = find_endpoint("POST", "/api/generate")
assert CHAT and OLLAMA

ENDPOINTS = (
    ("/v1/chat/completions", "openai", "chat"),
    ("/proxy/openai/v1/chat/completions", "openai", "chat"),
    ("/v1/completions", "openai", "text_completion"),
    ("/v1/embeddings", "openai", "embeddings"),
    ("/v1/responses", "openai", "chat"),
    ("/v1/messages", "anthropic", "chat"),
    ("/anthropic/v1/messages", "anthropic", "chat"),
    ("/api/chat", "ollama", "chat"),
    ("/api/generate", "ollama", "text_completion"),
    ("/api/embed", "ollama", "embeddings"),
)
NONE = ("/", "/v1/models", "/messages", "/chat/completions/x", "/v1/messages/count", "/completionsx", "")

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
)
UNREADABLE = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b'{"model":"\xff"}',
    b"[" * 100_000,
    b'"model":"m"',
    b"model=m",
)


def test_model_endpoints_are_known_under_any_prefix_and_nothing_else_is() -> None:
    for path, provider, operation in ENDPOINTS:
        endpoint = find_endpoint("POST", path)
        assert endpoint and (endpoint.provider, endpoint.operation) == (provider, operation), path
        assert find_endpoint("GET", path) is None
    assert [find_endpoint("POST", path) for path in NONE] == [None] * len(NONE)
    assert len(ENDPOINTS) == 10 and len(NONE) == 7


def test_bodies_are_read_and_surprises_in_them_are_no_error() -> None:
    for body, model, streamed, conversation, user in BODIES:
        call = read_request(CHAT, body)
        assert (call.model, call.streamed, call.conversation, call.user) == (
            model,
            streamed,
            conversation,
            user,
        )
        assert call.readable
    for body in UNREADABLE:
        assert read_request(CHAT, body).readable is False, body[:20]
    assert len(BODIES) == 9 and len(UNREADABLE) == 9


def test_ollama_streams_unless_told_not_to() -> None:
    assert read_request(OLLAMA, b"{}").streamed
    assert not read_request(OLLAMA, b'{"stream":false}').streamed


@given(st.text(), st.integers(0, 400))
def test_no_prompt_can_pretend_to_be_the_model_even_in_a_cut_body(prompt: str, cut: int) -> None:
    spoofed = prompt + '"model":"evil"' + prompt
    body = msgspec.json.encode({"messages": [{"content": spoofed}], "model": "honest"})
    assert read_request(CHAT, body).model == "honest"
    assert read_request(CHAT, body[: len(body) - cut] if cut else body, whole=False).model in ("honest", "")


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_at_all_give_a_call(body: bytes, whole: bool) -> None:
    assert msgspec.json.encode(read_request(CHAT, body, whole=whole)).startswith(b"{")


def test_one_key_has_one_hash_in_any_header_and_each_secret_its_own() -> None:
    hash_key = key_hasher(b"a" * 32)
    assert hash_key(b"sk-1") == hash_key(b"Bearer sk-1") == hash_key(b"bearer  sk-1 ")
    assert hash_key(b"sk-1") != hash_key(b"sk-2")
    assert hash_key(b"sk-1") != key_hasher(b"b" * 32)(b"sk-1")
    assert len(hash_key(b"sk-1")) == 16 and hash_key(b"") == hash_key(b"Bearer ") == ""
