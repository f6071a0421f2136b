"""Balancer: all pools and backends of a worker, which pool a request is for, and what time changes."""

from collections.abc import Collection, Sequence
from functools import lru_cache

from deepmoat.edge.balance.backend import Backend, same, split_address
from deepmoat.edge.balance.ejection import Ejection
from deepmoat.edge.balance.health import Health
from deepmoat.edge.balance.inflight import InFlight
from deepmoat.edge.balance.method import Seat
from deepmoat.edge.balance.pool import Ask, Lobby, Outcome, Pool, Waiter
from deepmoat.edge.balance.route import Selector, host_name
from deepmoat.edge.balance.settings import BackendSettings, EjectionSettings, HealthSettings, PoolSettings
from deepmoat.kit.errors import ConfigError

__all__ = ["Ask", "Balancer", "Outcome", "Pool", "Waiter"]
_ROUTES = 4096
_LONGEST = 512


class Balancer:
    """``backends`` are all there are, each address once. Times are monotonic seconds.

    A reload makes a ``successor``; whoever still waits in the old one's pools is served by the new one's
    ``tick``, and requests under way end at the pool they asked.
    """

    def __init__(
        self,
        pools: Sequence[PoolSettings],
        *,
        health: HealthSettings,
        ejection: EjectionSettings,
        flights: InFlight,
        now: float,
        before: "Balancer | None" = None,
    ) -> None:
        """Raises ConfigError: a pool's name twice or no backend in it, a bad address or selector.

        With ``before`` it is that one's successor.
        """
        wanted = _distinct(pools)
        selectors = [Selector(pool) for pool in pools]
        keeper = before.ejection if before is not None else Ejection(ejection)
        found = _backends(wanted, health, keeper, flights, before.backends if before is not None else ())
        # Nothing that is in use was touched until here, and nothing fails from here on.
        self.flights = flights
        self.lobby: Lobby = before.lobby if before is not None else Lobby()
        self.ejection: Ejection = keeper
        self.backends: tuple[Backend, ...] = tuple(found.values())
        self.pools = tuple(
            Pool(
                settings,
                [Seat(found[backend.address], backend.weight) for backend in settings.backends],
                ejection=keeper,
                lobby=self.lobby,
                start=flights.worker + 1,
            )
            for settings in pools
        )
        self._routes = tuple(zip(selectors, self.pools, strict=True))
        self._whole = self.pools[0] if self.pools and selectors[0].takes_all else None
        self.by_model = any(selector.by_model for selector in selectors)
        self._cached = lru_cache(_ROUTES)(self._find)
        self._drained: frozenset[str] = before._drained if before is not None else frozenset()
        keeper.settings = ejection
        for backend in self.backends:
            self._adopt(backend, wanted[backend.address], health, now)
        if before is not None:
            known = {backend.address for backend in before.backends}
            for backend in self.backends:
                if backend.address not in known:
                    keeper.returned(backend, now)
        flights.keep(backend.address for backend in self.backends if backend.limit)
        keeper.changed()

    def _adopt(self, backend: Backend, settings: BackendSettings, health: HealthSettings, now: float) -> None:
        mates = ([seat.backend for seat in pool.members] for pool in self.pools)
        backend.peers = tuple(pool for pool in mates if backend in pool)
        backend.settings = settings
        backend.health.fall, backend.health.rise = health.fall, health.rise
        backend.drained = backend.address in self._drained
        backend.settle(now)

    def successor(
        self,
        pools: Sequence[PoolSettings],
        *,
        health: HealthSettings,
        ejection: EjectionSettings,
        now: float,
    ) -> "Balancer":
        """The balancer for new settings. Raises ConfigError as ``__init__`` does, and then changes nothing.

        Backends with the same address and settings are the same objects: their health, ejections and
        requests in flight go on. Backends with a new address begin slowly.
        """
        return Balancer(pools, health=health, ejection=ejection, flights=self.flights, now=now, before=self)

    def route(self, host: str, path: str, model: str = "") -> Pool | None:
        """The first pool that takes such a request; ``host`` with or without a port, ``path`` normalised."""
        if self._whole is not None:
            return self._whole
        if len(host) + len(path) + len(model) > _LONGEST:
            return self._find(host, path, model)
        return self._cached(host, path, model)

    def drain(self, addresses: Collection[str]) -> None:
        """From now on exactly these get no new requests; requests under way end as they would.

        Of the others, those that were drained come back, slowly, at the next ``tick``. An address that is
        of no backend counts as soon as a reload brings one.
        """
        self._drained = frozenset(addresses)
        for backend in self.backends:
            backend.drained = backend.address in self._drained
            if backend.drained:
                backend.settle(0.0)  # the time is of no account for one that goes
        self.ejection.changed()

    def tick(self, now: float) -> None:
        """Do what is due: end ejections, let shares grow, admit and turn away those who wait.

        Call it a few times a second, and every 20 ms or so while ``waiting``: other workers do not tell when
        they free a place.
        """
        self.ejection.tick(self.backends, now)
        for old in [pool for pool in self.lobby.pools if pool not in self.pools]:
            self.ejection.tick((seat.backend for seat in old.members), now)
            old.tick(now)
        for pool in self.pools:
            pool.tick(now)

    @property
    def waiting(self) -> int:
        """How many requests wait, in all pools of this worker, those of before a reload included."""
        return self.lobby.waiting

    def _find(self, host: str, path: str, model: str) -> Pool | None:
        name = host_name(host)
        return next((pool for selector, pool in self._routes if selector.matches(name, path, model)), None)


def _backends(
    wanted: dict[str, BackendSettings],
    health: HealthSettings,
    keeper: Ejection,
    flights: InFlight,
    former: Collection[Backend],
) -> dict[str, Backend]:
    """A backend for each address: the former one where nothing about it has changed."""
    old = {backend.address: backend for backend in former}
    found: dict[str, Backend] = {}
    for address, settings in wanted.items():
        backend = old.get(address)
        if backend is None or not same(backend.settings, settings):
            well = Health(health.fall, health.rise)
            backend = Backend(settings, health=well, keeper=keeper, flights=flights)
        found[address] = backend
    return found


def _distinct(pools: Sequence[PoolSettings]) -> dict[str, BackendSettings]:
    """The settings of each address. Raises ConfigError for whatever cannot be meant."""
    names: set[str] = set()
    found: dict[str, BackendSettings] = {}
    for pool in pools:
        where = f"pool {pool.name!r}"
        if pool.name in names:
            raise ConfigError("another pool has this name", where=where)
        names.add(pool.name)
        if not pool.backends:
            raise ConfigError("it has no backends", where=where, hint="name one in [[edge.pools.backends]]")
        if len({backend.address for backend in pool.backends}) < len(pool.backends):
            raise ConfigError("it names a backend twice", where=where, hint="give it a weight instead")
        for backend in pool.backends:
            _check(backend, found.setdefault(backend.address, backend), where)
    return found


def _check(backend: BackendSettings, first: BackendSettings, where: str) -> None:
    split_address(backend.address)
    if not same(backend, first):
        raise ConfigError(
            f"another pool has other settings for {backend.address!r}",
            where=where,
            hint="only the weight may differ",
        )
    tls = backend.tls
    if tls is not None and bool(tls.certificate) != bool(tls.key):
        raise ConfigError(
            f"certificate and key of {backend.address!r} go together", where=where, hint="name both files"
        )
    if backend.health and not backend.health.startswith("/"):
        raise ConfigError(f"a path begins with /: {backend.health!r}", where=where)
