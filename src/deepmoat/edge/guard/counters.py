"""Counters by key, shared by all workers: how much lately, and when the next may come.

``Counters`` adds up amounts (requests, bytes) in windows; ``Arrivals`` spaces requests out. Both are a
``Table``: bounded memory, no lock, sums over all workers.

``Counters`` writes each amount to the shared table at once, but does not look at the others each time: it
remembers their sum and how much may come on top of it before it has to look again (``SHARE``, ``AGE``).
"""

from collections.abc import Callable
from math import ceil, floor, inf
from mmap import mmap
from struct import Struct

from deepmoat.edge.guard.table import AGE, SHARE, Recent, Spot, Table, sets_for

_WINDOW, _NOW, _BEFORE, _UNTIL = range(4)
_WORDS = 4
_CELL = Struct("=4d")
_CURRENT = (0, -1)  # a clock that went back by one window adds to the newer one
Memory = Callable[[str, int], mmap]
"""Shared memory by name and size in bytes: the same for every worker, zeros when it is new."""


def size(workers: int, sets: int) -> int:
    """Bytes of memory for Counters of so many workers and sets.

    >>> size(1, 1)
    160
    """
    return Table.size(sets=sets, regions=workers, words=_WORDS)


class _Sum(Spot):
    """What is known of one key.

    ``total`` was in the last window when we looked, and what we added since: never too little of our own.
    It can be relied on from ``begin`` to ``fresh`` and while it is at most ``most``. Until ``end`` our cell
    is that of the present window; 0 when nothing is known of it.
    """

    __slots__ = ("begin", "end", "fresh", "most", "total", "until")

    def __init__(self, table: Table, key: str) -> None:
        super().__init__(table, key)
        self.begin = self.end = self.fresh = self.most = self.total = self.until = 0.0


class Counters:
    """Amounts by key in windows of ``seconds``. Times are seconds since 1970, the same clock in all workers.

    A cell is: number of the window it was last added to, the amount in it, the amount in the one before,
    and until when the key is refused.
    """

    def __init__(
        self, memory: mmap, *, sets: int, workers: int, worker: int, seconds: float, secret: bytes
    ) -> None:
        """``workers`` regions in ``memory`` (``size(workers, sets)`` bytes); we write ``worker``'s."""
        self.seconds = seconds
        table = Table(memory, sets=sets, regions=workers, worker=worker, words=_WORDS, secret=secret)
        self._table, self._values, self._marks = table, table.values, table.marks
        self._recent = Recent(table, _Sum)
        self._get = self._recent.get
        self._share = 0 if workers == 1 else SHARE * workers

    def amounts(self, key: str, now: float) -> tuple[float, float, float]:
        """Over all workers: the amount in this window, in the one before, and until when it is refused."""
        return self._read(self._recent.spot(key), now)

    def lately(self, key: str, now: float) -> float:
        """The amount of the last ``seconds``, the older part of it as if it had come evenly."""
        current, before, _ = self.amounts(key, now)
        return current + before * (1 - now % self.seconds / self.seconds)

    def add(self, key: str, amount: float, now: float) -> None:
        """Add to this worker's own cell."""
        known = self._get(key)
        if known is not None and known.begin <= now < known.end and self._marks[known.slot] == known.number:
            known.total += amount
            self._values[known.cell + _NOW] += amount
            return
        self._add(self._recent.spot(key), amount, now)

    def spend(self, key: str, amount: float, limit: float, now: float) -> float:
        """Add ``amount`` when the last window's sum stays within ``limit``: then 0, else seconds to wait."""
        known = self._get(key)
        if known is not None and known.begin <= now < known.fresh and now < known.end:
            total = known.total + amount
            if total <= known.most and total <= limit and self._marks[known.slot] == known.number:
                known.total = total
                self._values[known.cell + 1] += amount
                return 0.0
        known = self._recent.spot(key)
        wait = self._wait(known, limit - amount, now)
        if not wait:
            self._add(known, amount, now)
        return wait

    def delay(self, key: str, most: float, now: float) -> float:
        """Seconds until the last window's sum is at most ``most`` and nothing is refused; 0 for now."""
        known = self._get(key)
        if known is not None and known.begin <= now < known.fresh:
            total = known.total
            if total <= known.most and total <= most:
                return 0.0
        return self._wait(self._recent.spot(key), most, now)

    def refuse(self, key: str, until: float, now: float) -> None:
        """Remember for all workers that ``key`` is refused until then."""
        known = self._recent.spot(key)
        self._values[self._own(known, now) + _UNTIL] = until
        known.until, known.fresh = until, 0.0

    def refused(self, key: str, now: float) -> bool:
        """Is ``key`` refused, as far as any worker has said?"""
        known = self._recent.spot(key)
        return known.until > now or self._read(known, now)[2] > now

    def _read(self, known: _Sum, now: float) -> tuple[float, float, float]:
        window, memory, start = now // self.seconds, self._table.memory, self._table.start
        current = before = until = 0.0
        for cell in self._table.find(known):
            last, amount, earlier, refused = _CELL.unpack_from(memory, start + 8 * cell)
            if last == window or last == window + 1:  # the latter: the clock went back a little
                current += amount
                before += earlier
            elif window - last == 1:
                before += amount
            if refused > until:
                until = refused
        return current, before, until

    def _wait(self, known: _Sum, most: float, now: float) -> float:
        """Look at all workers: seconds until the last window's sum is at most ``most``; 0 when it is now."""
        if known.until > now:
            return known.until - now
        current, before, known.until = self._read(known, now)
        if known.until > now:
            known.fresh = 0.0
            return known.until - now
        gone = now % self.seconds / self.seconds
        total = known.total = current + before * (1 - gone)
        if total > most:
            known.fresh = 0.0
            return self._eased(current, before, most, gone)
        known.begin = now - gone * self.seconds
        known.fresh, known.most = known.begin + self.seconds, inf
        if self._share:
            left = most - total
            known.most = total + left / self._share
            known.fresh = min(known.fresh, now + AGE * left / most if most else 0.0)
        return 0.0

    def _eased(self, current: float, before: float, most: float, gone: float) -> float:
        """Seconds until the sum, which is above ``most`` now, no longer is, when nothing is added."""
        if most < 0:
            return self.seconds  # more at once than may ever come: never, but say something
        at = 1 - (most - current) / before if current <= most else 2 - most / current
        return max((at - gone) * self.seconds, 0.001)

    def _add(self, known: _Sum, amount: float, now: float) -> None:
        window, values, cell = now // self.seconds, self._values, self._own(known, now)
        behind = window - values[cell]
        if behind not in _CURRENT:
            values[cell + _BEFORE] = values[cell + _NOW] if behind == 1 else 0.0
            values[cell + _NOW] = 0.0
            values[cell + _WINDOW] = window
        values[cell + _NOW] += amount
        known.total += amount
        known.begin, known.end = window * self.seconds, (window + 1) * self.seconds

    def _own(self, known: _Sum, now: float) -> int:
        cell = self._table.mine(known)
        return cell if cell >= 0 else self._table.take(known, lambda c: self._worth(c, now))

    def _worth(self, cell: int, now: float) -> float:
        """How much would be forgotten with ``cell``; one under refusal goes last."""
        values = self._values
        if values[cell + _UNTIL] > now:
            return inf
        behind = now // self.seconds - values[cell + _WINDOW]
        if not -1 <= behind <= 1:
            return -1.0
        return values[cell + _NOW] + (values[cell + _BEFORE] if behind <= 0 else 0.0)


class Arrivals:
    """Spaces requests out: ``rate`` a second for each key, ``burst`` at once.

    The generic cell rate algorithm (ITU-T I.371), which lets through what a token bucket does: a key has
    one number, the time by which all it has had is paid for. The latest that any worker knows counts.
    Two workers that look within the same microsecond can let one too many through.
    """

    def __init__(
        self,
        memory: Memory,
        name: str,
        *,
        rate: float,
        burst: float,
        keys: int,
        workers: int,
        worker: int,
        secret: bytes,
    ) -> None:
        """``rate`` and ``burst`` above 0; about ``keys`` keys are remembered. ``name`` is the memory's."""
        sets = sets_for(keys)
        table = Table(
            memory(name, Table.size(sets=sets, regions=workers, words=1)),
            sets=sets,
            regions=workers,
            worker=worker,
            words=1,
            secret=secret,
        )
        self._table, self._values, self._marks = table, table.values, table.marks
        self._recent = Recent(table, Spot)
        self._get = self._recent.get
        self._alone = workers == 1
        self._step, self._ahead = 1 / rate, (burst - 1) / rate
        self._most = burst / rate

    def spend(self, key: str, now: float) -> float:
        """Let one through when it is its time: then 0, else seconds to wait."""
        known = self._get(key) or self._recent.spot(key)
        values = self._values
        cell = known.cell if self._marks[known.slot] == known.number else self._table.mine(known)
        paid = values[cell] if cell >= 0 else 0.0
        if not self._alone:  # each time: the latest of all is no sum, what is missed once is lost
            for other in self._table.find(known):
                paid = max(paid, values[other])
        if paid < now:
            paid = now
        elif paid > now + self._most:
            paid = now + self._most  # the clock went back: no longer than from an empty bucket
        wait = paid - now - self._ahead
        if wait > 1e-9:
            return wait
        if cell < 0:
            cell = self._table.take(known, values.__getitem__)
        values[cell] = paid + self._step
        return 0.0


def whole_seconds(wait: float) -> int:
    """``wait`` as Retry-After says it: whole seconds, at least one.

    >>> whole_seconds(0.2), whole_seconds(2.0), whole_seconds(2.0000000001)
    (1, 2, 2)
    """
    return max(1, ceil(wait - 1e-6))


def ends(now: float, seconds: float) -> float:
    """When the window of ``seconds`` that ``now`` is in ends.

    >>> ends(61.0, 60.0)
    120.0
    """
    return (floor(now / seconds) + 1) * seconds
