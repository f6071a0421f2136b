"""Health: when a backend is given up, and when it is trusted again. Pure; ``serve.py`` asks."""

import re

import msgspec

_STATUS = re.compile(rb"HTTP/1\.[01] ([23])\d\d[ \r]")


class Health(msgspec.Struct, eq=False):
    """``streak`` counts successes (positive) or failures (negative) in a row."""

    fall: int
    rise: int
    healthy: bool = True
    streak: int = 0

    def succeeded(self) -> None:
        """It answered well."""
        self.streak = max(self.streak, 0) + 1
        if self.streak >= self.rise:
            self.healthy = True

    def failed(self) -> None:
        """It could not be reached, or answered badly."""
        self.streak = min(self.streak, 0) - 1
        if -self.streak >= self.fall:
            self.healthy = False


def probe(path: str, address: str) -> bytes:
    """The request a health check sends; b"" when connecting is enough."""
    if not path:
        return b""
    lines = f"GET {path} HTTP/1.1", f"Host: {address}", "User-Agent: deepmoat", "Connection: close", "", ""
    return "\r\n".join(lines).encode()


def is_well(answer: bytes) -> bool:
    """Does the start of ``answer`` say 200 to 399?

    >>> is_well(b"HTTP/1.1 204 No Content\\r\\n"), is_well(b"HTTP/1.1 503 Busy\\r\\n"), is_well(b"")
    (True, False, False)
    """
    return _STATUS.match(answer) is not None
