"""Pool: backends that do the same. It finds one with room for a request, or lets the request wait for one."""

from collections.abc import Collection, Sequence
from math import ceil
from typing import Literal, Protocol

from deepmoat.edge.balance.backend import WHOLE, Backend
from deepmoat.edge.balance.ejection import Ejection
from deepmoat.edge.balance.method import METHODS, Seat
from deepmoat.edge.balance.queue import FairQueue, Place
from deepmoat.edge.balance.settings import PoolSettings
from deepmoat.kit.meters import count

_RATE_OVER = 10.0  # seconds over which places that come free are averaged


class Waiter(Protocol):
    """Who waits for a place. Exactly one of the two is called, unless ``Pool.leave`` was called first.

    They may call ``ask``, ``done`` and ``leave`` in turn.
    """

    def admitted(self, backend: Backend) -> None:
        """``backend`` has a place, and the request is already counted there."""

    def turned_away(self, reason: str) -> None:
        """There was none in time (``queue_timeout``)."""


Ask = Backend | Literal["queued", "no_backend", "queue_full", "key_queue_full"]
Outcome = Literal["ok", "failed", "left"]


class Lobby:
    """Pools in which somebody waits, those of before a reload too; ``waiting`` is how many in all."""

    def __init__(self) -> None:
        self.pools: dict[Pool, None] = {}
        self.waiting = 0


class Pool:
    """All times are seconds of the monotonic clock, which is the same in all workers.

    Whom to choose from is worked out only when a backend's state has changed: ``Ejection.number`` says so.
    """

    def __init__(
        self,
        settings: PoolSettings,
        members: Sequence[Seat],
        *,
        ejection: Ejection,
        lobby: Lobby,
        start: int,
    ) -> None:
        self.name, self.settings = settings.name, settings
        self.members = tuple(members)
        self._ejection, self._lobby = ejection, lobby
        self._method = METHODS.get(settings.balance)(settings, start)
        self._pick = self._method.pick
        self._seats: list[Seat] = []
        self._seen = 0
        self._queue: FairQueue[Waiter] = FairQueue(settings.queue)
        self._waiting = 0
        self._freed, self._counted_at, self._rate = 0, 0.0, 0.0

    def ask(
        self,
        waiter: Waiter,
        *,
        key: str,
        session: str,
        avoid: Collection[Backend] = (),
        now: float,
    ) -> Ask:
        """A backend, with the request counted in flight there; or that it waits; or why it cannot.

        ``key`` is whose turn is spent in the queue, ``session`` what stays with one backend. Backends in
        ``avoid`` were tried already; one that waits takes them too when there is no other.
        Whoever asks while others wait stands behind them. Calls nobody back.
        """
        if self._seen != self._ejection.number:
            self._look_again()
        if not self._waiting:
            backend = self._pick(session, avoid, now)
            if backend is not None:
                return backend
        return self._ask_further(waiter, key, session, avoid, now)

    def leave(self, waiter: Waiter) -> None:
        """``waiter`` waits no longer. Nothing happens when it does not wait."""
        if self._queue.leave(waiter):
            self._one_less()

    def done(self, backend: Backend, outcome: Outcome, now: float) -> bool:
        """A request has ended: well, by the backend's fault, or because the client left.

        True when somebody waits: call ``Balancer.tick`` soon.
        """
        backend.done()
        if outcome == "ok":
            backend.streak = 0
        elif outcome == "failed":
            self._ejection.failed(backend, now)
        if not backend.limit:
            return False
        self._freed += 1
        return self._lobby.waiting > 0

    def admit(self, now: float) -> None:
        """Give places to those who wait, in turn, as long as there are places."""
        if self._seen != self._ejection.number:
            self._look_again()
        while (place := self._queue.first()) is not None:
            backend = self._place_for(place, now)
            if backend is None:
                return
            self._queue.serve(place)
            self._one_less()
            place.waiter.admitted(backend)

    def tick(self, now: float) -> None:
        """Admit who can be; turn away whose time is over."""
        if now - self._counted_at >= 1:
            self._count_freed(now)
        if not self._waiting:
            return
        self.admit(now)
        while (place := self._queue.overdue(now)) is not None:
            self._queue.leave(place.waiter)
            self._one_less()
            count("deepmoat_edge_queue_refused_total", pool=self.name, reason="queue_timeout")
            place.waiter.turned_away("queue_timeout")

    @property
    def waiting(self) -> int:
        """How many wait, in this worker."""
        return self._waiting

    def retry_after(self) -> int:
        """Seconds after which asking again makes sense: when those who wait now will have had their turn."""
        longest = ceil(self.settings.queue.seconds)
        if not self._waiting:
            return min(2, longest)
        if self._rate <= 0:
            return longest
        return max(1, min(longest, ceil(self._waiting / self._rate)))

    # How it is done.

    def _look_again(self) -> None:
        """A backend's state has changed: choose among the usable; without any, among all not drained."""
        self._seen = self._ejection.number
        there = [seat for seat in self.members if not seat.backend.drained]
        there = [seat for seat in there if seat.backend.usable] or there
        if any(seat.backend.share != WHOLE for seat in there):
            there = [Seat(seat.backend, seat.weight * seat.backend.share) for seat in there]
        if there != self._seats:
            self._seats = there
            self._method.seat(there)

    def _ask_further(
        self, waiter: Waiter, key: str, session: str, avoid: Collection[Backend], now: float
    ) -> Ask:
        """No place was found at once."""
        if all(seat.backend in avoid for seat in self._seats):
            left = [seat.backend for seat in self.members if not seat.backend.drained]
            left = [backend for backend in left if backend not in avoid]
            if not left:
                return "no_backend"
            for backend in left:  # not well, as far as we know: better than nothing
                if backend.take(now):
                    return backend
        refused = self._queue.enter(waiter, key, now, session=session, avoid=avoid)
        if refused is not None:
            count("deepmoat_edge_queue_refused_total", pool=self.name, reason=refused)
            return refused
        if len(self._queue) > self._waiting:
            self._waiting += 1
            self._lobby.waiting += 1
            if self._waiting == 1:
                self._lobby.pools[self] = None
                self._want(1)
        return "queued"

    def _place_for(self, place: Place[Waiter], now: float) -> Backend | None:
        avoid = [seat.backend for seat in self._seats if seat.backend in place.avoid]
        backend = self._pick(place.session, avoid, now)
        if backend is None and avoid:
            backend = self._pick(place.session, (), now)
        return backend

    def _one_less(self) -> None:
        self._waiting -= 1
        self._lobby.waiting -= 1
        if not self._waiting:
            del self._lobby.pools[self]
            self._want(-1)

    def _want(self, change: int) -> None:
        for seat in self.members:
            seat.backend.wait(change)

    def _count_freed(self, now: float) -> None:
        """How many places come free a second, as a moving average."""
        passed = now - self._counted_at
        self._rate += (self._freed / passed - self._rate) * min(1.0, passed / _RATE_OVER)
        self._freed, self._counted_at = 0, now
