"""Forwarders: the proxies in front of us that may say who the client is.

Anyone can write X-Forwarded-For or Forwarded (RFC 7239). Only what a trusted forwarder appended counts, so
the client is the rightmost address that is not itself trusted (RFC 7239, section 8.1). Both are read from
the right, entry by entry, so nothing a stranger wrote on the left can change how the entries of our own
forwarders are read.

When a request has both, X-Forwarded-For counts, for client and scheme: nearly every proxy appends to it and
few know the other, so the Forwarded beside it may be a stranger's that was passed on. A forwarder that writes
only Forwarded therefore has to remove X-Forwarded-For.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from deepmoat.kit.addresses import Networks, canonical

MOST_HOPS = 32
"""Entries looked at, from the right."""

_MOST_ENTRY = 256  # bytes
_MOST_COMMAS = 4  # inside the quoted strings of one element
_NODE = re.compile(
    rb"\[([0-9A-Fa-f:.]{2,45})\](?::(?:\d{1,5}|_[\w.-]{1,64}))?"
    rb"|([0-9.]{7,15})(?::(?:\d{1,5}|_[\w.-]{1,64}))?"
    rb"|([0-9A-Fa-f:.]{2,45})",
    re.ASCII,
)
# Values may hold more than a token: for=[::1] and for=192.0.2.1:80 without quotes are met.
_PAIR = rb"([\w!#$%&'*+.^`|~-]{1,32})=(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s\",;\\]++))"
_PAIRS = re.compile(_PAIR, re.ASCII)
_ELEMENT = re.compile(rb"[ \t]*+(?:" + _PAIR + rb"[ \t]*+(?:;[ \t]*+|\Z))++", re.ASCII)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_SCHEMES = {b"http": "http", b"https": "https"}


class Forwarders:
    """Which peers are trusted, remembered for the addresses met last."""

    def __init__(self, networks: Iterable[str], *, where: str = "edge.trusted_forwarders") -> None:
        """Raises ConfigError for text that is no network."""
        trusted = Networks(networks, where=where)
        self.trusts = lru_cache(65_536)(trusted.__contains__)

    def client(self, peer: str, forwarded_for: bytes, forwarded: bytes = b"") -> str:
        """The client's address behind trusted ``peer``, given its X-Forwarded-For and its Forwarded.

        An entry that is no address (``unknown``, ``_hidden``) ends the walk: what lies beyond it was not
        written by a forwarder we trust.
        """
        if not forwarded_for:
            return self._walk(peer, forwarded)[0] if forwarded else peer
        client = peer
        for entry in reversed(forwarded_for.rsplit(b",", MOST_HOPS)[-MOST_HOPS:]):
            address = _address(entry.strip(b" \t")) if len(entry) <= _MOST_ENTRY else None
            if address is None:
                break
            client = address
            if not self.trusts(address):
                break
        return client

    def scheme(self, forwarded_proto: bytes, forwarded: bytes = b"", forwarded_for: bytes = b"") -> str:
        """How the client came, "http" or "https", as a trusted peer says; "" when it does not say.

        Of several values of X-Forwarded-Proto the last counts, the one our peer wrote. Of Forwarded it is the
        ``proto`` beside the client's own address, unless there is an X-Forwarded-For.
        """
        if forwarded_proto:
            return _SCHEMES.get(forwarded_proto[-_MOST_ENTRY:].rpartition(b",")[2].strip(b" \t").lower(), "")
        return self._walk("", forwarded)[1] if forwarded and not forwarded_for else ""

    def _walk(self, peer: str, forwarded: bytes) -> tuple[str, str]:
        """The client and its scheme."""
        client, scheme = peer, ""
        for address, proto in _elements(forwarded):
            if address is None:
                break
            client, scheme = address, proto
            if not self.trusts(address):
                break
        return client, scheme


def _elements(forwarded: bytes) -> Iterator[tuple[str | None, str]]:
    """Address and scheme of each element of Forwarded, from the right; ends at the first malformed one.

    An element is the shortest end of the list that is well-formed by itself: a comma inside a quoted string
    leaves an odd number of quotes to its right, so what begins there never is.
    """
    end = len(forwarded)
    for _ in range(MOST_HOPS):
        begin = end
        for _ in range(_MOST_COMMAS):
            comma = forwarded.rfind(b",", max(0, end - _MOST_ENTRY), begin)
            begin = comma if comma >= 0 else 0
            element = _element(forwarded[comma + 1 : end]) if end - begin <= _MOST_ENTRY + 1 else None
            if element or not begin:
                break
        if not element:
            return
        yield element
        if comma < 0:
            return
        end = comma


@lru_cache(8192)
def _element(text: bytes) -> tuple[str | None, str] | None:
    """Address and scheme that one element gives, None for what is no element."""
    if not _ELEMENT.fullmatch(text):
        return None
    said: dict[bytes, bytes] = {}
    for name, quoted, plain in _PAIRS.findall(text):
        low = name.lower()
        if low in said:  # forbidden by section 4: two readers would take two of them
            return None
        said[low] = plain or _ESCAPED.sub(rb"\1", quoted)
    return _address(said.get(b"for", b"")), _SCHEMES.get(said.get(b"proto", b"").lower(), "")


@lru_cache(65_536)
def _address(text: bytes) -> str | None:
    """Canonical address of one entry: ``a.b.c.d``, ``a.b.c.d:port``, ``v6`` or ``[v6]:port``."""
    match = _NODE.fullmatch(text)
    if not match:
        return None
    return canonical((match[1] or match[2] or match[3]).decode("ascii"))
