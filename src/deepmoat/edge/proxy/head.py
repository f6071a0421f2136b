"""Heads of requests and answers: what is read from them, and how they are written anew.

Nothing of a client's framing survives: the head that goes to the backend is written here from the
parsed fields (RFC 9110, RFC 9112), so there is no second reading of the same bytes to disagree with.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Literal

import msgspec

from deepmoat.edge.proxy.refusal import Refused
from deepmoat.kit.errors import PeerError

Framing = Literal["none", "length", "chunked", "close"]

_HOP = (b"keep-alive", b"proxy-connection", b"te", b"trailer", b"http2-settings")
_OURS = (
    *(b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"accept-encoding"),
    *(b"upgrade", b"traceparent", b"tracestate"),
)
_ONCE = frozenset({b"host", b"content-length", b"transfer-encoding"})
_NOTED = (b"user-agent", b"referer", b"content-encoding")
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
_REWRITTEN = (b"x-forwarded-for", b"x-request-id", b"forwarded", b"x-forwarded-proto")
_KEPT = frozenset({b"forwarded", b"x-forwarded-proto"})
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_LENGTH = re.compile(rb"\d{1,18}")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}
_ANSWER_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"upgrade"})
_ANSWER_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_ANSWER_READ = frozenset({b"content-type", b"content-encoding"}) | _ANSWER_HOP | _ANSWER_FRAMING


class Head(msgspec.Struct, gc=False):
    """The head of a request. ``passed`` are the lines that go on as they came, without their CRLF.

    ``read`` is what we look at, by lower-case name, lines of one name joined by a comma. ``length`` is
    the declared size of the body in bytes, -1 for a chunked one; ``encoded`` says that it is compressed.
    ``upgrade`` is the protocol the client asks to change to, if it may.
    """

    method: str
    target: bytes
    version: str
    passed: list[bytes]
    read: dict[bytes, bytes]
    length: int = 0
    expects: bool = False
    upgrade: bytes = b""
    encoded: bool = False


class AnswerHead(msgspec.Struct, frozen=True, gc=False):
    """The head of a backend's answer. ``lines`` are its end-to-end header lines, each ending in CRLF.

    ``content_type``, ``encoding`` and ``upgrade`` are in lower case, the first without parameters. ``framed``
    says that one of ``lines`` is about the framing.
    """

    status: int
    reason: bytes
    lines: bytes
    framing: Framing
    length: int
    reusable: bool
    content_type: bytes
    encoding: bytes
    framed: bool = False
    upgrade: bytes = b""


class HeadReader:
    """Sorts header lines: (look at it, pass it on) by lower-case name; unknown names are passed on."""

    def __init__(self, noted: Iterable[str], *, most: int, upgrades: Iterable[str] = ()) -> None:
        """``noted`` are names to look at beside those we always do; ``most`` lines are allowed.

        ``upgrades`` are the protocols a client may change to.
        """
        table = dict.fromkeys(_HOP, (False, False)) | dict.fromkeys(_OURS, (True, False))
        table = dict.fromkeys((*_NOTED, *(k.lower().encode() for k in noted)), (True, True)) | table
        stranger = table | dict.fromkeys(_FORWARDING, (False, False))
        forwarder = table | dict.fromkeys(_FORWARDING, (False, True))
        forwarder |= {name: (True, name in _KEPT) for name in _REWRITTEN}
        # Clients send the same few lines over and over, so a line is sorted once and remembered.
        self._stranger = lru_cache(8192)(partial(_sort, stranger))
        self._forwarder = lru_cache(8192)(partial(_sort, forwarder))
        self._most = most
        self._upgrades = frozenset(u.lower().encode() for u in upgrades) - {b"h2c"}

    def read(self, raw: bytes, *, trusted: bool) -> Head:
        """The head in ``raw``, which llhttp has found well-formed and which ends before the empty line.

        ``trusted`` says that it came from a trusted forwarder. Raises Refused for what llhttp lets
        through and RFC 9112 does not.
        """
        lines = raw.split(b"\r\n")
        head = _start_line(lines.pop(0))
        if len(lines) > self._most:
            raise Refused("too_many_headers")
        sort = self._forwarder if trusted else self._stranger
        passed, read = head.passed, head.read
        for line in lines:
            name, value, passes = sort(line)
            if passes:
                passed.append(line)
            if name:
                if name in read:
                    value = _joined(name, read[name], value)
                read[name] = value
        _check(head)
        if b"upgrade" in read:
            self._upgrade(head)
        return head

    def _upgrade(self, head: Head) -> None:
        """An upgrade we offer and that was asked for properly is passed on; any other goes unheard."""
        token = head.read[b"upgrade"]
        asked = b"upgrade" in [o.strip() for o in head.read.get(b"connection", b"").lower().split(b",")]
        if asked and token.lower() in self._upgrades and head.version == "1.1" and not head.length:
            head.upgrade = token


def _sort(table: dict[bytes, tuple[bool, bool]], line: bytes) -> tuple[bytes, bytes, bool]:
    """Lower-case name and value of a line we look at (b"" for others), and whether it is passed on.

    A CGI-like backend reads X_Forwarded_For and X-Forwarded-For as one, so the former goes nowhere.
    """
    name, _, value = line.partition(b":")
    low = name.lower()
    if low not in table:
        return b"", b"", low.replace(b"_", b"-") not in table
    noted, passes = table[low]
    return (low, value.strip(b" \t"), passes) if noted else (b"", b"", passes)


def _start_line(line: bytes) -> Head:
    """Method, target and version: three words and single spaces, no more."""
    words = line.split(b" ")
    if len(words) != 3:
        raise Refused("malformed")
    method, target, version = words
    if version not in _VERSIONS:
        raise Refused("version_not_supported")
    if method == b"CONNECT":
        raise Refused("connect_not_offered")
    if method == b"TRACE":  # its answer repeats the client's credentials
        raise Refused("trace_not_offered")
    return Head(method.decode("ascii"), target, _VERSIONS[version], [], {})


def _joined(name: bytes, first: bytes, second: bytes) -> bytes:
    """Two lines of one name as one list, where that is allowed."""
    if name in _ONCE:
        raise Refused("two_hosts" if name == b"host" else "bad_length")
    return first + b", " + second


def _check(head: Head) -> None:
    read = head.read
    host = read.get(b"host")
    if host is None and head.version == "1.1":
        raise Refused("no_host")
    if host is not None and not _HOST.fullmatch(host):
        raise Refused("bad_host")
    if b"connection" in read:
        _drop_nominated(head)
    head.length = _body_length(read.get(b"content-length"), read.get(b"transfer-encoding"), head.version)
    head.encoded = read.get(b"content-encoding", b"identity").lower() != b"identity"
    if b"expect" in read:
        if read[b"expect"].lower() != b"100-continue":
            raise Refused("unknown_expectation")
        head.expects = head.version == "1.1"


def _body_length(length: bytes | None, coding: bytes | None, version: str) -> int:
    """Declared bytes, -1 for chunks. llhttp takes HTTP/1.0 with chunks and "gzip, chunked": we do not."""
    if coding is not None:
        if length is not None:
            raise Refused("bad_length")
        if version != "1.1" or coding.lower() != b"chunked":
            raise Refused("bad_transfer_encoding")
        return -1
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise Refused("bad_length")
    return int(length)


def _drop_nominated(head: Head) -> None:
    """Remove the headers that Connection names (RFC 9110, section 7.6.1)."""
    options = head.read[b"connection"].lower().split(b",")
    names = {o.strip() for o in options} - {b"close", b"keep-alive", b"upgrade", b""}
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


def write_head(head: Head, host: bytes, ours: Sequence[bytes]) -> bytes:
    """The head for the backend: the passed lines, then ``ours``, then the framing."""
    if head.length < 0:
        framing = b"Transfer-Encoding: chunked\r\n\r\n"
    elif head.length or b"content-length" in head.read:
        framing = b"Content-Length: %d\r\n\r\n" % head.length
    else:
        framing = b"\r\n"
    start = b"%b %b HTTP/1.1\r\nHost: %b" % (head.method.encode(), head.target, host)
    return b"\r\n".join((start, *head.passed, *ours, framing))


def read_answer_head(raw: bytes, method: str) -> AnswerHead:
    """The answer's head in ``raw``, which ends before the empty line.

    Raises PeerError for one that two readers could read differently.
    """
    lines = raw.split(b"\r\n")
    start = lines.pop(0)
    status, reason, modern = _status_line(start)
    found, drops = _answer_fields(lines)
    framing, length = _framing(status, method, found)
    kept = _end_to_end(lines, found) if drops else lines
    keep = framing != "close" and modern and b"close" not in found.get(b"connection", b"").lower()
    return AnswerHead(
        status,
        reason,
        b"\r\n".join(kept) + b"\r\n" if kept else b"",
        framing,
        length,
        keep,
        found.get(b"content-type", b""),
        found.get(b"content-encoding", b"").lower(),
        b"content-length" in found or b"transfer-encoding" in found,
        found.get(b"upgrade", b"").lower() if status == 101 else b"",
    )


@lru_cache(256)
def _status_line(line: bytes) -> tuple[int, bytes, bool]:
    """Status, reason, and whether it is HTTP/1.1; PeerError for what is no status line."""
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise PeerError("not an HTTP/1 answer", status=502)
    return int(match[2]), match[3] or b"", match[1] == b"1"


def unframed_lines(head: AnswerHead) -> bytes:
    """The lines of an answer that will be framed otherwise."""
    if not head.framed:
        return head.lines
    lines = head.lines.split(b"\r\n")
    return b"\r\n".join(line for line in lines if line.partition(b":")[0].lower() not in _ANSWER_FRAMING)


def _answer_fields(lines: Sequence[bytes]) -> tuple[dict[bytes, bytes], bool]:
    """What we look at, by lower-case name, and whether any line must not be passed on."""
    found: dict[bytes, bytes] = {}
    drops = False
    for line in lines:
        low, value = _answer_line(line)
        if not low:
            continue
        drops = drops or low in _ANSWER_HOP or (low in _ANSWER_FRAMING and low in found)
        if low in _ANSWER_FRAMING and found.get(low, value) != value:
            raise PeerError(f"two values of {low.decode()}", status=502)
        found[low] = value
    if b"transfer-encoding" in found and b"content-length" in found:
        drops = True
    return found, drops


@lru_cache(8192)
def _answer_line(line: bytes) -> tuple[bytes, bytes]:
    """Lower-case name and value of a line we look at, b"" for others; PeerError for what is none."""
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or _CONTROL.search(value):
        raise PeerError("malformed header line in the answer", status=502)
    low, value = name.lower(), value.strip(b" \t")
    if low == b"content-type":
        value = value.partition(b";")[0].rstrip().lower()
    return (low, value) if low in _ANSWER_READ else (b"", b"")


def _framing(status: int, method: str, found: dict[bytes, bytes]) -> tuple[Framing, int]:
    """How the body ends (RFC 9112, section 6.3), and its length where that is declared."""
    text, coding = found.get(b"content-length"), found.get(b"transfer-encoding")
    if text is not None and not _LENGTH.fullmatch(text):
        raise PeerError("content-length is no number", status=502)
    if coding is not None and coding.lower() != b"chunked":
        raise PeerError(f"unknown transfer coding {coding[:40]!r}", status=502)
    if method == "HEAD" or status in (204, 304) or status < 200:
        return "none", 0
    if coding is not None:
        return "chunked", -1
    if text is None:
        return "close", -1
    return "length", int(text)


def _end_to_end(lines: Sequence[bytes], found: dict[bytes, bytes]) -> list[bytes]:
    """Only the end-to-end lines, and one line that says how the body ends."""
    dropped = {o.strip() for o in found.get(b"connection", b"").lower().split(b",")}
    dropped = (dropped | _ANSWER_HOP | _ANSWER_FRAMING) - {b""}
    kept = [line for line in lines if line.partition(b":")[0].lower() not in dropped]
    for name in (b"transfer-encoding", b"content-length"):
        if name in found:
            kept.append(name.title() + b": " + found[name])
            break
    return kept
