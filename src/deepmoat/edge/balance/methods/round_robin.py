"""Round robin: backends take turns, each as often as its weight says, as evenly mixed as can be.

Over each cycle (as many requests as the weights add up to) the shares are exact. A heap keeps who is next,
so a turn costs the same with a hundred backends.
"""

from collections.abc import Collection, Sequence
from heapq import heapify, heapreplace

from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.balance.method import Method, Seat, turns
from deepmoat.edge.balance.settings import PoolSettings

_Turn = tuple[int, int, Backend, int]  # when it is in turn, its number, and how far its turns are apart


class RoundRobin(Method):
    """Weighted turns."""

    def __init__(self, settings: PoolSettings, start: int) -> None:
        super().__init__(settings, start)
        self._heap: list[_Turn] = []
        self._at = 0

    def seat(self, seats: Sequence[Seat]) -> None:
        """Choose among these from now on; another one begins each time."""
        found = turns(seats, self.start)
        self.start += 1
        self._at = 0
        self._heap = [(first, n, seat.backend, step) for n, (seat, first, step) in enumerate(found)]
        heapify(self._heap)

    def pick(self, session: str, avoid: Collection[Backend], now: float) -> Backend | None:
        """The next in turn that has room."""
        heap = self._heap
        if not heap:
            return None
        at, number, backend, step = heap[0]
        if backend in avoid or not backend.take(now):
            return self._pick_later(avoid, now)
        if at > self._at:
            self._at = at
        heapreplace(heap, (self._at + step, number, backend, step))
        return backend

    def _pick_later(self, avoid: Collection[Backend], now: float) -> Backend | None:
        """The first but is out of question: the next one then. Who is passed over is not owed its turns."""
        heap = self._heap
        heap.sort()  # a sorted list is a heap
        for place in range(1, len(heap)):
            at, number, backend, step = heap[place]
            if backend not in avoid and backend.take(now):
                self._at = max(self._at, at)
                heap[place] = (self._at + step, number, backend, step)
                heapify(heap)
                return backend
        return None
