"""Forwarders: the proxies in front of us that may say who the client is.

Anyone can write X-Forwarded-For. Only the entries a trusted forwarder appended count, so the
client is the rightmost address that is not itself trusted (RFC 7239, section 8.1).
"""

from collections.abc import Iterable
from functools import lru_cache

from deepmoat.kit.addresses import Networks, canonical


class Forwarders:
    """Which peers are trusted, remembered for the addresses met last."""

    def __init__(self, networks: Iterable[str], *, where: str = "edge.trusted_forwarders") -> None:
        """Raises ConfigError for text that is no network."""
        trusted = Networks(networks, where=where)
        self.trusts = lru_cache(65_536)(trusted.__contains__)

    def client(self, peer: str, forwarded_for: bytes) -> str:
        """The client's address behind trusted ``peer``, given its X-Forwarded-For.

        An entry that is no address ends the walk: what lies beyond it was not written by a
        forwarder we trust.
        """
        client = peer
        for entry in reversed(forwarded_for.split(b",")):
            address = _address(entry.decode("latin-1").strip())
            if address is None:
                break
            client = address
            if not self.trusts(address):
                break
        return client


@lru_cache(65_536)
def _address(text: str) -> str | None:
    """Canonical address of one entry: ``a.b.c.d``, ``a.b.c.d:port``, ``v6`` or ``[v6]:port``."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return canonical(text)
