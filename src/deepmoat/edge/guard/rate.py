"""Rates: one token bucket a client, for a bounded number of clients."""

from collections import OrderedDict
from math import ceil

from deepmoat.edge.guard.bucket import Bucket
from deepmoat.model import Request, Verdict


class Buckets:
    """Buckets by key; the one unused longest makes room when ``most`` are held.

    A client that is forgotten starts again with a full burst: with the limit of clients well above
    the number of addresses a flood uses, that is no way around it.
    """

    def __init__(self, rate: float, burst: float, most: int) -> None:
        self.rate, self.burst, self.most = rate, burst, most
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        """Spend one of ``key``'s tokens; False when it has none left."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self.burst, now)
            if len(self._buckets) > self.most:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket.take(now, self.rate, self.burst)

    def __len__(self) -> int:
        return len(self._buckets)


class RateLimit:
    """The check: a client above its rate is told to come back later."""

    def __init__(self, rate: float, burst: float, clients: int) -> None:
        """``rate`` requests a second and client, at most ``burst`` at once; 0 limits nobody."""
        self.on = rate > 0
        self._buckets = Buckets(rate, burst, clients)
        self._limited = Verdict("limit", "rate", "too many requests", 429, ceil(1 / rate) if rate else 0)

    def check(self, request: Request, now: float) -> Verdict | None:
        """``limit`` for a client whose tokens are spent, else no opinion."""
        if not self.on or self._buckets.take(request.client_address, now):
            return None
        return self._limited
