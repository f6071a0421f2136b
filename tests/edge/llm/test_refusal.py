"""Refusals look like the called API's own errors, and its official clients take them for such."""
# ruff: noqa: E501 - texts stay on one line

import importlib
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm.endpoint import find_endpoint
from deepmoat.edge.llm.refusal import error_body, retried

CHAT = find_endpoint("POST", "/v1/chat/completions")
MESSAGES = find_endpoint("POST", "/v1/messages")
OLLAMA = find_endpoint("POST", "/api/chat")

CASES = (
    (CHAT, 429, "rate", {"error": {"message": "No (request r-1)", "type": "rate_limit_exceeded", "param": None, "code": "rate_limit_exceeded"}}),
    (CHAT, 429, "budget", {"error": {"message": "No (request r-1)", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}}),
    (CHAT, 413, "body_too_large", {"error": {"message": "No (request r-1)", "type": "invalid_request_error", "param": None, "code": "body_too_large"}}),
    (CHAT, 503, "no_backend", {"error": {"message": "No (request r-1)", "type": "server_error", "param": None, "code": "no_backend"}}),
    (MESSAGES, 429, "rate", {"type": "error", "error": {"type": "rate_limit_error", "message": "No"}, "request_id": "r-1"}),
    (MESSAGES, 503, "no_backend", {"type": "error", "error": {"type": "overloaded_error", "message": "No"}, "request_id": "r-1"}),
    (MESSAGES, 431, "head_too_large", {"type": "error", "error": {"type": "invalid_request_error", "message": "No"}, "request_id": "r-1"}),
    (OLLAMA, 403, "block", {"error": "No (request r-1)"}),
    (None, 403, "block", {"error": {"type": "block", "message": "No", "request_id": "r-1"}}),
)  # fmt: skip


def test_each_api_gets_its_own_form() -> None:
    for endpoint, status, reason, wanted in CASES:
        assert msgspec.json.decode(error_body(endpoint, status, reason, "No", "r-1")) == wanted, (
            status,
            reason,
        )
    assert len(CASES) == 9


def client_of(sdk: Any, body: bytes) -> Any:
    """An HTTP client for ``sdk``, of the library it uses, that is answered with ``body`` each time."""
    http = importlib.import_module(sdk.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
    answers = http.MockTransport(
        lambda request: http.Response(429, content=body, headers={"x-should-retry": "false"})
    )
    return sdk.DefaultHttpxClient(transport=answers)


def test_the_official_clients_read_them() -> None:
    with client_of(openai, error_body(CHAT, 429, "budget:daily", "Spent", "r-1")) as http:
        client = openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="m", messages=[])
        assert (caught.value.code, caught.value.type) == ("insufficient_quota", "insufficient_quota")
    with client_of(anthropic, error_body(MESSAGES, 429, "rate", "Slow down", "r-2")) as http:
        other = anthropic.Anthropic(api_key="k", base_url="http://x", http_client=http)
        with pytest.raises(anthropic.RateLimitError, match="Slow down"):
            other.messages.create(model="m", max_tokens=1, messages=[])


def test_a_rate_is_tried_again_and_a_budget_is_not() -> None:
    assert retried(429, "rate") and retried(503, "no_backend")
    assert not retried(429, "budget:daily") and not retried(403, "block") and not retried(400, "malformed")


@given(
    st.sampled_from((CHAT, MESSAGES, OLLAMA, None)), st.integers(400, 599), st.text(), st.text(), st.text()
)
def test_any_words_are_only_text(
    endpoint: object, status: int, reason: str, message: str, request_id: str
) -> None:
    body = error_body(endpoint, status, reason, message, request_id)  # type: ignore[arg-type]
    assert body.endswith(b"}\n") and body.count(b"\n") == 1
    assert "error" in msgspec.json.decode(body)
