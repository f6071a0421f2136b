"""In flight: how many requests each backend has, over all workers, in memory they share without a lock.

Each worker writes its own region, a table of 64-bit words: 40 bits of tag (hash of the backend's address),
one that says that the worker has requests waiting for that backend, 23 of count. A backend's word is looked
for from a place its address hashes to, in each region by itself: so workers need not agree on a list of
backends, and a reload that reaches them one after the other is no trouble. Tag and count share a word, so
one aligned 8-byte read sees both of one moment.

**The limit is exact.** ``take`` first counts its request and then adds up: of the requests in flight at any
moment, the one that was counted last saw all the others. So there is no overshoot; instead two workers that
count at the same moment for one place may both step back, and try again at their next tick. (This holds as
long as a processor shows its own write to the others before it reads; the reads come some hundred
instructions later.)

**Shares.** A worker hands a place that comes free to its own waiting requests, so whoever has places would
keep them. Where others wait too, a worker takes no more than its part of the limit; what does not divide
goes round by the second. A worker whose process died keeps its counts until it starts again.
"""

from collections.abc import Iterable
from hashlib import blake2b
from mmap import mmap

from deepmoat.kit.errors import ConfigError

_PLACES = 4096
_PROBES = 32
_TAG_SHIFT = 24
_WAITS = 1 << 23
_COUNT = _WAITS - 1


class Slot:
    """Where a backend's counts are: ``places`` holds an index for each worker's region."""

    __slots__ = ("address", "home", "places", "tag")

    def __init__(self, address: str, workers: int) -> None:
        number = int.from_bytes(blake2b(address.encode(), digest_size=8).digest())
        self.address = address
        self.tag = (number >> _TAG_SHIFT) | 1  # never 0: an empty word has no tag
        self.home = number % _PLACES
        self.places = [worker * _PLACES + self.home for worker in range(workers)]


class InFlight:
    """Counts by backend. Used from one thread of each worker."""

    def __init__(self, buffer: mmap | bytearray, workers: int, worker: int) -> None:
        """Share ``buffer`` of at least ``size(workers)`` bytes, zeros when new, as number ``worker`` from 0.

        What a former process of this number counted is cleared.
        """
        if not 0 <= worker < workers or len(buffer) < self.size(workers):
            raise ValueError(f"worker {worker} of {workers} in {len(buffer)} bytes")
        self.workers, self.worker = workers, worker
        view = memoryview(buffer)
        first = worker * _PLACES * 8
        view[first : first + _PLACES * 8] = bytes(_PLACES * 8)
        self._words = view[: self.size(workers)].cast("Q")
        self._kept: dict[str, Slot] = {}

    @staticmethod
    def size(workers: int) -> int:
        """Bytes of memory that ``workers`` processes share."""
        return workers * _PLACES * 8

    @classmethod
    def alone(cls) -> "InFlight":
        """For one process, without shared memory."""
        return cls(bytearray(cls.size(1)), 1, 0)

    def slot(self, address: str) -> Slot:
        """The place of the backend ``address``. Raises ConfigError when there are too many."""
        slot = self._kept.get(address)
        if slot is None:
            slot = Slot(address, self.workers)
            self._claim(slot)
            self._kept[address] = slot
        return slot

    def keep(self, addresses: Iterable[str]) -> None:
        """Only these are used from now on; a place of another is given on when its last request ends."""
        kept = set(addresses)
        self._kept = {address: slot for address, slot in self._kept.items() if address in kept}

    def add(self, slot: Slot) -> None:
        """One request more, whatever the limit."""
        own = slot.places[self.worker]
        if self._words[own] >> _TAG_SHIFT != slot.tag:
            own = self._claim(slot)
        self._words[own] += 1

    def done(self, slot: Slot) -> None:
        """One request less."""
        own = slot.places[self.worker]
        word = self._words[own]
        if word >> _TAG_SHIFT == slot.tag and word & _COUNT:
            self._words[own] = word - 1

    def total(self, slot: Slot) -> int:
        """Requests in flight over all workers."""
        return sum(word & _COUNT for word in self._all(slot))

    def take(self, slot: Slot, limit: int, now: float) -> bool:
        """Count one request more if that makes no more than ``limit`` over all workers.

        ``now`` in seconds of a clock that all workers have in common; it says whose turn it is at places
        that cannot be shared out evenly.
        """
        self.add(slot)
        found = self._all(slot)
        total = waiting = 0
        for word in found:
            total += word & _COUNT
            waiting += word & _WAITS
        nobody_else = waiting == found[self.worker] & _WAITS
        if total <= limit and (nobody_else or self._within_share(found, limit, now)):
            return True
        self._words[slot.places[self.worker]] -= 1
        return False

    def wait(self, slot: Slot, waits: bool) -> None:  # noqa: FBT001
        """Tell the other workers whether requests of this one wait for a place at the backend."""
        own = slot.places[self.worker]
        if self._words[own] >> _TAG_SHIFT != slot.tag:
            if not waits:
                return
            own = self._claim(slot)
        word = self._words[own]
        self._words[own] = word | _WAITS if waits else word & ~_WAITS

    def _within_share(self, words: list[int], limit: int, now: float) -> bool:
        claimants = [n for n, word in enumerate(words) if word & _WAITS or n == self.worker]
        part, rest = divmod(limit, len(claimants))
        turn = (claimants.index(self.worker) + int(now)) % len(claimants)
        return words[self.worker] & _COUNT <= part + (turn < rest)

    def _all(self, slot: Slot) -> list[int]:
        """The backend's word of each worker; 0 of one that does not know it."""
        words, places, tag = self._words, slot.places, slot.tag
        found = [words[place] for place in places]
        for worker, word in enumerate(found):
            if word >> _TAG_SHIFT != tag:
                found[worker] = self._look_for(slot, worker)
        return found

    def _look_for(self, slot: Slot, worker: int) -> int:
        for step in range(_PROBES):
            place = worker * _PLACES + (slot.home + step) % _PLACES
            word = self._words[place]
            if not word:
                return 0
            if word >> _TAG_SHIFT == slot.tag:
                slot.places[worker] = place
                return word
        return 0

    def _claim(self, slot: Slot) -> int:
        """A word for ``slot`` in this worker's region: its own, an empty one, or one nobody needs."""
        words, first = self._words, self.worker * _PLACES
        places = [first + (slot.home + step) % _PLACES for step in range(_PROBES)]
        in_use = {other.tag for other in self._kept.values()}
        chosen = -1
        for place in places:
            tag = words[place] >> _TAG_SHIFT
            if tag == slot.tag:
                chosen = place
                break
            if chosen < 0 and (not tag or (tag not in in_use and not words[place] & _COUNT)):
                chosen = place
        if chosen < 0:
            raise ConfigError("too many backends with max_requests", where=slot.address)
        if words[chosen] >> _TAG_SHIFT != slot.tag:
            words[chosen] = slot.tag << _TAG_SHIFT
        slot.places[self.worker] = chosen
        return chosen
