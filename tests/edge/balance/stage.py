"""What the balance tests are made of: pools in one line, and a client that remembers what it was told."""

from collections import Counter
from typing import Any

from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.balance.balancer import Ask, Balancer, Pool
from deepmoat.edge.balance.inflight import InFlight
from deepmoat.edge.balance.settings import (
    BackendSettings,
    EjectionSettings,
    HealthSettings,
    PoolSettings,
)

OFF = EjectionSettings(failures=0, slow_start=0)


class Client:
    """A waiter; ``told`` is what it was told last."""

    def __init__(self, name: str = "", log: list[str] | None = None) -> None:
        self.name, self.log = name, log
        self.told: Backend | str | None = None
        self.calls = 0

    def admitted(self, backend: Backend) -> None:
        self.told, self.calls = backend, self.calls + 1
        if self.log is not None:
            self.log.append(self.name)

    def turned_away(self, reason: str) -> None:
        self.told, self.calls = reason, self.calls + 1


def pool_of(*backends: BackendSettings | str, name: str = "pool", **rest: Any) -> PoolSettings:
    """A pool; "a", "b:2" or "c:2:8" is a backend, its weight, and its most requests."""
    return PoolSettings(name=name, backends=tuple(map(_backend, backends)), **rest)


def _backend(said: BackendSettings | str) -> BackendSettings:
    if not isinstance(said, str):
        return said
    name, weight, limit = [*said.split(":"), *("", "1", "0")[1 + said.count(":") :]]
    return BackendSettings(address=f"{name}:80", weight=int(weight), max_requests=int(limit))


def balancer_of(
    *pools: PoolSettings, ejection: EjectionSettings = OFF, flights: InFlight | None = None
) -> Balancer:
    return Balancer(
        pools, health=HealthSettings(), ejection=ejection, flights=flights or InFlight.alone(), now=0.0
    )


def backend(balancer: Balancer, name: str) -> Backend:
    return next(b for b in balancer.backends if b.host == name)


def ask(pool: Pool, client: Client | None = None, *, now: float = 0.0, **rest: Any) -> Ask:
    client = client or Client()
    return pool.ask(client, key=rest.pop("key", "k"), session=rest.pop("session", ""), now=now, **rest)


def got(pool: Pool, **rest: Any) -> Backend:
    """The backend a request gets at once."""
    found = ask(pool, **rest)
    assert isinstance(found, Backend)
    return found


def one(pool: Pool, *, now: float = 0.0, **rest: Any) -> str:
    """A request that is over at once: the host that got it."""
    found = got(pool, now=now, **rest)
    pool.done(found, "ok", now)
    return found.host


def shares(pool: Pool, requests: int, *, now: float = 0.0) -> Counter[str]:
    return Counter(one(pool, now=now) for _ in range(requests))


def fail(pool: Pool, name: str, times: int, *, now: float) -> None:
    """Requests that fail at backend ``name``."""
    others = [seat.backend for seat in pool.members if seat.backend.host != name]
    for _ in range(times):
        pool.done(got(pool, avoid=others, now=now), "failed", now)
