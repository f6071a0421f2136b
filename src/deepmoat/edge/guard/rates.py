"""Rates: how much the same client, key, path … may do in a while, counted over all workers.

``Rate`` is the one limit of ``[edge.rate]``, ``RateRule`` one of ``[[edge.rates]]``.
"""

from deepmoat.edge.guard.challenge import Challenge
from deepmoat.edge.guard.counters import Arrivals, Counters, Memory, size, whole_seconds
from deepmoat.edge.guard.fields import Read, joined
from deepmoat.edge.guard.settings import RateRuleSettings, RateSettings
from deepmoat.edge.guard.table import sets_for
from deepmoat.model import Request, Verdict

_REASONS = {
    "requests": "too many requests",
    "connections": "too many connections",
    "bytes": "too many bytes",
}


class Rate:
    """The check: a client above its rate is told when to come back."""

    def __init__(
        self, settings: RateSettings, memory: Memory, *, workers: int, worker: int, secret: bytes
    ) -> None:
        """``settings.requests_per_second`` is above 0."""
        self._arrivals = Arrivals(
            memory,
            "rate",
            rate=settings.requests_per_second,
            burst=settings.burst,
            keys=settings.clients,
            workers=workers,
            worker=worker,
            secret=secret,
        )

    def check(self, request: Request, now: float) -> Verdict | None:
        """``limit`` for a client that has had its burst, else no opinion."""
        wait = self._arrivals.spend(request.client_address, now)
        if not wait:
            return None
        return Verdict("limit", "rate", "too many requests", 429, whole_seconds(wait))


class RateRule:
    """One rule. Its sum holds over all workers; two that ask in the same microsecond may both pass."""

    def __init__(
        self,
        settings: RateRuleSettings,
        memory: Memory,
        *,
        workers: int,
        worker: int,
        secret: bytes,
        known: dict[str, Read],
        challenge: Challenge,
    ) -> None:
        """``known`` reads each of ``settings.by``."""
        self.settings, self._challenge = settings, challenge
        sets = sets_for(settings.keys)
        self._counters = Counters(
            memory(f"rate-{settings.name}", size(workers, sets)),
            sets=sets,
            workers=workers,
            worker=worker,
            seconds=settings.seconds,
            secret=secret,
        )
        self._key = joined(settings.by, known)
        self._all = not (settings.hosts or settings.paths)
        self._rule, self._reason = f"rate/{settings.name}", _REASONS[settings.unit]
        self._limit = settings.limit

    def check(self, request: Request, now: float) -> Verdict | None:
        """A rule for requests counts one, if it may pass."""
        if not (self._all or self._applies(request)):
            return None
        key = self._key(request)
        wait = self._counters.spend(key, 1.0, self._limit, now)
        return self._refuse(request, key, wait, now) if wait else None

    def check_bytes(self, request: Request, now: float) -> Verdict | None:
        """A rule for bytes only looks: what will be sent is known afterwards (``sent``)."""
        if not (self._all or self._applies(request)):
            return None
        key = self._key(request)
        wait = self._counters.delay(key, self._limit - 1, now)  # at the limit is over: no byte more fits
        return self._refuse(request, key, wait, now) if wait else None

    def sent(self, request: Request, amount: float, now: float) -> None:
        """Count ``amount`` bytes of an answer."""
        if self._all or self._applies(request):
            self._counters.add(self._key(request), amount, now)

    def _applies(self, request: Request) -> bool:
        settings = self.settings
        if settings.hosts and request.host not in settings.hosts:
            return False
        return not settings.paths or request.path.startswith(settings.paths)

    def _refuse(self, request: Request, key: str, wait: float, now: float) -> Verdict | None:
        settings = self.settings
        if settings.then == "challenge":
            verdict = self._challenge.ask(request, now, self._rule, self._reason)
            if verdict is None:
                return None  # a person who showed patience
        elif settings.then == "block":
            verdict = Verdict("block", self._rule, self._reason, 403)
        else:
            verdict = None
        if settings.block_seconds and not self._counters.refused(key, now):
            self._counters.refuse(key, now + settings.block_seconds, now)
            wait = max(wait, settings.block_seconds)
        return verdict or Verdict("limit", self._rule, self._reason, 429, whole_seconds(wait))
