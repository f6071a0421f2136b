"""Fields: what orders and rates may name, and where a request has it. Names are those of the logs."""

from collections.abc import Callable, Iterable
from typing import get_args

from deepmoat.edge.guard.geo import Lookup, country
from deepmoat.edge.guard.settings import Field
from deepmoat.model import Request

Read = Callable[[Request], str]
NAMES: tuple[str, ...] = get_args(Field)
_OF_HEADERS = {"user_agent_original": b"user-agent"}


def readers(asn: Lookup | None = None) -> dict[str, Read]:
    """By name, how to read a field of a request; without a way to know systems there is no client_asn."""
    known: dict[str, Read] = {
        "client_address": lambda r: r.client_address,
        "client_country": lambda r: country(r.client_address),
        "key_hash": lambda r: r.key_hash,
        "session": lambda r: r.session,
        "tls_client_ja4": lambda r: r.ja4,
        "url_path": lambda r: r.path,
        "server_address": lambda r: r.host,
        "user_agent_original": lambda r: r.headers.get("user-agent", ""),
        "http_request_method": lambda r: r.method,
    }
    return known if asn is None else known | {"client_asn": lambda r: asn(r.client_address)}


def joined(names: Iterable[str], known: dict[str, Read]) -> Read:
    """One text for the values of all ``names``; equal only where each is equal."""
    reads = tuple(known[name] for name in names)
    if len(reads) == 1:
        return reads[0]

    def read(request: Request) -> str:
        values = [r(request) for r in reads]
        return "".join([f"{len(value)}:{value}" for value in values])  # no value can reach into the next

    return read


def headers_of(names: Iterable[str]) -> frozenset[bytes]:
    """The headers a request must hold for fields ``names``.

    >>> headers_of(("client_address", "user_agent_original"))
    frozenset({b'user-agent'})
    """
    return frozenset(_OF_HEADERS[name] for name in names if name in _OF_HEADERS)
