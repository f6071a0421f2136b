"""A table in memory that all workers share: small numbers by key, without a lock.

Theory of operation. A key is a keyed 64-bit hash, its *mark*; the low bits of the mark choose a set, and
each worker has four cells in each set. Only the owner of a cell writes it; everybody reads all. The marks of
one set stand together, those of all workers in a row: one search in a few dozen bytes says who knows the key.

    marks    [set][worker][4]       8 bytes each
    words    [worker][set][4][WORDS] 8-byte floats

A worker whose four cells of a set are taken gives up the least of them. Aligned 8-byte stores are whole on
every machine we run on; a reader that comes between two stores of one cell may see a number of its former
key, which is smaller than those that matter (the least was given up). What a dead worker wrote stays until
it ages.

Hashing and searching are what costs, so a worker remembers the *spots* of the keys it met lately
(``Recent``). A spot is only a hint: ``marks[spot.slot] == spot.number`` says whether the cell is still that
key's, for another key, or another table on the same memory, may have taken it.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from mmap import mmap
from typing import Generic, TypeVar

WAYS = 4
SHARE = 20
"""Between two looks at the others a worker adds at most 1/SHARE of its part of what is left of a limit.

So all workers together exceed a limit by at most 1/SHARE of it, however they take turns; and where little is
left, each looks every time and nothing is exceeded.
"""
AGE = 0.2
"""Seconds a look at the others lasts while nothing is used of a limit; the nearer it is, the less."""
_REMEMBERED = 8_192
_SHORT_ROW = 16 * WAYS * 8
_NONE = bytes(8)
_NO_CELLS: list[int] = []


def sets_for(keys: int) -> int:
    """How many sets hold about ``keys`` keys: a power of two.

    >>> sets_for(1), sets_for(100_000)
    (1, 32768)
    """
    return 1 << max(0, (keys + WAYS - 1) // WAYS - 1).bit_length()


class Spot:
    """Where one key is in a table: its set, and its cells as they were found last."""

    __slots__ = ("cell", "cells", "first", "mark", "marks", "number", "row", "slot")

    def __init__(self, table: "Table", key: str) -> None:
        """Nothing is searched yet. ``slot`` and ``cell`` are our first of the set: hints are always ours."""
        mark = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=table.salt).digest()
        if mark == _NONE:
            mark = b"\1" + mark[1:]
        number = int.from_bytes(mark, "little") & (table.sets - 1)
        self.mark, self.number = mark, int.from_bytes(mark, sys.byteorder)
        self.row = number * table.row
        self.slot = (self.row >> 3) + table.worker * WAYS
        self.first = self.cell = table.first + number * WAYS * table.words
        self.marks, self.cells = b"", _NO_CELLS


class Table:
    """Cells of ``words`` floats each. ``memory`` has ``Table.size(...)`` bytes, zeros at first.

    ``worker`` writes region number ``worker`` of ``regions``. ``secret`` keys the hash: with an unknown one
    nobody can aim at another's cells. Every process must be given the same ``sets``, ``regions``, ``secret``.
    """

    def __init__(
        self, memory: mmap, *, sets: int, regions: int, worker: int, words: int, secret: bytes
    ) -> None:
        self.memory, self.words, self.sets, self.worker = memory, words, sets, worker
        self.row = regions * WAYS * 8
        self.start = sets * self.row
        """Where in ``memory`` the words begin, in bytes."""
        self.marks = memoryview(memory)[: self.start].cast("Q")
        self.values = memoryview(memory)[self.start :].cast("d")
        self._region = sets * WAYS * words
        self.first = worker * self._region
        self.salt = blake2b(secret, digest_size=32, person=b"deepmoat.table").digest()

    @staticmethod
    def size(*, sets: int, regions: int, words: int) -> int:
        """Bytes of memory that such a table takes."""
        return sets * regions * WAYS * 8 * (1 + words)

    def find(self, spot: Spot) -> list[int]:
        """Where the cells of all workers for a key begin in ``values``."""
        marks = self.memory[spot.row : spot.row + self.row]
        if marks == spot.marks:
            return spot.cells  # nobody has come or gone in this set
        mark, base = spot.mark, spot.first - self.first
        at = marks.find(mark)
        found: list[int] = []
        while at >= 0:
            if not at & 7:
                found.append((at >> 5) * self._region + base + (at >> 3 & 3) * self.words)
            at = marks.find(mark, at + 1)
        if self.row <= _SHORT_ROW:
            spot.marks, spot.cells = marks, found
        return found

    def mine(self, spot: Spot) -> int:
        """Where this worker's own cell of a key begins; -1 without one."""
        marks, slot = self.marks, (spot.row >> 3) + self.worker * WAYS
        for way in range(WAYS):
            if marks[slot + way] == spot.number:
                spot.slot, spot.cell = slot + way, spot.first + way * self.words
                return spot.cell
        return -1

    def take(self, spot: Spot, worth: Callable[[int], float]) -> int:
        """Give the key this worker's cell of least ``worth`` in its set: all its words are 0 again."""
        cells = range(spot.first, spot.first + WAYS * self.words, self.words)
        cell = min(cells, key=worth)
        slot = (spot.row >> 3) + self.worker * WAYS + (cell - spot.first) // self.words
        self.marks[slot] = 0  # first: nobody adds the old numbers to the new key
        for word in range(cell, cell + self.words):
            self.values[word] = 0.0
        self.marks[slot] = spot.number
        spot.slot, spot.cell = slot, cell
        return cell


S = TypeVar("S", bound=Spot)


class Recent(Generic[S]):
    """The spots of the keys met lately, at most as many as this worker has cells, and 8,192.

    The first that came goes first; one that is in use comes back with its next request.
    """

    def __init__(self, table: Table, make: Callable[[Table, str], S]) -> None:
        self._table, self._make = table, make
        self._most = min(_REMEMBERED, table.sets * WAYS)
        self._spots: OrderedDict[str, S] = OrderedDict()
        self.get = self._spots.get
        """The spot of a key where it is remembered, else None."""

    def __len__(self) -> int:
        return len(self._spots)

    def spot(self, key: str) -> S:
        """The spot of a key, remembered from now on."""
        spots = self._spots
        spot = spots.get(key)
        if spot is None:
            if len(spots) >= self._most:
                spots.popitem(last=False)
            spot = spots[key] = self._make(self._table, key)
        return spot
