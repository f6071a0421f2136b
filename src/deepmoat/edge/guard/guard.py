"""Guard: all that decides who may pass, as one worker has it.

It is built once and again on a reload (``successor``). Which checks there are, and in which order, says
``edge/chain.py``, from the parts that are public here.
"""

from typing import Any, Protocol

import msgspec

from deepmoat.edge.guard.actions import InForce, slow_clients
from deepmoat.edge.guard.budgets import Budget, Called
from deepmoat.edge.guard.challenge import HEADERS, Challenge, Find
from deepmoat.edge.guard.counters import Arrivals, Memory
from deepmoat.edge.guard.fields import Read, headers_of, readers
from deepmoat.edge.guard.geo import asn_lookup
from deepmoat.edge.guard.rates import Rate, RateRule
from deepmoat.edge.guard.settings import (
    BudgetSettings,
    ChallengeSettings,
    GeoSettings,
    RateRuleSettings,
    RateSettings,
)
from deepmoat.kit.errors import ConfigError
from deepmoat.model import Request, Verdict


class GuardSettings(Protocol):
    """The settings that are the guard's; ``EdgeSettings`` has them."""

    @property
    def rate(self) -> RateSettings:
        """``[edge.rate]``."""

    @property
    def rates(self) -> tuple[RateRuleSettings, ...]:
        """``[[edge.rates]]``."""

    @property
    def challenge(self) -> ChallengeSettings:
        """``[edge.challenge]``."""

    @property
    def budgets(self) -> tuple[BudgetSettings, ...]:
        """``[[edge.budgets]]``."""

    @property
    def geo(self) -> GeoSettings:
        """``[edge.geo]``."""


class Place(msgspec.Struct, frozen=True):
    """Where a guard's numbers are: memory of this run, memory that outlives it, and whose turn we are."""

    shared: Memory
    persistent: Memory
    workers: int
    worker: int
    secret: bytes


class Guard:
    """The parts, built from settings. Times are seconds since 1970."""

    def __init__(
        self,
        settings: GuardSettings,
        *,
        secret: bytes,
        shared: Memory,
        persistent: Memory,
        workers: int,
        worker: int,
        find: Find | None = None,
        actions: InForce | None = None,
    ) -> None:
        """``secret`` is the same in all workers. ``shared`` and ``persistent`` map memory by name and size.

        ``worker`` is 0 to ``workers`` - 1. ``find`` knows model calls by method, host and path (without it,
        those of the known APIs); ``actions`` are in force already. Raises ConfigError for settings that
        cannot be used, what ``shared`` raises when memory cannot be had.
        """
        self._place = Place(shared, persistent, workers, worker, secret)
        known = readers(asn_lookup(settings.geo.asn_file))
        _check(settings, known)
        self.challenge = Challenge(settings.challenge, secret, find)
        self.wants_state = False
        """Has core to tell all actions again, because other fields can be seen now? Then connect anew."""
        if actions is None:
            actions = InForce(known, self.challenge, self._limiter)
        else:
            self.wants_state = actions.adopt(known, self.challenge)
        self.actions = actions
        counted: Any = {"workers": workers, "worker": worker, "secret": secret}
        self.rate = Rate(settings.rate, shared, **counted) if settings.rate.requests_per_second else None
        self.rules = tuple(
            RateRule(rule, shared, known=known, challenge=self.challenge, **counted)
            for rule in settings.rates
        )
        self.budgets = tuple(Budget(budget, persistent, **counted) for budget in settings.budgets)
        self._connections = tuple(r for r in self.rules if r.settings.unit == "connections")
        self._bytes = tuple(r for r in self.rules if r.settings.unit == "bytes")
        self._headers = _headers(settings)

    @property
    def headers(self) -> frozenset[bytes]:
        """Lower-case names of headers that a Request must hold now: orders in force change it."""
        return self._headers | self.actions.headers if self.actions.headers else self._headers

    @property
    def counts_bytes(self) -> bool:
        """Does anybody want to hear ``sent``?"""
        return bool(self._bytes)

    def connected(self, address: str, now: float) -> Verdict | None:
        """What the rules for connections say to a new one from ``address``; close it, where it is refused."""
        if not self._connections:
            return None
        request = Request(address, "", "")
        verdicts = (rule.check(request, now) for rule in self._connections)
        return next((verdict for verdict in verdicts if verdict), None)

    def sent(self, request: Request, size: int, now: float) -> None:
        """``size`` bytes of the answer to ``request`` went to the client."""
        for rule in self._bytes:
            rule.sent(request, size, now)

    def spend(self, request: Request, call: Called, tokens: float, money: float, now: float) -> None:
        """A call is over and used ``tokens`` and ``money``."""
        for budget in self.budgets:
            budget.spend(request, call, tokens, money, now)

    def page(self, request: Request, now: float) -> bytes:
        """The body of the answer to a verdict ``challenge``; see ``Challenge.page``."""
        return self.challenge.page(request, now)

    def successor(self, settings: GuardSettings, find: Find | None = None) -> "Guard":
        """A guard with other settings; actions stay in force, counters of the same name and size count on.

        Raises ConfigError and changes nothing where ``settings`` cannot be used.
        """
        _check(settings, readers(asn_lookup(settings.geo.asn_file)))
        place = self._place
        return Guard(
            settings,
            secret=place.secret,
            shared=place.shared,
            persistent=place.persistent,
            workers=place.workers,
            worker=place.worker,
            find=find,
            actions=self.actions,
        )

    def _limiter(self) -> Arrivals:
        place = self._place
        return slow_clients(place.shared, workers=place.workers, worker=place.worker, secret=place.secret)


def _check(settings: GuardSettings, known: dict[str, Read]) -> None:
    """ConfigError for what cannot be seen in one part of the settings alone."""
    for section, parts in (("rates", settings.rates), ("budgets", settings.budgets)):
        names = [part.name for part in parts]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ConfigError(f"two are called {twice!r}", where=f"edge.{section}", hint="give each its name")
    for rule in settings.rates:
        missing = next((field for field in rule.by if field not in known), None)
        if missing:
            raise ConfigError(
                f"{missing} is not known here", where=f"edge.rates: {rule.name}", hint="set edge.geo.asn_file"
            )


def _headers(settings: GuardSettings) -> frozenset[bytes]:
    headers = headers_of(field for rule in settings.rates for field in rule.by)
    if settings.challenge.always or any(rule.then == "challenge" for rule in settings.rates):
        headers |= HEADERS
    return headers
