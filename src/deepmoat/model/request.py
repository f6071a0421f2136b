"""Request and Verdict: what the edge sees and what it decides."""

from typing import Literal

import msgspec


class Request(msgspec.Struct, frozen=True):
    """The head of one client request, as far as a check needs it.

    ``client_address`` is the client's own address in canonical text (never a forwarder's), ``path``
    is normalised; ``headers`` have lower-case names and hold only what some check looks at. ``key_hash``
    and ``session`` are keyed hashes of the API key and the session it presented, ``ja4`` is the
    fingerprint of its TLS ClientHello; each is "" where there is none.
    """

    client_address: str
    method: str
    path: str
    query: str = ""
    host: str = ""
    headers: dict[str, str] = {}
    key_hash: str = ""
    session: str = ""
    ja4: str = ""
    scheme: str = "http"


class Verdict(msgspec.Struct, frozen=True):
    """The decision on one request, and the rule that made it.

    ``status`` and ``retry_after`` (seconds) shape the answer to a request that did not pass.
    """

    decision: Literal["pass", "challenge", "limit", "block"]
    rule: str = ""
    reason: str = ""
    status: int = 403
    retry_after: int = 0
