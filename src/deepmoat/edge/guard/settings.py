"""Settings of the guard: rate, rates, challenge, budgets and geo of ``[edge]``."""

from typing import Annotated, Literal

from msgspec import Meta

from deepmoat.kit.settings import Settings

Field = Literal[
    "client_address",
    "client_country",
    "client_asn",
    "key_hash",
    "session",
    "tls_client_ja4",
    "url_path",
    "server_address",
    "user_agent_original",
    "http_request_method",
]
"""What an order or a rate may name; ``guard/fields.py`` says where a request has it."""

Payer = Literal["key", "user", "model", "session", "address"]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Count = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
_OF_A_CONNECTION = {"client_address", "client_country", "client_asn"}


class RateSettings(Settings, frozen=True):
    """Requests a second one client may make, over all workers; 0 sets no limit.

    A client may make ``burst`` at once, and ``requests_per_second`` come back. Of about ``clients`` the rate
    is remembered. Off unless asked for: behind a load balancer that is not yet among ``trusted_forwarders``
    all clients share one address, and a limit nobody chose would refuse the whole service.
    """

    requests_per_second: Annotated[float, Meta(ge=0)] = 0
    burst: Count = 400
    clients: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000


class RateRuleSettings(Settings, frozen=True):
    """At most ``limit`` requests, connections or bytes of answers in ``seconds``, for each value of ``by``.

    Only requests to one of ``hosts`` and to a path that begins with one of ``paths`` count; empty is all.
    One more is limited (429), blocked (403) or has to solve a challenge: ``then``. What was refused does
    not count; a key that exceeded stays refused for ``block_seconds``, with 0 only while it is over.
    Of about ``keys`` values the sum is remembered; the smallest make room.
    """

    name: Name
    limit: Annotated[float, Meta(gt=0)]
    seconds: Annotated[float, Meta(ge=1, le=86_400)]
    by: Annotated[tuple[Field, ...], Meta(min_length=1, max_length=4)] = ("client_address",)
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    unit: Literal["requests", "connections", "bytes"] = "requests"
    then: Literal["limit", "block", "challenge"] = "limit"
    block_seconds: Annotated[float, Meta(ge=0, le=604_800)] = 0
    keys: Annotated[int, Meta(ge=1, le=10_000_000)] = 65_536

    def __post_init__(self) -> None:
        """Refuse what could never count anything."""
        if len(set(self.by)) != len(self.by):
            raise ValueError("`by` names a field twice")
        if self.unit == "connections" and not set(self.by) <= _OF_A_CONNECTION:
            raise ValueError("connections have no field but " + ", ".join(sorted(_OF_A_CONNECTION)))
        if self.unit == "connections" and (self.hosts or self.paths or self.then == "challenge"):
            raise ValueError(
                "a connection has no host, no path and no page: leave out hosts, paths, challenge"
            )


class ChallengeSettings(Settings, frozen=True):
    """The page that lets a browser work before it may pass.

    ``always`` asks every browser; otherwise only where an order or a rate says so. A browser tries about
    2 to the power of ``difficulty`` hashes, once in ``valid`` seconds. ``always`` goes for ``hosts`` and for
    paths that begin with one of ``paths`` (empty: all) and with none of ``exempt_paths``.
    """

    always: bool = False
    difficulty: Annotated[int, Meta(ge=1, le=26)] = 16
    valid: Annotated[int, Meta(ge=60, le=604_800)] = 3_600
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    exempt_paths: tuple[str, ...] = ()


class BudgetSettings(Settings, frozen=True):
    """What model calls may use up, for each value of ``by``; 0 sets no limit.

    Only calls of ``models`` with one of ``keys`` (their hashes, as in the logs) by one of ``users`` count;
    empty is all. A minute is one of the clock, a day one in UTC. ``money_per_day`` is in the unit of the
    price file. Calls without the thing named by ``by`` share one budget. What ``users`` and ``by = ["user"]``
    look at is what the client says; only a key is proof.
    """

    name: Name
    by: Annotated[tuple[Payer, ...], Meta(max_length=5)] = ("key",)
    models: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    requests_per_minute: Amount = 0
    tokens_per_minute: Amount = 0
    tokens_per_day: Amount = 0
    money_per_day: Amount = 0
    remembered: Annotated[int, Meta(ge=1, le=1_000_000)] = 8_192

    def __post_init__(self) -> None:
        """Refuse a budget that limits nothing."""
        if not any(
            (self.requests_per_minute, self.tokens_per_minute, self.tokens_per_day, self.money_per_day)
        ):
            raise ValueError(
                "a budget wants one of requests_per_minute, tokens_per_minute, tokens_per_day, money_per_day"
            )


class GeoSettings(Settings, frozen=True):
    """Where clients are. ``asn_file`` is an MMDB file with autonomous system numbers; "" knows none.

    Countries come with deepmoat. Nothing is looked up unless an order or a rate names it.
    """

    asn_file: str = ""
