"""The body of a refusal, in the shape in which the called API says it: its clients show and understand it.

OpenAI: ``{"error": {"message", "type", "param", "code"}}``. A rate has code ``rate_limit_exceeded``, a budget
``insufficient_quota``: the official clients repeat both, as every 429, unless a header ``x-should-retry:
false`` tells them not to (``retried`` says when). Anthropic: ``{"type": "error", "error": {"type",
"message"}, "request_id"}``. Ollama: ``{"error": "..."}``. Sources: the API references of the three, and the
code of the Python clients.
"""

from typing import Any

import msgspec

from deepmoat.edge.llm.endpoint import Endpoint

_ENCODER = msgspec.json.Encoder()
_OPENAI = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_exceeded",
}
_ANTHROPIC = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_BUDGETS = ("budget", "quota")


def error_body(endpoint: Endpoint | None, status: int, reason: str, message: str, request_id: str) -> bytes:
    """The whole body, JSON and a line end.

    ``reason`` is a word of ours (``rate``, ``budget``, ``body_too_large``): one that begins with budget or
    quota makes a 429 one of quota. ``message`` is for a person. An asset of the operator's own gets the
    plain form, as does ``endpoint`` None.

    >>> error_body(Endpoint("ollama", "chat", "ollama"), 429, "rate", "Too Many Requests", "r-1")
    b'{"error":"Too Many Requests (request r-1)"}\\n'
    """
    api = endpoint.api if endpoint is not None else "asset"
    if api == "messages":
        body = _anthropic(status, message, request_id)
    elif api == "ollama":
        body = {"error": f"{message} (request {request_id})"}
    elif api == "asset":
        body = {"error": {"type": reason, "message": message, "request_id": request_id}}
    else:
        body = _openai(status, reason, f"{message} (request {request_id})")
    return _ENCODER.encode(body) + b"\n"


def retried(status: int, reason: str) -> bool:
    """Ought a client to try again by itself? A budget does not come back in the seconds it would wait.

    Where not, the header ``x-should-retry: false`` keeps the clients of OpenAI and Anthropic from it.
    """
    return (status == 429 and not reason.startswith(_BUDGETS)) or status in (408, 502, 503, 504)


def _openai(status: int, reason: str, message: str) -> dict[str, Any]:
    kind = _OPENAI.get(status, "invalid_request_error" if status < 500 else "server_error")
    code = reason
    if status == 429:
        kind = code = "insufficient_quota" if reason.startswith(_BUDGETS) else "rate_limit_exceeded"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _anthropic(status: int, message: str, request_id: str) -> dict[str, Any]:
    kind = _ANTHROPIC.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
