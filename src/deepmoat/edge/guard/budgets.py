"""Budgets: what model calls of one key, user, model … may use up in a minute and in a day.

A call is asked about before it is passed on and charged afterwards with what it really used, so calls that
run at the same time can overdraw a budget by what they use; the next is refused. Minutes are those of the
clock, days those of UTC. The sums hold over all workers and are kept in files, over a restart too.
"""

from collections.abc import Callable
from typing import Protocol

from deepmoat.edge.guard.counters import Counters, Memory, ends, size, whole_seconds
from deepmoat.edge.guard.settings import BudgetSettings
from deepmoat.edge.guard.table import sets_for
from deepmoat.kit.errors import ConfigError
from deepmoat.model import Request, Verdict

_REGIONS = 64
_MINUTE, _DAY = 60.0, 86_400.0


class Called(Protocol):
    """What a budget needs to know of a call; ``llm.call.Call`` has it."""

    @property
    def model(self) -> str:
        """The model asked for, "" when unknown."""

    @property
    def user(self) -> str:
        """Who the client says it asks for, "" when it does not."""


_PAYERS: dict[str, Callable[[Request, Called], str]] = {
    "key": lambda r, c: r.key_hash,
    "user": lambda r, c: c.user,
    "model": lambda r, c: c.model,
    "session": lambda r, c: r.session,
    "address": lambda r, c: r.client_address,
}
_MEASURES = (
    ("requests_per_minute", _MINUTE, "requests"),
    ("tokens_per_minute", _MINUTE, "tokens"),
    ("tokens_per_day", _DAY, "tokens"),
    ("money_per_day", _DAY, "money"),
)
"""What is limited, in windows of how many seconds, of which unit."""


class _Purse:
    """One limit of one budget."""

    def __init__(self, what: str, unit: str, limit: float, counters: Counters) -> None:
        self.unit, self.limit, self.counters = unit, limit, counters
        self.reason = what.replace("_", " ") + " used up"


class Budget:
    """One of ``[[edge.budgets]]``."""

    def __init__(
        self, settings: BudgetSettings, memory: Memory, *, workers: int, worker: int, secret: bytes
    ) -> None:
        """``memory`` outlives restarts. Its size does not depend on ``workers`` (at most 64 of them).

        So a worker more or less finds the same files, and what one wrote that is gone still counts.
        Above 64 workers other files are used, with 256 places.
        """
        self.settings = settings
        regions = _REGIONS if workers <= _REGIONS else 4 * _REGIONS
        if worker >= regions:
            raise ConfigError(f"budgets have no place for worker {worker}", where="edge.budgets")
        sets = sets_for(settings.remembered)
        self._purses = tuple(
            _Purse(
                what,
                unit,
                getattr(settings, what),
                Counters(
                    memory(f"budget-{settings.name}-{what}-{regions}", size(regions, sets)),
                    sets=sets,
                    workers=regions,
                    worker=worker,
                    seconds=seconds,
                    secret=secret,
                ),
            )
            for what, seconds, unit in _MEASURES
            if getattr(settings, what)
        )
        self._counted = tuple(p for p in self._purses if p.unit == "requests")
        self._spent = tuple(p for p in self._purses if p.unit != "requests")
        self._payers = tuple(_PAYERS[name] for name in settings.by)
        self._rule = f"budget/{settings.name}"
        self._models, self._keys = frozenset(settings.models), frozenset(settings.keys)
        self._users = frozenset(settings.users)

    def check(self, request: Request, call: Called, now: float) -> Verdict | None:
        """``limit`` where a limit is used up, until its window ends; else one request is counted."""
        if not self._concerns(request, call):
            return None
        payer = self._payer(request, call)
        for purse in self._purses:
            if purse.counters.amounts(payer, now)[0] >= purse.limit:
                wait = ends(now, purse.counters.seconds) - now
                return Verdict("limit", self._rule, purse.reason, 429, whole_seconds(wait))
        for purse in self._counted:
            purse.counters.add(payer, 1.0, now)
        return None

    def spend(self, request: Request, call: Called, tokens: float, money: float, now: float) -> None:
        """Charge what a call used: ``tokens`` in and out, ``money`` in the unit of the price file."""
        if self._spent and self._concerns(request, call):
            payer = self._payer(request, call)
            for purse in self._spent:
                used = tokens if purse.unit == "tokens" else money
                if used > 0:
                    purse.counters.add(payer, used, now)

    def used(self, request: Request, call: Called, now: float) -> dict[str, float]:
        """By unit and window, such as ``tokens_per_day``, what is used up of it now."""
        payer = self._payer(request, call)
        amounts = (purse.counters.amounts(payer, now)[0] for purse in self._purses)
        return dict(zip((w for w, _, _ in _MEASURES if getattr(self.settings, w)), amounts, strict=True))

    def _concerns(self, request: Request, call: Called) -> bool:
        return (
            (not self._models or call.model in self._models)
            and (not self._keys or request.key_hash in self._keys)
            and (not self._users or call.user in self._users)
        )

    def _payer(self, request: Request, call: Called) -> str:
        values = [payer(request, call) for payer in self._payers]
        return "".join([f"{len(value)}:{value}" for value in values])
