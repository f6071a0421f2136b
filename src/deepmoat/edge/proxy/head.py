"""Heads of requests and answers: what is read from them, and how they are written anew.

Nothing of a client's framing survives: the head that goes to the backend is written here from the
parsed fields (RFC 9110, RFC 9112), so there is no second reading of the same bytes to disagree with.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from deepmoat.edge.proxy.refusal import Refused
from deepmoat.kit.errors import PeerError

Header = tuple[bytes, bytes]
Framing = Literal["none", "length", "chunked", "close"]

_HOP = (b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"http2-settings")
_OURS = (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"accept-encoding")
_NOTED = (b"user-agent", b"referer", b"x-conversation-id", b"x-session-id")
_FORWARDING = (
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-server",
    b"x-forwarded-prefix",
    b"x-real-ip",
    b"x-request-id",
)
_REWRITTEN = (b"x-forwarded-for", b"x-request-id")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_ANSWER_LINE = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: ([^\r\n]*))?\r\n")
_ANSWER_READ = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade|trailer"
    rb"|content-type|content-encoding)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)",
    re.IGNORECASE,
)
_ANSWER_PASSED = (b"content-length", b"content-type", b"content-encoding")
_LENGTH = re.compile(rb"\d{1,18}")


class Head(msgspec.Struct):
    """``passed`` are the lines that go on as they came; ``read`` is what we look at, by lower-case name.

    ``length`` is the declared size of the body in bytes, -1 for a chunked one.
    """

    passed: list[bytes]
    read: dict[bytes, list[bytes]]
    length: int = 0
    expects: bool = False

    def first(self, name: bytes) -> bytes:
        """The first value of header ``name``, b"" without one."""
        values = self.read.get(name)
        return values[0] if values else b""


class AnswerHead(msgspec.Struct, frozen=True):
    """The head of a backend's answer. ``lines`` are its end-to-end header lines, each ending in CRLF."""

    status: int
    reason: bytes
    lines: bytes
    framing: Framing
    length: int
    reusable: bool
    content_type: bytes
    encoding: bytes


class HeadReader:
    """Sorts header lines: (collect it, pass it on) by lower-case name; unknown names are passed on."""

    def __init__(self, key_headers: Iterable[str]) -> None:
        """``key_headers`` are the names that carry an API key; they are collected and passed on."""
        table = dict.fromkeys(_HOP, (False, False)) | dict.fromkeys(_OURS, (True, False))
        table |= dict.fromkeys((*_NOTED, *(k.lower().encode() for k in key_headers)), (True, True))
        self._stranger = table | dict.fromkeys(_FORWARDING, (False, False))
        self._forwarder = table | dict.fromkeys(_FORWARDING, (False, True))
        self._forwarder |= dict.fromkeys(_REWRITTEN, (True, False))

    def read(self, headers: Sequence[Header], version: str, *, trusted: bool) -> Head:
        """The head behind ``headers``, which came from a ``trusted`` forwarder or from anyone.

        Raises Refused for what the parser lets through and RFC 9112 does not.
        """
        table = self._forwarder if trusted else self._stranger
        head = Head([], {})
        passed, read = head.passed, head.read
        for name, value in headers:
            low = name.lower()
            place = table.get(low)
            if place is None:
                if b"_" not in low or low.replace(b"_", b"-") not in table:
                    passed.append(b"%b: %b\r\n" % (name, value))
                continue  # a CGI-like backend reads X_Forwarded_For and X-Forwarded-For as one
            if place[0]:
                read.setdefault(low, []).append(value)
            if place[1]:
                passed.append(b"%b: %b\r\n" % (name, value))
        _check(head, version)
        return head


def _check(head: Head, version: str) -> None:
    read = head.read
    _check_host(read.get(b"host", []), version)
    if len(read) == 1:
        return
    if b"connection" in read:
        _drop_nominated(head)
    head.length = _body_length(read.get(b"content-length"), read.get(b"transfer-encoding"), version)
    if b"expect" in read:
        if head.first(b"expect").lower() != b"100-continue":
            raise Refused("unknown_expectation")
        head.expects = version == "1.1"


def _body_length(lengths: list[bytes] | None, codings: list[bytes] | None, version: str) -> int:
    """Declared bytes, -1 for chunks. llhttp takes HTTP/1.0 with chunks and "gzip, chunked": we do not."""
    if lengths and (len(lengths) > 1 or codings or not _LENGTH.fullmatch(lengths[0])):
        raise Refused("bad_length")
    if codings and (len(codings) > 1 or version != "1.1" or codings[0].strip().lower() != b"chunked"):
        raise Refused("bad_transfer_encoding")
    if codings:
        return -1
    return int(lengths[0]) if lengths else 0


def _check_host(hosts: list[bytes], version: str) -> None:
    if len(hosts) > 1:
        raise Refused("two_hosts")
    if not hosts and version == "1.1":
        raise Refused("no_host")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise Refused("bad_host")


def _drop_nominated(head: Head) -> None:
    """Remove the headers that Connection names (RFC 9110, section 7.6.1)."""
    options = b",".join(head.read[b"connection"]).lower().split(b",")
    names = {o.strip() for o in options} - {b"close", b"keep-alive", b""}
    if names:
        head.passed = [line for line in head.passed if line.partition(b":")[0].lower() not in names]


def origin_form(target: bytes, host: bytes, method: str) -> bytes:
    """Path and query of a request target; an absolute one must name the same host as the Host header."""
    if target[:1] == b"/" and b"#" not in target:
        return target
    if target == b"*" and method == "OPTIONS":
        return target
    match = _ABSOLUTE.fullmatch(target)
    if not match or b"#" in target:
        raise Refused("bad_target")
    if match[1].lower() != host.lower():
        raise Refused("host_mismatch")
    return match[2] if match[2][:1] == b"/" else b"/" + match[2]


def write_head(
    method: str, target: bytes, version: str, host: bytes, head: Head, ours: Sequence[bytes]
) -> bytes:
    """The head for the backend: the passed lines, then ``ours``, then the framing."""
    if head.length < 0:
        framing = b"Transfer-Encoding: chunked\r\n\r\n"
    elif head.length or b"content-length" in head.read:
        framing = b"Content-Length: %d\r\n\r\n" % head.length
    else:
        framing = b"\r\n"
    start = b"%b %b HTTP/%b\r\nHost: %b\r\n" % (method.encode(), target, version.encode(), host)
    return b"".join((start, *head.passed, *ours, framing))


def read_answer_head(raw: bytes, method: str) -> AnswerHead:
    """The answer head in ``raw`` (status line and header lines, each with its CRLF, without the empty line).

    Raises PeerError for one that two readers could read differently.
    """
    line = _ANSWER_LINE.match(raw)
    if (
        not line
        or raw.count(b"\n") != raw.count(b"\r\n")
        or b"\0" in raw
        or b"\r\n " in raw
        or b"\r\n\t" in raw
    ):
        raise PeerError("malformed answer head", status=502)
    found: dict[bytes, bytes] = {}
    hop = False
    for match in _ANSWER_READ.finditer(raw, line.end() - 2):
        name = match[1].lower()
        hop = hop or name not in _ANSWER_PASSED
        if found.setdefault(name, match[2]) != match[2] and name != b"connection":
            raise PeerError(f"two values of {name.decode()}", status=502)
    lines = _without_hop(raw[line.end() :], found) if hop else raw[line.end() :]
    status = int(line[2])
    framing, length = _framing(status, method, found)
    keep = b"close" not in found.get(b"connection", b"").lower() and line[1] == b"1" and framing != "close"
    kind = found.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return AnswerHead(
        status,
        line[3] or b"",
        lines,
        framing,
        length,
        keep,
        kind,
        found.get(b"content-encoding", b"").lower(),
    )


def _framing(status: int, method: str, found: dict[bytes, bytes]) -> tuple[Framing, int]:
    """How the body ends (RFC 9112, section 6.3), and its length where that is declared."""
    if method == "HEAD" or status in (204, 304) or status < 200:
        return "none", 0
    coding = found.get(b"transfer-encoding")
    if coding is not None:
        if coding.lower() != b"chunked":
            raise PeerError(f"unknown transfer coding {coding[:40]!r}", status=502)
        return "chunked", -1
    text = found.get(b"content-length")
    if text is None:
        return "close", -1
    if not _LENGTH.fullmatch(text):
        raise PeerError("content-length is no number", status=502)
    return "length", int(text)


def _without_hop(lines: bytes, found: dict[bytes, bytes]) -> bytes:
    """Only the end-to-end lines; a chunked answer keeps its coding, since its bytes are passed through."""
    chunked = b"transfer-encoding" in found
    dropped = {o.strip() for o in found.get(b"connection", b"").lower().split(b",")}
    dropped |= {b"connection", b"keep-alive", b"proxy-connection", b"upgrade"}
    if chunked:
        dropped |= {b"content-length"}
    kept = (
        line
        for line in lines.split(b"\r\n")
        if line and line.partition(b":")[0].strip().lower() not in dropped
    )
    return b"".join(line + b"\r\n" for line in kept)
