"""The path of a request in its one normal form: what is matched against rules and routes is what is sent.

RFC 3986, section 6.2.2, and a little more:

- Escapes of unreserved characters are decoded, the others written in upper case. Nothing else is decoded: a
  client that signs its request (AWS SigV4 does) signs ``%3A`` and ``:`` as different paths, and so does
  ``%2F``.
- ``.`` and ``..`` segments are removed, in any spelling; one that climbs above the root is refused.
- Slashes that follow each other are merged, as most servers behind a proxy do; first of all, so
  ``/a//../b`` is ``/b``.
- Visible characters that no URI may hold (``"<>[]^`{|}``) and bytes above 127 are escaped.

Refused, each because two readers could read it differently: a ``%`` without two hex digits, NUL, control
characters, spaces, ``?`` and ``#``, a backslash, an overlong form of UTF-8 (which makes Latin-1 names with
À or Á unspeakable: they begin like one), and a dot segment that only shows when a backend decodes ``%2F``
or ``%5C`` or drops what follows a ``;``.
"""

import re
from functools import lru_cache

_REMEMBERED = 256  # bytes; longer paths are read anew each time, so that strangers cannot fill the memory

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# Every segment but the last has a character, and none begins with a dot: nothing to do.
_NORMAL = re.compile(rb"(?:/[\w~!$&'()*+,;=:@-][\w.~!$&'()*+,;=:@-]*+)++/?+|/", re.ASCII)
_REFUSED = re.compile(rb"[\x00-\x20\x7f?#\\]")
_ODD = re.compile(rb"[^\w.~!$&'()*+,;=:@/%-]++", re.ASCII)
_OVERLONG = re.compile(rb"%C[01]|%E0%[89]|%F0%8")
_HIDDEN_DOTS = re.compile(rb"(?:/|%2F|%5C)\.\.?(?:%2F|%5C|;|%3B)|(?:%2F|%5C)\.\.?(?:/|\Z)")


class BadPath(ValueError):  # noqa: N818 - the client's fault, as Refused is
    """A path that is refused. ``reason`` is always ``bad_path``: a label of a counter, a rule of a
    verdict."""

    reason = "bad_path"


def _spelling(byte: int) -> bytes:
    """How a byte that came as an escape is written."""
    return bytes((byte,)) if byte in _UNRESERVED else b"%%%02X" % byte


_DIGITS = "0123456789abcdefABCDEF"
_SPELLED = {f"{a}{b}".encode(): _spelling(int(a + b, 16)) for a in _DIGITS for b in _DIGITS if a + b != "00"}
"""Digits of an escape → how its byte is written. NUL is missing: it is refused."""


def normal_path(target_path: bytes) -> bytes:
    """The normal form of a path, without the query. ASCII, absolute, and the normal form of itself.

    ``*``, the target of OPTIONS, stays as it is. Raises BadPath.

    >>> normal_path(b"/v1//%63hat/./x/../completions"), normal_path(b"/caf%c3%a9/a%2fb")
    (b'/v1/chat/completions', b'/caf%C3%A9/a%2Fb')
    """
    if len(target_path) <= _REMEMBERED:
        return _known(target_path)
    return _normal(target_path)


def _normal(path: bytes) -> bytes:
    if _NORMAL.fullmatch(path) or path == b"*":
        return path
    if path[:1] != b"/":
        raise BadPath("a path begins with a slash")
    spelled = _respelled(path)
    if _OVERLONG.search(spelled):
        raise BadPath("overlong UTF-8 in a path")
    if _HIDDEN_DOTS.search(spelled):
        raise BadPath("hidden dot segment in a path")
    return _without_dots(spelled)


_known = lru_cache(8192)(_normal)


def _respelled(path: bytes) -> bytes:
    """``path`` with each escape and each byte that needs one written in one way."""
    refused = _REFUSED.search(path)
    if refused:
        raise BadPath(f"{refused[0]!r} in a path")
    before, *escapes = path.split(b"%")
    written = [before]
    try:
        for text in escapes:
            written += _SPELLED[text[:2]], text[2:]
    except KeyError as exc:
        raise BadPath(f"{b'%' + exc.args[0]!r} in a path") from exc
    return _ODD.sub(lambda odd: b"%" + odd[0].hex("%").upper().encode(), b"".join(written))


def _without_dots(path: bytes) -> bytes:
    """RFC 3986, section 5.2.4, after merging slashes."""
    if b"//" not in path and b"/." not in path:
        return path
    segments = path.split(b"/")
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise BadPath("a path above the root")
            kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
    end = b"/" if kept and segments[-1] in (b"", b".", b"..") else b""
    return b"/" + b"/".join(kept) + end
