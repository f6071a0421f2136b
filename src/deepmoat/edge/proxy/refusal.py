"""Refusal: why a request is not passed on, and the status it is answered with.

Reasons are a small fixed set: they are labels of a counter and rules of a Verdict.
"""

from deepmoat.model import Verdict

STATUS: dict[str, int] = {
    "malformed": 400,
    "no_host": 400,
    "two_hosts": 400,
    "bad_host": 400,
    "bad_target": 400,
    "host_mismatch": 400,
    "bad_length": 400,
    "bad_transfer_encoding": 400,
    "bad_chunks": 400,
    "head_timeout": 408,
    "body_timeout": 408,
    "body_too_large": 413,
    "unknown_expectation": 417,
    "head_too_large": 431,
    "too_many_headers": 431,
    "connect_not_offered": 405,
    "trace_not_offered": 405,
    "version_not_supported": 505,
    "backend_unreachable": 502,
    "backend_closed": 502,
    "backend_bad_answer": 502,
    "no_backend": 503,
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


class Refused(Exception):  # noqa: N818 - a decision, not a fault of ours
    """Raised while a request is read; ``reason`` is a key of STATUS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def refusal(reason: str) -> Verdict:
    """The verdict on a request that broke the protocol or that no backend answered."""
    return Verdict("block", f"http/{reason}", reason, STATUS[reason])


def answer(verdict: Verdict, request_id: str, *, close: bool, head_only: bool) -> bytes:
    """The whole answer to a request that did not pass. It says nothing an attacker can learn from."""
    phrase = _PHRASES.get(verdict.status, "Refused")
    body = b'{"error":{"type":"%s","message":"%s","request_id":"%s"}}\n' % (
        verdict.decision.encode() if verdict.status in (403, 429) else verdict.reason.encode(),
        phrase.encode(),
        request_id.encode(),
    )
    retry = b"Retry-After: %d\r\n" % verdict.retry_after if verdict.retry_after else b""
    head = (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Cache-Control: no-store\r\n%b%b\r\n"
    ) % (verdict.status, phrase.encode(), len(body), retry, b"Connection: close\r\n" if close else b"")
    return head if head_only else head + body
