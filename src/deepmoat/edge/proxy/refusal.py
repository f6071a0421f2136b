"""Refusal: why a request is not passed on, the status it is answered with, and the answer.

Reasons are a small fixed set: they are labels of a counter and rules of a Verdict.
"""

from functools import lru_cache

import msgspec

from deepmoat.edge.llm.endpoint import Endpoint
from deepmoat.edge.llm.refusal import error_body, retried
from deepmoat.model import Verdict

STATUS: dict[str, int] = {
    "malformed": 400,
    "no_host": 400,
    "two_hosts": 400,
    "bad_host": 400,
    "bad_target": 400,
    "bad_path": 400,
    "host_mismatch": 400,
    "bad_length": 400,
    "bad_transfer_encoding": 400,
    "bad_chunks": 400,
    "bad_proxy_header": 400,
    "head_timeout": 408,
    "body_timeout": 408,
    "body_too_large": 413,
    "unknown_expectation": 417,
    "key_queue_full": 429,
    "head_too_large": 431,
    "too_many_headers": 431,
    "connect_not_offered": 405,
    "trace_not_offered": 405,
    "version_not_supported": 505,
    "backend_unreachable": 502,
    "backend_closed": 502,
    "backend_bad_answer": 502,
    "no_backend": 503,
    "queue_full": 503,
    "queue_timeout": 503,
    "too_many_connections": 503,
    "backend_timeout": 504,
}
"""Reason → status."""

_PHRASES = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
_JSON, _HTML = b"application/json", b"text/html; charset=utf-8"


class Refused(Exception):  # noqa: N818 - a decision, not a fault of ours
    """Raised while a request is read; ``reason`` is a key of STATUS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The answer to a request that did not pass, before any protocol: fields have lower-case names."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


@lru_cache(1024)
def refusal(reason: str, retry_after: int = 0) -> Verdict:
    """The verdict on a request that broke the protocol or that no backend answered.

    ``retry_after`` (seconds) is told where waiting helps: a full queue, or no backend.
    """
    status = STATUS[reason]
    wait = retry_after if status in (429, 503) else 0
    return Verdict("limit" if status == 429 else "block", f"http/{reason}", reason, status, wait)


def refused_answer(
    verdict: Verdict, request_id: str, endpoint: Endpoint | None = None, page: bytes = b""
) -> Answer:
    """The answer; it says nothing an attacker can learn from.

    On a model ``endpoint`` it has the shape of that API's own errors; a challenge is answered with ``page``.
    """
    status = verdict.status
    phrase = _PHRASES.get(status, "Refused")
    kind, body = _HTML, page
    if not page:
        kind, body = _JSON, error_body(endpoint, status, _told(verdict, endpoint), phrase, request_id)
    fields = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    if verdict.retry_after:
        fields.append((b"retry-after", b"%d" % verdict.retry_after))
    if endpoint is not None and status == 429 and not retried(status, _told(verdict, endpoint)):
        fields.append((b"x-should-retry", b"false"))
    return Answer(status, tuple(fields), body)


def _told(verdict: Verdict, endpoint: Endpoint | None) -> str:
    """The word for the reason that a client may know."""
    if verdict.status == 429 and endpoint is not None:
        return verdict.rule.partition("/")[0]
    return verdict.decision if verdict.status in (403, 429) else verdict.reason


def written(answer: Answer, *, close: bool, head_only: bool) -> bytes:
    """``answer`` in HTTP/1.1."""
    phrase = _PHRASES.get(answer.status, "Refused").encode()
    lines = b"".join([b"%b: %b\r\n" % (name.title(), value) for name, value in answer.fields])
    head = b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (
        answer.status,
        phrase,
        lines,
        b"Connection: close\r\n" if close else b"",
    )
    return head if head_only else head + answer.body
