"""Least requests: the backend with the fewest requests in flight for its weight, as this worker sees it.

What other workers have in flight is not looked at: each of them spreads its own, so the sum is spread.
Ties take turns by weight, so that one request at a time is spread like round robin. Of more than sixteen
backends, sixteen are compared, the next sixteen the next time: almost the least, at a bounded price.
"""

from collections.abc import Collection, Sequence

from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.balance.method import Method, Seat, turns
from deepmoat.edge.balance.settings import PoolSettings

_WINDOW = 16


class _Line:
    """One backend: ``pull`` is what a request weighs there, ``at`` when it is in turn."""

    __slots__ = ("at", "backend", "pull", "step")

    def __init__(self, seat: Seat, first: int, step: int) -> None:
        self.backend, self.pull, self.step, self.at = seat.backend, 1 / seat.weight, step, first

    def rank(self) -> tuple[float, int]:
        """The smallest is asked first."""
        return self.backend.in_flight * self.pull, self.at


class LeastRequests(Method):
    """Weighted least outstanding requests."""

    def __init__(self, settings: PoolSettings, start: int) -> None:
        super().__init__(settings, start)
        self._lines: list[_Line] = []
        self._at = 0

    def seat(self, seats: Sequence[Seat]) -> None:
        """Choose among these from now on; another one begins each time."""
        found = turns(seats, self.start)
        self.start += 1
        self._at = 0
        self._lines = [_Line(*entry) for entry in found]

    def pick(self, session: str, avoid: Collection[Backend], now: float) -> Backend | None:
        """The least busy that has room."""
        lines = self._lines
        if not lines:
            return None
        best = _least(lines if len(lines) <= _WINDOW else self._window())
        if best.backend in avoid or not best.backend.take(now):
            return self._pick_later(best, avoid, now)
        self._turn_of(best)
        return best.backend

    def _pick_later(self, best: _Line, avoid: Collection[Backend], now: float) -> Backend | None:
        for line in sorted(self._lines, key=_Line.rank):
            if line is not best and line.backend not in avoid and line.backend.take(now):
                self._turn_of(line)
                return line.backend
        return None

    def _turn_of(self, line: _Line) -> None:
        """It has had its turn. Who was busy is not owed the turns of that time."""
        self._at = max(self._at, line.at)
        line.at = self._at + line.step

    def _window(self) -> list[_Line]:
        lines = self._lines
        begin = self.start % len(lines)
        self.start += _WINDOW
        return lines[begin : begin + _WINDOW] + lines[: max(0, begin + _WINDOW - len(lines))]


def _least(lines: Sequence[_Line]) -> _Line:
    best = lines[0]
    least = best.backend.in_flight * best.pull
    for line in lines:
        load = line.backend.in_flight * line.pull
        if load < least or (load == least and line.at < best.at):
            best, least = line, load
    return best
