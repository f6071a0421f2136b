"""Backend: one place to send requests to, what is known of it, and whether it may be asked now."""

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Literal, Protocol

import msgspec

from deepmoat.edge.balance.health import Health
from deepmoat.edge.balance.inflight import InFlight, Slot
from deepmoat.edge.balance.settings import BackendSettings
from deepmoat.kit.errors import ConfigError

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")
WHOLE = 10
"""The full ``share`` of a backend; one that has just come back begins with 1."""


class Keeper(Protocol):
    """Who is told when a backend may be asked, or no longer."""

    def changed(self) -> None:
        """Whom to ask must be worked out anew."""

    def returned(self, backend: "Backend", now: float) -> None:
        """``backend`` may be asked again."""


class Backend:
    """``address`` is its name in logs and metrics; compared by identity.

    ``in_flight`` counts requests of this worker. ``usable`` is healthy, not ejected and not drained.
    ``ejected_until`` is 0 while it is not ejected. ``addresses`` are IP texts that the host resolves to.
    ``peers`` are the pools it is in, this backend among them.
    A plain class: it is written to with every request.
    """

    __slots__ = (
        "_turn",
        "_waited",
        "address",
        "addresses",
        "back_at",
        "drained",
        "ejected_until",
        "ejections",
        "flights",
        "health",
        "host",
        "in_flight",
        "keeper",
        "limit",
        "peers",
        "port",
        "settings",
        "share",
        "slot",
        "streak",
        "usable",
    )

    def __init__(
        self, settings: BackendSettings, *, health: Health, keeper: Keeper, flights: InFlight
    ) -> None:
        """Raises ConfigError when ``settings.address`` is no address, or there is no room to count for it."""
        self.settings, self.health, self.keeper, self.flights = settings, health, keeper, flights
        self.address = settings.address
        self.host, self.port = split_address(settings.address)
        self.limit = settings.max_requests
        self.slot: Slot | None = flights.slot(self.address) if self.limit else None
        self.addresses: tuple[str, ...] = (self.host,) if _is_ip(self.host) else ()
        self.drained, self.usable = False, True
        self.in_flight = self.streak = self.ejections = 0
        self.share = WHOLE
        self.ejected_until = 0.0
        self.back_at = float("-inf")
        self.peers: tuple[Collection[Backend], ...] = ()
        self._turn = self._waited = 0

    def __repr__(self) -> str:
        return f"<Backend {self.address}>"

    def next_address(self) -> str:
        """The IP to connect to, in turn; the host's name while it is not resolved."""
        addresses = self.addresses
        if not addresses:
            return self.host
        self._turn += 1
        return addresses[self._turn % len(addresses)]

    def take(self, now: float) -> bool:
        """Count a request in flight if there is room for it; ``now`` in monotonic seconds."""
        slot = self.slot
        if slot is not None and not self.flights.take(slot, self.limit, now):
            return False
        self.in_flight += 1
        return True

    def done(self) -> None:
        """A request that was counted has ended."""
        self.in_flight -= 1
        if self.slot is not None:
            self.flights.done(self.slot)

    def wait(self, change: int) -> None:
        """One pool more (1) or less (-1) has requests waiting that this backend could take."""
        self._waited += change
        if self.slot is not None:
            self.flights.wait(self.slot, self.usable and self._waited > 0)

    @property
    def state(self) -> Literal["well", "starting", "ejected", "down", "drained"]:
        """In a word: gets its share, grows up to it, or why it gets no new requests."""
        if self.drained:
            return "drained"
        if not self.health.healthy:
            return "down"
        if self.ejected_until:
            return "ejected"
        return "well" if self.share == WHOLE else "starting"

    def total(self) -> int:
        """Requests in flight: of all workers where it has a limit, else of this one."""
        return self.in_flight if self.slot is None else self.flights.total(self.slot)

    def probed(self, well: bool, now: float) -> None:  # noqa: FBT001
        """What a health check found."""
        if well:
            self.health.succeeded()
        else:
            self.health.failed()
        self.settle(now)

    def settle(self, now: float) -> None:
        """See whether it may be asked; who comes back is told to the keeper."""
        usable = self.health.healthy and not self.drained and not self.ejected_until
        if usable is self.usable:
            return
        self.usable = usable
        self.wait(0)
        self.keeper.changed()
        if usable:
            self.keeper.returned(self, now)


def same(one: BackendSettings, two: BackendSettings) -> bool:
    """Are they the same backend, treated the same? Weights belong to pools and may differ."""
    return msgspec.structs.replace(one, weight=1) == msgspec.structs.replace(two, weight=1)


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``text``. Raises ConfigError when it is no address.

    >>> split_address("[::1]:8000"), split_address("gpu-3.internal:443")
    (('::1', 8000), ('gpu-3.internal', 443))
    """
    match = _ADDRESS.fullmatch(text)
    if not match or not 0 < int(match[3]) <= 65_535 or (match[1] and not _is_ip(match[1])):
        raise ConfigError(
            f"not an address: {text!r}", where="a backend's address", hint='write "127.0.0.1:9000"'
        )
    return match[1] or match[2], int(match[3])


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
