"""Fair queue: requests that wait for a place, served in turn by key, oldest first within a key.

Whoever has a thousand waiting gets one place a round, as does whoever has one (Nagle, "On Packet Switches
With Infinite Storage", RFC 970, 1985). Entering, leaving and finding the next take constant time: the
keys are kept in the order of their turns, each with its requests in the order they came, and all requests
once more in the order their time runs out.
"""

from collections import OrderedDict
from collections.abc import Collection
from typing import Generic, Literal, TypeVar

import msgspec

from deepmoat.edge.balance.settings import QueueSettings

W = TypeVar("W")
Refusal = Literal["queue_full", "key_queue_full"]


class Place(msgspec.Struct, Generic[W], frozen=True, eq=False):
    """Where ``waiter`` stands, ``until`` its time is over, and what it asked for."""

    waiter: W
    key: str
    session: str
    avoid: Collection[object]
    until: float


class FairQueue(Generic[W]):
    """``len`` is how many wait. Waiters are told apart by their hash, usually their identity."""

    def __init__(self, settings: QueueSettings) -> None:
        self.settings = settings
        self._turns: OrderedDict[str, OrderedDict[W, Place[W]]] = OrderedDict()
        self._all: OrderedDict[W, Place[W]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._all)

    def enter(
        self, waiter: W, key: str, now: float, *, session: str = "", avoid: Collection[object] = ()
    ) -> Refusal | None:
        """Let ``waiter`` wait behind its key's others; or why it cannot. One that waits keeps its place."""
        if waiter in self._all:
            return None
        if len(self._all) >= self.settings.most:
            return "queue_full"
        line = self._turns.get(key)
        if line is None:
            line = self._turns[key] = OrderedDict()
        elif len(line) >= self.settings.most_per_key:
            return "key_queue_full"
        place = Place(waiter, key, session, avoid, now + self.settings.seconds)
        line[waiter] = self._all[waiter] = place
        return None

    def leave(self, waiter: W) -> bool:
        """Take ``waiter`` out; False when it does not wait. Its key keeps its turn."""
        place = self._all.pop(waiter, None)
        if place is None:
            return False
        line = self._turns[place.key]
        del line[waiter]
        if not line:
            del self._turns[place.key]
        return True

    def first(self) -> Place[W] | None:
        """Whose turn it is."""
        for line in self._turns.values():
            return next(iter(line.values()))
        return None

    def serve(self, place: Place[W]) -> None:
        """``place`` got what it waited for: it leaves, and its key goes to the end of the round."""
        self.leave(place.waiter)
        if place.key in self._turns:
            self._turns.move_to_end(place.key)

    def overdue(self, now: float) -> Place[W] | None:
        """The one whose time ran out first, if it has."""
        for place in self._all.values():
            return place if place.until <= now else None
        return None
