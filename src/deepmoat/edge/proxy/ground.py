"""Ground: what a policy is made on (the secret, memory shared with other workers), and the making of it."""

import mmap
from collections.abc import Callable
from pathlib import Path

import msgspec

from deepmoat.edge.balance.balancer import Balancer
from deepmoat.edge.balance.inflight import InFlight
from deepmoat.edge.balance.settings import PoolSettings
from deepmoat.edge.guard.guard import Guard
from deepmoat.edge.llm.endpoint import Endpoints
from deepmoat.edge.llm.prices import Prices
from deepmoat.edge.proxy.policy import Policy
from deepmoat.edge.settings import EdgeSettings
from deepmoat.kit.errors import ConfigError

Memory = Callable[[str, int], mmap.mmap]
"""From a name and a size in bytes to memory that all workers share under that name."""


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """Worker ``worker`` of ``workers``. What is ``shared`` ends with them, ``persistent`` memory does not."""

    secret: bytes
    shared: Memory
    persistent: Memory
    workers: int = 1
    worker: int = 0


def private_ground() -> Ground:
    """Ground for trying settings out: nobody else sees it."""
    return Ground(secret=bytes(32), shared=_private, persistent=_private)


def _private(_: str, size: int) -> mmap.mmap:
    return mmap.mmap(-1, size)


def make_policy(settings: EdgeSettings, ground: Ground, now: float, before: Policy | None = None) -> Policy:
    """What ``settings`` say, with what ``before`` knows of clients and backends. ``now`` is monotonic.

    Raises ConfigError for settings that cannot be used.
    """
    pools = settings.pools
    if settings.backends:
        rest = PoolSettings(
            name="default", backends=settings.backends, queue=settings.queue, balance=settings.balance
        )
        pools = (*pools, rest)
    endpoints = Endpoints(settings.llm)
    prices = _prices(settings.llm.prices)
    if before is not None:
        balancer = before.balancer.successor(
            pools, health=settings.health, ejection=settings.ejection, now=now
        )
        guard = before.guard.successor(settings, endpoints.find)
    else:
        memory = ground.shared("flights", InFlight.size(ground.workers))
        flights = InFlight(memory, ground.workers, ground.worker)
        balancer = Balancer(
            pools, health=settings.health, ejection=settings.ejection, flights=flights, now=now
        )
        guard = Guard(
            settings,
            secret=ground.secret,
            shared=ground.shared,
            persistent=ground.persistent,
            workers=ground.workers,
            worker=ground.worker,
            find=endpoints.find,
        )
    return Policy(
        settings, secret=ground.secret, endpoints=endpoints, guard=guard, balancer=balancer, prices=prices
    )


def _prices(file: str) -> Prices:
    if not file:
        return Prices.load()
    try:
        return Prices.load(Path(file).read_text("utf-8"), where=file)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot be read: {exc}", where=f"[edge.llm] prices: {file}") from exc
