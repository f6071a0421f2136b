"""Settings of the edge: section ``[edge]`` of moat.toml. Those of its parts stand beside the parts."""

import re
from typing import Annotated, Literal

from msgspec import Meta

from deepmoat.edge.balance.settings import (
    BackendSettings,
    EjectionSettings,
    HealthSettings,
    PoolSettings,
    QueueSettings,
)
from deepmoat.edge.guard.settings import (
    BudgetSettings,
    ChallengeSettings,
    GeoSettings,
    RateRuleSettings,
    RateSettings,
)
from deepmoat.edge.llm.settings import LlmSettings
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=1)]
Switch = Annotated[int, Meta(ge=0)]
_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})")

__all__ = [
    "BackendSettings",
    "BudgetSettings",
    "CertificateSettings",
    "ChallengeSettings",
    "EdgeSettings",
    "EjectionSettings",
    "GeoSettings",
    "HealthSettings",
    "Http2Settings",
    "LimitSettings",
    "LlmSettings",
    "PoolSettings",
    "QueueSettings",
    "RateRuleSettings",
    "RateSettings",
    "TimeoutSettings",
    "TlsSettings",
    "endpoint",
]


class CertificateSettings(Settings, frozen=True):
    """PEM files: ``certificate`` with its chain, and its ``key``. ``names`` are by default its own."""

    certificate: str
    key: str
    names: tuple[str, ...] = ()


class TlsSettings(Settings, frozen=True):
    """TLS towards clients on ``listen``; "" offers none.

    The certificate is chosen by the name the client asks for (SNI); a client that asks for no name, or one
    of none of them, gets the first. Files that change are read again within ``reread`` seconds. ``http2``
    offers HTTP/2 beside HTTP/1.1. ``ciphers`` is an OpenSSL list for TLS 1.2; "" OpenSSL's own.
    """

    listen: str = ""
    certificates: tuple[CertificateSettings, ...] = ()
    minimum: Literal["1.2", "1.3"] = "1.2"
    ciphers: str = ""
    http2: bool = True
    reread: Annotated[float, Meta(gt=0, le=86_400)] = 10


class TimeoutSettings(Settings, frozen=True):
    """Seconds: ``head`` for a whole request head, ``body`` and ``answer`` between two pieces.

    ``connect`` is for reaching a backend, ``tls`` for a client's handshake, ``send`` for a client that takes
    nothing of its answer, ``tunnel`` between two pieces of an upgraded connection. ``idle`` is for a
    connection between requests, ``reuse`` for one to a backend (shorter than the backend's own, or a request
    meets a closing connection), ``drain`` for requests in flight at the end.
    """

    connect: Seconds = 3
    tls: Seconds = 8
    head: Seconds = 8
    body: Seconds = 30
    answer: Seconds = 300
    send: Seconds = 60
    tunnel: Seconds = 3600
    idle: Seconds = 75
    reuse: Seconds = 4
    drain: Seconds = 5


class LimitSettings(Settings, frozen=True):
    """Bytes and counts, of each worker. ``inspect_bytes`` of a model call are held to read it.

    All calls held at once share ``inspect_total``; beyond it a call streams on unread. A body has to come
    with ``body_rate`` bytes a second once it has taken longer than ``timeouts.body``.
    ``connections_per_client`` does not bind trusted forwarders.
    """

    head_bytes: Count = 32_768
    headers: Count = 100
    body_bytes: Count = 64 << 20
    body_rate: Switch = 200
    inspect_bytes: Count = 1 << 20
    inspect_total: Count = 256 << 20
    connections: Count = 20_000
    connections_per_client: Count = 2_000
    spool_bytes: Count = 2 << 30


class Http2Settings(Settings, frozen=True):
    """What one HTTP/2 connection may do: ``streams`` at once, and how fast frames may come that move no data.

    Each reset, ping, settings, priority, empty or continuation frame spends one of ``frames``, which come
    back at ``frames_per_second``; a stream that is reset before it was answered costs ten.
    """

    streams: Annotated[int, Meta(ge=1, le=1000)] = 100
    frames: Count = 1_000
    frames_per_second: Count = 100


class EdgeSettings(Settings, frozen=True):
    """``workers`` 0 is one per core. Only ``trusted_forwarders`` (networks) may name the client's address.

    ``backends`` make the pool that takes what no pool of ``[[edge.pools]]`` is for, with ``balance`` and
    ``queue``. ``proxy_protocol``
    says that trusted forwarders begin each connection with a PROXY header (version 1 or 2).
    ``key_headers`` are the headers an API key comes in; only its keyed hash is ever written. ``session``
    names where a session comes in, the first present counts: ``header:NAME`` or ``cookie:NAME``.
    ``upgrades`` are the protocols a client may change to.
    """

    listen: str = "127.0.0.1:8080"
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    backends: tuple[BackendSettings, ...] = ()
    pools: tuple[PoolSettings, ...] = ()
    trusted_forwarders: tuple[str, ...] = ()
    proxy_protocol: bool = False
    key_headers: tuple[str, ...] = ("authorization", "x-api-key")
    session: tuple[str, ...] = ("header:x-session-id", "header:x-conversation-id")
    upgrades: tuple[str, ...] = ("websocket",)
    tls: TlsSettings = TlsSettings()
    rate: RateSettings = RateSettings()
    rates: tuple[RateRuleSettings, ...] = ()
    challenge: ChallengeSettings = ChallengeSettings()
    budgets: tuple[BudgetSettings, ...] = ()
    geo: GeoSettings = GeoSettings()
    llm: LlmSettings = LlmSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    limits: LimitSettings = LimitSettings()
    http2: Http2Settings = Http2Settings()
    health: HealthSettings = HealthSettings()
    ejection: EjectionSettings = EjectionSettings()
    queue: QueueSettings = QueueSettings()
    balance: Literal["round_robin", "least_requests", "session"] = "round_robin"


def endpoint(text: str, *, where: str) -> tuple[str, int]:
    """Host and port of ``text``; ConfigError, naming ``where``, when it is none.

    >>> endpoint("[::1]:8080", where="edge.listen")
    ('::1', 8080)
    """
    match = _ENDPOINT.fullmatch(text)
    if not match or int(match[3]) > 65_535:
        raise ConfigError(f"not an address: {text!r}", where=where, hint='write "127.0.0.1:8080"')
    return match[1] or match[2], int(match[3])
