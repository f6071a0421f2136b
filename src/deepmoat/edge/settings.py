"""Settings of the edge: section ``[edge]`` of moat.toml."""

import re
from typing import Annotated

from msgspec import Meta

from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=1)]
_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})")


class BackendSettings(Settings, frozen=True):
    """One model backend. ``health`` is a path that answers 200-399 when it is well; "" only connects."""

    address: str
    health: str = ""


class RateSettings(Settings, frozen=True):
    """Requests a second one client may make, in each worker; 0 sets no limit.

    Off unless asked for: behind a load balancer that is not yet among ``trusted_forwarders`` all
    clients share one address, and a limit nobody chose would refuse the whole service.
    """

    requests_per_second: Annotated[float, Meta(ge=0)] = 0
    burst: Count = 400
    clients: Count = 100_000


class TimeoutSettings(Settings, frozen=True):
    """Seconds: ``head`` for a whole request head, ``body`` and ``answer`` between two pieces.

    ``idle`` is for a connection between requests, ``reuse`` for one to a backend (shorter than the
    backend's own, or a request meets a closing connection), ``drain`` for requests in flight at the end.
    """

    connect: Seconds = 3
    head: Seconds = 8
    body: Seconds = 30
    answer: Seconds = 300
    idle: Seconds = 75
    reuse: Seconds = 4
    drain: Seconds = 5


class LimitSettings(Settings, frozen=True):
    """Bytes and counts. ``inspect_bytes`` of a body are kept to read a model call; the rest streams by."""

    head_bytes: Count = 32_768
    headers: Count = 100
    body_bytes: Count = 64 << 20
    inspect_bytes: Count = 1 << 20
    connections: Count = 20_000
    spool_bytes: Count = 2 << 30


class HealthSettings(Settings, frozen=True):
    """Backends are asked every ``every`` seconds; ``fall`` failures eject, ``rise`` successes return."""

    every: Seconds = 2
    fall: Count = 2
    rise: Count = 1


class EdgeSettings(Settings, frozen=True):
    """``workers`` 0 is one per core. Only ``trusted_forwarders`` (networks) may name the client's address.

    ``key_headers`` are the headers an API key comes in; only its keyed hash is ever written.
    """

    listen: str = "127.0.0.1:8080"
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    backends: tuple[BackendSettings, ...] = ()
    trusted_forwarders: tuple[str, ...] = ()
    key_headers: tuple[str, ...] = ("authorization", "x-api-key")
    rate: RateSettings = RateSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    limits: LimitSettings = LimitSettings()
    health: HealthSettings = HealthSettings()


def endpoint(text: str, *, where: str) -> tuple[str, int]:
    """Host and port of ``text``; ConfigError, naming ``where``, when it is none.

    >>> endpoint("[::1]:8080", where="edge.listen")
    ('::1', 8080)
    """
    match = _ENDPOINT.fullmatch(text)
    if not match or int(match[3]) > 65_535:
        raise ConfigError(f"not an address: {text!r}", where=where, hint='write "127.0.0.1:8080"')
    return match[1] or match[2], int(match[3])
