"""Session: a conversation goes where it went before, so that a model finds its prefix cache warm.

Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005):
a conversation gives each backend a score and goes to the highest. Nothing has to be remembered or agreed on
between workers; a backend that goes takes only its own conversations with it, and gets the same ones back.
One that comes back slowly has a small weight, and with it those of its conversations that score highest.

The load is bounded (Mirrokni, Thorup and Zadimoghaddam 2017): a backend with more than ``most_load`` times
its share of this worker's requests in flight is passed over while another has room.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import ceil, log

from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.balance.method import Method, Seat
from deepmoat.edge.balance.settings import PoolSettings

_FEW = 4
"""Requests in flight that are never too many."""
_MOST_HELD = 1 << 17
"""Seats in all remembered orders."""
_MASK = (1 << 64) - 1
_SCALE = float(1 << 52)


class Session(Method):
    """Consistent hashing with bounded load."""

    def __init__(self, settings: PoolSettings, start: int) -> None:
        super().__init__(settings, start)
        self.seat(())

    def seat(self, seats: Sequence[Seat]) -> None:
        """Choose among these from now on."""
        self._seats = [(_hash(seat.backend.address), seat) for seat in seats]
        self._whole = sum(seat.weight for seat in seats)
        self._order = lru_cache(_MOST_HELD // max(len(seats), 32))(self._ranked)

    def pick(self, session: str, avoid: Collection[Backend], now: float) -> Backend | None:
        """The conversation's first choice that has room. Without a session, another choice each time."""
        if not session:
            self.start += 1
            session = str(self.start)
        passed = []
        for seat in self._order(session):
            backend = seat.backend
            if backend in avoid:
                continue
            if backend.in_flight >= _FEW and self._overloaded(seat):
                passed.append(backend)
            elif backend.take(now):
                return backend
        return next((backend for backend in passed if backend.take(now)), None)

    def _overloaded(self, seat: Seat) -> bool:
        if not self.settings.most_load:
            return False
        in_flight = sum(other.backend.in_flight for _, other in self._seats) + 1
        share = in_flight * seat.weight / self._whole
        return seat.backend.in_flight >= max(_FEW, ceil(self.settings.most_load * share))

    def _ranked(self, session: str) -> tuple[Seat, ...]:
        """All seats, the conversation's first choice first."""
        own = _hash(session)
        scored = [(_score(own, hashed, seat.weight), n) for n, (hashed, seat) in enumerate(self._seats)]
        scored.sort(reverse=True)
        return tuple(self._seats[n][1] for _, n in scored)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _score(session: int, backend: int, weight: int) -> float:
    """Highest with a probability of the weight's part of all weights; the higher, the greater the weight."""
    mixed = session ^ backend  # mixed as in SplitMix64 (Steele, Lea and Flood 2014)
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    mixed ^= mixed >> 31
    return -weight / log(
        ((mixed >> 12) + 0.5) / _SCALE
    )  # 52 bits: the half is kept, so never log(0) or log(1)
