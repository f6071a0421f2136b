"""Origin: did a request that may change something come from our own pages? Pure."""

from collections.abc import Mapping
from urllib.parse import urlsplit


def ours(headers: Mapping[str, str], url: str) -> bool:
    """Does ``Origin`` name the host that was asked for, or that of ``url`` (the console's own)?

    A browser always sends it with a POST and with a websocket; without one the answer is no.

    >>> ours({"origin": "http://moat:8600", "host": "moat:8600"}, "")
    True
    >>> ours({"origin": "https://evil.example", "host": "moat:8600"}, "")
    False
    """
    parts = urlsplit(headers.get("origin", ""))
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return False
    hosts = {headers.get("host", ""), urlsplit(url).netloc} - {""}
    return parts.netloc.lower() in {host.lower() for host in hosts}


def secure(scheme: str, url: str) -> bool:
    """Do people reach the console over https?"""
    return scheme in ("https", "wss") or url.startswith("https://")
