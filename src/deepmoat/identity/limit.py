"""Limits: how often an address may fail to sign in, and how many queries one visitor runs at once.

Both take ``now`` or nothing, and both need memory that a stranger cannot make grow.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address

from deepmoat.kit.errors import PeerError

TRACKED = 10_000
"""Addresses remembered; the one that failed longest ago goes first."""


class _Bucket:
    """Tokens that come back with time."""

    __slots__ = ("at", "level")

    def __init__(self, level: float, at: float) -> None:
        self.level, self.at = level, at

    def refill(self, now: float, rate: float, burst: float) -> None:
        self.level = min(burst, self.level + max(0.0, now - self.at) * rate)
        self.at = now


class Attempts:
    """Failed attempts by address (IPv6 by /64) and in all. A success costs nothing."""

    def __init__(
        self, *, address_burst: int, address_seconds: float, total_burst: int, total_rate: float
    ) -> None:
        """Rates as in IdentitySettings."""
        self._burst, self._rate = float(address_burst), 1.0 / address_seconds
        self._total_burst, self._total_rate = float(total_burst), total_rate
        self._total = _Bucket(self._total_burst, 0.0)
        self._by_address: OrderedDict[str, _Bucket] = OrderedDict()

    def check(self, address: str, now: float) -> None:
        """PeerError 429 when ``address``, or everyone together, has failed too often of late."""
        bucket = self._by_address.get(network(address))
        if bucket:
            bucket.refill(now, self._rate, self._burst)
        self._total.refill(now, self._total_rate, self._total_burst)
        if (bucket and bucket.level < 1) or self._total.level < 1:
            raise PeerError(
                "too many failed attempts to sign in",
                status=429,
                where=address,
                hint="wait a minute and try again",
            )

    def failed(self, address: str, now: float) -> None:
        """Remember one failure."""
        name = network(address)
        bucket = self._by_address.pop(name, None) or _Bucket(self._burst, now)
        bucket.refill(now, self._rate, self._burst)
        bucket.level = max(0.0, bucket.level - 1)
        self._by_address[name] = bucket
        while len(self._by_address) > TRACKED:
            self._by_address.popitem(last=False)
        self._total.refill(now, self._total_rate, self._total_burst)
        self._total.level = max(0.0, self._total.level - 1)

    def __len__(self) -> int:
        return len(self._by_address)


class Quota:
    """At most ``most`` things at once for each visitor. Use from one thread (the loop's)."""

    def __init__(self, most: int) -> None:
        """``most`` running at once."""
        self.most = most
        self._running: dict[str, int] = {}

    @contextmanager
    def slot(self, visitor: str) -> Iterator[None]:
        """Hold one of the visitor's places; PeerError 429 when all are taken."""
        running = self._running.get(visitor, 0)
        if running >= self.most:
            raise PeerError(
                f"{running} queries of yours are running already",
                status=429,
                hint="wait for one to end, or narrow its time range",
            )
        self._running[visitor] = running + 1
        try:
            yield
        finally:
            self._running[visitor] -= 1
            if not self._running[visitor]:
                del self._running[visitor]


def network(address: str) -> str:
    """What one stranger can hold: an IPv4 address, or a /64 of IPv6.

    >>> network("192.0.2.1"), network("2001:db8::1"), network("no")
    ('192.0.2.1', '2001:db8::/64', 'no')
    """
    try:
        value = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if not isinstance(value, IPv6Address):
        return str(value)
    if value.ipv4_mapped:
        return str(value.ipv4_mapped)
    return f"{IPv6Address(int(value) >> 64 << 64)}/64"
