"""Counters by key, shared by all workers: how much lately, and when the next may come.

``Counters`` adds up amounts (requests, bytes, tokens, money) in windows; ``Arrivals`` spaces requests out.
Both are a ``Table``: bounded memory, no lock, sums over all workers.
"""

from collections.abc import Callable
from math import ceil, floor, inf
from mmap import mmap

from deepmoat.edge.guard.table import Table, sets_for

_WINDOW, _NOW, _BEFORE, _UNTIL = range(4)
_WORDS = 4
_CURRENT = (0, -1)  # a clock that went back by one window adds to the newer one
Memory = Callable[[str, int], mmap]
"""Shared memory by name and size in bytes: the same for every worker, zeros when it is new."""


def size(workers: int, sets: int) -> int:
    """Bytes of memory for Counters of so many workers and sets.

    >>> size(1, 1)
    160
    """
    return Table.size(sets=sets, regions=workers, words=_WORDS)


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
        self._table = Table(memory, sets=sets, regions=workers, worker=worker, words=_WORDS, secret=secret)
        self._values = self._table.values

    def amounts(self, key: str, now: float) -> tuple[float, float, float]:
        """Over all workers: the amount in this window, in the one before, and until when it is refused."""
        window, values = now // self.seconds, self._values
        current = before = until = 0.0
        for cell in self._table.find(key):
            last, amount, earlier, refused = values[cell : cell + 4]
            if last == window or last == window + 1:  # the latter: the clock went back a little
                current += amount
                before += earlier
            elif window - last == 1:
                before += amount
            if refused > until:
                until = refused
        return current, before, until

    def lately(self, key: str, now: float) -> float:
        """The amount of the last ``seconds``, the older part of it as if it had come evenly."""
        current, before, _ = self.amounts(key, now)
        return current + before * (1 - now % self.seconds / self.seconds)

    def add(self, key: str, amount: float, now: float) -> None:
        """Add to this worker's own cell."""
        window, values = now // self.seconds, self._values
        cell = self._table.mine(key)
        if cell < 0:
            cell = self._room(key, now)
        behind = window - values[cell]
        if behind not in _CURRENT:
            values[cell + 2] = values[cell + 1] if behind == 1 else 0.0
            values[cell + 1] = 0.0
            values[cell] = window
        values[cell + 1] += amount

    def refuse(self, key: str, until: float, now: float) -> None:
        """Remember for all workers that ``key`` is refused until then."""
        cell = self._table.mine(key)
        self._values[(cell if cell >= 0 else self._room(key, now)) + 3] = until

    def spend(self, key: str, amount: float, limit: float, now: float) -> float:
        """Add ``amount`` when the last window's sum stays within ``limit``: then 0, else seconds to wait."""
        current, before, until = self.amounts(key, now)
        if until > now:
            return until - now
        if current + before > limit - amount and (wait := self.wait(current, before, limit - amount, now)):
            return wait
        self.add(key, amount, now)
        return 0.0

    def wait(self, current: float, before: float, most: float, now: float) -> float:
        """Seconds until no more than ``most`` is in the last window; 0 when that is so now."""
        gone = now % self.seconds / self.seconds
        if current + before * (1 - gone) <= most:
            return 0.0
        if most < 0:
            return self.seconds  # more at once than may ever come: never, but say something
        at = 1 - (most - current) / before if current <= most else 2 - most / current
        return max((at - gone) * self.seconds, 0.001)

    def _room(self, key: str, now: float) -> int:
        cells = self._table.candidates(key)
        cell = min(cells, key=lambda c: self._worth(c, now))
        self._table.take(key, cell)
        return cell

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
        self._table = Table(
            memory(name, Table.size(sets=sets, regions=workers, words=1)),
            sets=sets,
            regions=workers,
            worker=worker,
            words=1,
            secret=secret,
        )
        self._values = self._table.values
        self._step, self._ahead = 1 / rate, (burst - 1) / rate
        self._most = burst / rate

    def spend(self, key: str, now: float) -> float:
        """Let one through when it is its time: then 0, else seconds to wait."""
        values, table = self._values, self._table
        paid, mine = 0.0, -1
        for cell in table.find(key):
            paid = max(paid, values[cell])
            if table.first <= cell <= table.last:
                mine = cell
        if paid < now:
            paid = now
        elif paid > now + self._most:
            paid = now + self._most  # the clock went back: no longer than from an empty bucket
        wait = paid - now - self._ahead
        if wait > 1e-9:
            return wait
        if mine < 0:
            mine = min(table.candidates(key), key=values.__getitem__)
            table.take(key, mine)
        values[mine] = paid + self._step
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
