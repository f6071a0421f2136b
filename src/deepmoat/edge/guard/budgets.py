"""Budgets: what model calls of one key, user, model … may use up in a minute and in a day.

A call is asked about before it is passed on and charged afterwards with what it really used, so calls that
run at the same time can overdraw a budget by what they use; the next is refused. Minutes are those of the
clock, days those of UTC. The sums hold over all workers and are kept in a file, over a restart too.

All that one payer uses is one cell of a table (``guard/table.py``): number of the minute, requests and tokens
in it, number of the day, tokens and money in it. What is charged is written there at once. What others
charged is looked at only when what was left at the last look may be gone: see ``SHARE`` and ``AGE``.
"""

from collections.abc import Callable
from math import inf
from struct import Struct
from typing import Protocol

from deepmoat.edge.guard.counters import Memory, ends, whole_seconds
from deepmoat.edge.guard.settings import BudgetSettings
from deepmoat.edge.guard.table import AGE, SHARE, Recent, Spot, Table, sets_for
from deepmoat.kit.errors import ConfigError
from deepmoat.model import Request, Verdict

_REGIONS = 64
_MINUTE, _DAY = 60.0, 86_400.0
_ALONE = 10.0
"""Seconds a look lasts where no other worker runs: one that has just been told to stop may still charge."""
_CELL = Struct("=6d")
_WORDS = 6
_OF_MINUTE, _REQUESTS, _TOKENS, _OF_DAY, _TOKENS_OF_DAY, _MONEY = range(_WORDS)


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
    ("requests_per_minute", _MINUTE, _REQUESTS),
    ("tokens_per_minute", _MINUTE, _TOKENS),
    ("tokens_per_day", _DAY, _TOKENS_OF_DAY),
    ("money_per_day", _DAY, _MONEY),
)
"""What is limited, in windows of how many seconds, and which word of a cell counts it."""


class _Purse(Spot):
    """What is known of one payer: how much may be used before all workers have to be looked at again.

    That holds from ``begin`` to ``fresh``. Until ``end`` our cell is that of the present minute and day; 0
    when nothing is known of it.
    """

    __slots__ = ("begin", "end", "fresh", "money", "requests", "tokens")

    def __init__(self, table: Table, payer: str) -> None:
        super().__init__(table, payer)
        self.begin = self.end = self.fresh = self.money = self.requests = self.tokens = 0.0


class _Limit:
    """One limit of a budget."""

    def __init__(self, what: str, seconds: float, word: int, most: float) -> None:
        self.what, self.seconds, self.word, self.most = what, seconds, word, most
        self.reason = what.replace("_", " ") + " used up"


class Budget:
    """One of ``[[edge.budgets]]``."""

    def __init__(
        self, settings: BudgetSettings, memory: Memory, *, workers: int, worker: int, secret: bytes
    ) -> None:
        """``memory`` outlives restarts. Its size does not depend on ``workers`` (at most 64 of them).

        So a worker more or less finds the same file, and what one wrote that is gone still counts.
        Above 64 workers another file is used, with 256 places.
        """
        self.settings = settings
        regions = _REGIONS if workers <= _REGIONS else 4 * _REGIONS
        if worker >= regions:
            raise ConfigError(f"budgets have no place for worker {worker}", where="edge.budgets")
        sets = sets_for(settings.remembered)
        table = Table(
            memory(f"budget-{settings.name}-{regions}", Table.size(sets=sets, regions=regions, words=_WORDS)),
            sets=sets,
            regions=regions,
            worker=worker,
            words=_WORDS,
            secret=secret,
        )
        self._table, self._values, self._marks = table, table.values, table.marks
        self._recent = Recent(table, _Purse)
        self._get = self._recent.get
        self._share = 1 if workers == 1 else SHARE * workers
        self._limits = tuple(
            _Limit(what, seconds, word, getattr(settings, what))
            for what, seconds, word in _MEASURES
            if getattr(settings, what)
        )
        self._seconds = min(limit.seconds for limit in self._limits)
        words = {limit.word for limit in self._limits}
        self._counts, self._money = _REQUESTS in words, _MONEY in words
        self._tokens = tuple(sorted(words & {_TOKENS, _TOKENS_OF_DAY}))
        self._payer = _payer(settings.by)
        self._rule = f"budget/{settings.name}"
        self._models, self._keys = frozenset(settings.models), frozenset(settings.keys)
        self._users = frozenset(settings.users)
        self._all = not (self._models or self._keys or self._users)

    def check(self, request: Request, call: Called, now: float) -> Verdict | None:
        """``limit`` where a limit is used up, until its window ends; else one request is counted."""
        if not (self._all or self._concerns(request, call)):
            return None
        payer = self._payer(request, call)
        known = self._get(payer)
        if known is None or not (
            known.begin <= now < known.fresh and known.requests > 0 and known.tokens > 0 and known.money > 0
        ):
            known = self._recent.spot(payer)
            if verdict := self._look(known, now):
                return verdict
        if self._counts:
            if now >= known.end or self._marks[known.slot] != known.number:
                self._own(known, now)
            known.requests -= 1
            self._values[known.cell + _REQUESTS] += 1
        return None

    def spend(self, request: Request, call: Called, tokens: float, money: float, now: float) -> None:
        """Charge what a call used: ``tokens`` in and out, ``money`` in the unit of the price file."""
        costs = self._money and money > 0
        if not (costs or (self._tokens and tokens > 0)):
            return
        if not (self._all or self._concerns(request, call)):
            return
        payer = self._payer(request, call)
        known = self._get(payer) or self._recent.spot(payer)
        if not known.begin <= now < known.end or self._marks[known.slot] != known.number:
            self._own(known, now)
        values, cell = self._values, known.cell
        if tokens > 0:
            known.tokens -= tokens
            for word in self._tokens:
                values[cell + word] += tokens
        if costs:
            known.money -= money
            values[cell + _MONEY] += money

    def used(self, request: Request, call: Called, now: float) -> dict[str, float]:
        """By unit and window, such as ``tokens_per_day``, what is used up of it now."""
        amounts = self._read(self._recent.spot(self._payer(request, call)), now)
        return {limit.what: amounts[limit.word] for limit in self._limits}

    def _concerns(self, request: Request, call: Called) -> bool:
        return (
            (not self._models or call.model in self._models)
            and (not self._keys or request.key_hash in self._keys)
            and (not self._users or call.user in self._users)
        )

    def _read(self, known: _Purse, now: float) -> tuple[float, ...]:
        """What all workers counted in this minute and this day; words as in a cell."""
        minute, day = now // _MINUTE, now // _DAY
        memory, start = self._table.memory, self._table.start
        requests = tokens = of_day = money = 0.0
        for cell in self._table.find(known):
            at, counted, lately, on, today, paid = _CELL.unpack_from(memory, start + 8 * cell)
            if 0 <= at - minute <= 1:  # of the next: the clock went back a little
                requests += counted
                tokens += lately
            if 0 <= on - day <= 1:
                of_day += today
                money += paid
        return minute, requests, tokens, day, of_day, money

    def _look(self, known: _Purse, now: float) -> Verdict | None:
        """Look at all workers: the verdict, or how much may be used and how long that is so."""
        amounts = self._read(known, now)
        left, least = [inf] * _WORDS, 1.0
        for limit in self._limits:
            rest = left[limit.word] = limit.most - amounts[limit.word]
            if rest <= 0:
                known.fresh = 0.0
                wait = ends(now, limit.seconds) - now
                return Verdict("limit", self._rule, limit.reason, 429, whole_seconds(wait))
            least = min(least, rest / limit.most)
        share = self._share
        known.requests = left[_REQUESTS] if share == 1 else left[_REQUESTS] // share
        known.tokens = min(left[_TOKENS], left[_TOKENS_OF_DAY]) / share
        known.money = left[_MONEY] / share
        known.begin = now // self._seconds * self._seconds
        known.fresh = min(known.begin + self._seconds, now + (_ALONE if share == 1 else AGE * least))
        return None

    def _own(self, known: _Purse, now: float) -> None:
        """Have a cell of our own for the payer, of the present minute and day."""
        cell = self._table.mine(known)
        if cell < 0:
            cell = self._table.take(known, lambda c: self._worth(c, now))
        self._turn(cell + _OF_MINUTE, now // _MINUTE)
        self._turn(cell + _OF_DAY, now // _DAY)
        known.begin = now // self._seconds * self._seconds
        known.end = known.begin + self._seconds

    def _turn(self, at: int, number: float) -> None:
        """Begin minute or day ``number``; a clock that went back by one adds to the newer."""
        values = self._values
        if not 0 <= values[at] - number <= 1:
            values[at + 1] = values[at + 2] = 0.0
            values[at] = number

    def _worth(self, cell: int, now: float) -> float:
        """How much of a limit would be forgotten with ``cell``."""
        values, most = self._values, -1.0
        for limit in self._limits:
            at = cell + (_OF_MINUTE if limit.seconds == _MINUTE else _OF_DAY)
            if 0 <= values[at] - now // limit.seconds <= 1:
                most = max(most, values[cell + limit.word] / limit.most)
        return most


def _payer(by: tuple[str, ...]) -> Callable[[Request, Called], str]:
    """Who pays: one text for all that ``by`` names, equal only where each is equal."""
    payers = tuple(_PAYERS[name] for name in by)
    if len(payers) == 1:
        return payers[0]

    def payer(request: Request, call: Called) -> str:
        values = [one(request, call) for one in payers]
        return "".join([f"{len(value)}:{value}" for value in values])

    return payer
