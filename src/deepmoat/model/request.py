"""Request and Verdict: what the edge sees and what it decides."""

from typing import Literal

import msgspec


class Request(msgspec.Struct, frozen=True):
    """The head of one client request, as far as a check needs it.

    ``client_address`` is the client's own address in canonical text (never a forwarder's),
    ``headers`` have lower-case names; ``key_hash`` is the keyed hash of the API key it presented.
    """

    client_address: str
    method: str
    path: str
    query: str = ""
    host: str = ""
    headers: dict[str, str] = {}
    key_hash: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """The decision on one request, and the rule that made it.

    ``status`` and ``retry_after`` (seconds) shape the answer to a request that did not pass.
    """

    decision: Literal["pass", "limit", "block"]
    rule: str = ""
    reason: str = ""
    status: int = 403
    retry_after: int = 0
