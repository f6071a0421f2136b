"""Settings of backends and pools: ``[[edge.backends]]``, ``[[edge.pools]]`` and how backends are watched."""

from typing import Annotated, Literal

from msgspec import Meta

from deepmoat.kit.settings import Settings

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
SecondsOrOff = Annotated[float, Meta(ge=0, le=86_400)]
Count = Annotated[int, Meta(ge=1)]
CountOrOff = Annotated[int, Meta(ge=0)]


class BackendTlsSettings(Settings, frozen=True):
    """TLS towards a backend. ``ca`` is a PEM file of whom to believe; "" believes whom the system does.

    ``server_name`` is the name asked for and checked; "" the host of ``address``. ``verify = false`` takes
    any certificate: whoever can stand between reads everything. ``certificate`` and ``key`` are PEM files
    that say who we are, where the backend wants to know.
    """

    ca: str = ""
    server_name: str = ""
    verify: bool = True
    certificate: str = ""
    key: str = ""


class BackendSettings(Settings, frozen=True):
    """One model backend. ``health`` is a path that answers 200-399 when it is well; "" only connects.

    A backend of ``weight`` 2 gets twice the share of one of weight 1. At most ``max_requests`` are in flight
    at it, over all workers together; what is more waits (``queue``). 0 sets no limit. With ``tls`` it is
    spoken to in TLS. Several pools may name one address: its weight may differ, the rest must not.
    """

    address: str
    health: str = ""
    weight: Annotated[int, Meta(ge=1, le=1_000)] = 1
    max_requests: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    tls: BackendTlsSettings | None = None


class HealthSettings(Settings, frozen=True):
    """Backends are asked every ``every`` seconds; ``fall`` failures eject, ``rise`` successes return.

    No answer within ``timeout`` seconds is a failure.
    """

    every: Seconds = 2
    fall: Count = 2
    rise: Count = 1
    timeout: Seconds = 3


class EjectionSettings(Settings, frozen=True):
    """A backend that fails ``failures`` requests in a row is left out for ``seconds``.

    Each worker counts for itself. Each further time is twice as long, up to ``longest``; after ``longest``
    seconds without one it begins anew. Never is more than the share ``most`` of a pool left out, and never
    the last one that is usable. Over ``slow_start`` seconds the share of a backend that comes back (here,
    by its health, after a drain, or new by a reload) grows from a tenth to the whole. 0 switches each of
    them off; ``longest = 0`` the doubling.
    """

    failures: CountOrOff = 5
    seconds: SecondsOrOff = 10
    longest: SecondsOrOff = 300
    most: Annotated[float, Meta(ge=0, le=1)] = 0.5
    slow_start: SecondsOrOff = 20


class QueueSettings(Settings, frozen=True):
    """Who waits when every backend has its ``max_requests``: ``most`` requests in each worker.

    Of one API key (without one, client address) ``most_per_key``, for at most ``seconds``. Keys take turns,
    however many requests each has waiting. ``most = 0``: nobody waits.
    """

    most: CountOrOff = 1_000
    most_per_key: Count = 100
    seconds: Seconds = 30


class PoolSettings(Settings, frozen=True):
    """Backends that do the same, and which requests are for them: the first pool that matches takes one.

    A request must match each of ``hosts``, ``paths`` and ``models`` that is not empty. Hosts are names, or
    ``*.example.com`` for all below ``example.com``. Paths are prefixes that end between two segments:
    ``/v1`` takes ``/v1/chat``, not ``/v10``. Models are the names that model calls ask for; ``*`` stands for
    any characters; a request that names no model matches none.

    All ways to ``balance`` honour weights: ``round_robin`` takes turns; ``least_requests`` asks the backend
    with the fewest requests of this worker in flight; ``session`` sends a conversation where it went before,
    while that backend is there and has room. ``most_load`` bounds how many times its share of all requests
    in flight such a backend takes before conversations move on to their second choice; 0 sets no bound.
    Names of backends are resolved again every ``resolve`` seconds.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    balance: Literal["round_robin", "least_requests", "session"] = "round_robin"
    most_load: Annotated[float, Meta(ge=0, le=100)] = 1.5
    backends: tuple[BackendSettings, ...] = ()
    queue: QueueSettings = QueueSettings()
    resolve: Seconds = 10
