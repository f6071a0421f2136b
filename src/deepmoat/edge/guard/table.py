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
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from mmap import mmap

WAYS = 4
_REMEMBERED = 8_192
_NONE = bytes(8)


def sets_for(keys: int) -> int:
    """How many sets hold about ``keys`` keys: a power of two.

    >>> sets_for(1), sets_for(100_000)
    (1, 32768)
    """
    return 1 << max(0, (keys + WAYS - 1) // WAYS - 1).bit_length()


class Table:
    """Cells of ``words`` floats each. ``memory`` has ``Table.size(...)`` bytes, zeros at first.

    ``worker`` writes region number ``worker`` of ``regions``. ``secret`` keys the hash: with an unknown one
    nobody can aim at another's cells. Every process must be given the same ``sets``, ``regions``, ``secret``.
    """

    def __init__(
        self, memory: mmap, *, sets: int, regions: int, worker: int, words: int, secret: bytes
    ) -> None:
        self.memory, self.words, self.sets = memory, words, sets
        self._row = regions * WAYS * 8
        start = sets * self._row
        self.values = memoryview(memory)[start:].cast("d")
        self._mine, self._region = worker * WAYS * 8, sets * WAYS * words
        self.first = worker * self._region
        self.last = self.first + self._region - 1
        self.place = _placer(secret, sets - 1, self._row, WAYS * words)

    @staticmethod
    def size(*, sets: int, regions: int, words: int) -> int:
        """Bytes of memory that such a table takes."""
        return sets * regions * WAYS * 8 * (1 + words)

    def find(self, key: str) -> list[int]:
        """Where ``key``'s cells begin in ``values``; those from ``first`` to ``last`` are this worker's."""
        mark, row, base = self.place(key)
        marks = self.memory[row : row + self._row]
        at = marks.find(mark)
        found: list[int] = []
        while at >= 0:
            if not at & 7:
                found.append((at >> 5) * self._region + base + (at >> 3 & 3) * self.words)
            at = marks.find(mark, at + 1)
        return found

    def mine(self, key: str) -> int:
        """Where this worker's own cell of ``key`` begins; -1 without one."""
        mark, row, base = self.place(key)
        row += self._mine
        marks = self.memory[row : row + WAYS * 8]
        at = marks.find(mark)
        while at > 0 and at & 7:
            at = marks.find(mark, at + 1)
        return -1 if at < 0 else self.first + base + (at >> 3) * self.words

    def candidates(self, key: str) -> range:
        """This worker's four cells for ``key``: one of them is to be given up."""
        first = self.first + self.place(key)[2]
        return range(first, first + WAYS * self.words, self.words)

    def take(self, key: str, cell: int) -> None:
        """Give ``cell``, one of ``candidates``, to ``key``: all its words are 0 again."""
        mark, row, _ = self.place(key)
        way = cell // self.words % WAYS
        at = row + self._mine + way * 8
        self.memory[at : at + 8] = _NONE  # first: nobody adds the old numbers to the new key
        for word in range(cell, cell + self.words):
            self.values[word] = 0.0
        self.memory[at : at + 8] = mark


def _placer(secret: bytes, mask: int, row: int, width: int) -> Callable[[str], tuple[bytes, int, int]]:
    """From a key to its mark, to where the marks of its set begin and its words in a region."""
    salt = blake2b(secret, digest_size=32, person=b"deepmoat.table").digest()

    @lru_cache(_REMEMBERED)
    def place(key: str) -> tuple[bytes, int, int]:
        mark = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=salt).digest()
        if mark == _NONE:
            mark = b"\1" + mark[1:]
        number = int.from_bytes(mark, "little") & mask
        return mark, number * row, number * width

    return place
