"""Method: a way to choose among a pool's backends. Each is one file in ``methods/``, named as in settings."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from math import lcm
from typing import NamedTuple

from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.balance.settings import PoolSettings
from deepmoat.kit.family import Family

_LARGEST = 1 << 60


class Seat(NamedTuple):
    """A backend in a pool. Its share of the requests is its part of the sum of all weights."""

    backend: Backend
    weight: int


class Method(ABC):
    """``pick`` counts the request at the backend it returns, and at no other.

    It returns None only when none of the seats has room or is wanted. It never raises.
    """

    def __init__(self, settings: PoolSettings, start: int) -> None:
        """``start`` is another number in each worker, so that they do not all begin with the same backend."""
        self.settings, self.start = settings, start

    @abstractmethod
    def seat(self, seats: Sequence[Seat]) -> None:
        """Choose among these from now on; there may be none."""

    @abstractmethod
    def pick(self, session: str, avoid: Collection[Backend], now: float) -> Backend | None:
        """Take a place at one of the seats that is not in ``avoid``; ``now`` in monotonic seconds."""


METHODS: Family[Method] = Family("deepmoat.edge.balance.methods", Method)  # type: ignore[type-abstract]


def strides(weights: Sequence[int]) -> list[tuple[int, int]]:
    """Where each has its first turn on a common way, and how far its turns are apart.

    Whoever is in turn first goes next. On each stretch as long as a step times its weight, which is as long
    for all, everybody has as many turns as its weight says (stride scheduling, Waldspurger and Weihl 1995).
    First turns are spread, so that those who are seldom in turn do not come one after the other. Exact
    while the weights' common multiple is below 2**60, and right to a millionth beyond.

    >>> strides([5, 1, 2])
    [(2, 12), (30, 60), (25, 30)]
    """
    count = len(weights)
    whole = 2 * count * min(lcm(*weights), _LARGEST)
    steps = [whole // weight for weight in weights]
    return [(step * (2 * n + 1) // (2 * count), step) for n, step in enumerate(steps)]


def turns(seats: Sequence[Seat], start: int) -> list[tuple[Seat, int, int]]:
    """Each seat with its first turn and its step, begun with number ``start`` (counted round)."""
    begin = start % len(seats) if seats else 0
    seats = [*seats[begin:], *seats[:begin]]
    found = strides([seat.weight for seat in seats])
    return [(seat, first, step) for seat, (first, step) in zip(seats, found, strict=True)]
