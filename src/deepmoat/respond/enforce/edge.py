"""edge: the form in which our own edge is told the actions in force.

Lines of JSON, none with many more than ``PIECE`` targets, so that neither end ever decodes for long:

- ``{"version": N, "actions": [Action, …], "allow": [network, …]}``: all there are, where they fit one line;
- ``{"begin": N, "allow": […]}``, ``{"part": N, "actions": […]}`` …, ``{"end": N, "targets": n}``: all, in
  pieces. One action may come in several parts, each with some of the n targets;
- ``{"from": M, "version": N, …}``: what is different from version M: ``added`` actions (in the place of one
  of the same id), targets ``gained`` and ``lost`` by id, ``ends`` that moved, ids ``removed``.

A version is never smaller than an earlier one, also over a restart of core.
"""

from collections.abc import Iterable, Iterator

import msgspec

from deepmoat.model import Action, Target

PIECE = 1_000
_ENCODER = msgspec.json.Encoder()
Targets = tuple[Target, ...]


class Orders(msgspec.Struct, frozen=True):
    """All actions in force, the version of that knowledge, and the networks that no action may hit."""

    version: int
    actions: tuple[Action, ...] = ()
    allow: tuple[str, ...] = ()

    def size(self) -> int:
        """How many targets there are."""
        return sum(len(action.targets) for action in self.actions)


class _Versions(msgspec.Struct):
    version: int = 0
    begin: int = 0


Step = tuple[str, object, int]
"""A field of a delta, one entry for it, and how many targets that has."""


def encode(orders: Orders) -> bytes:
    """All of ``orders`` in one line, with its newline."""
    return _ENCODER.encode(orders) + b"\n"


def decode(line: bytes) -> Orders:
    """The orders in a line of ``encode``; ValueError (msgspec.DecodeError) where there are none."""
    return msgspec.json.decode(line, type=Orders)


def version_of(line: bytes) -> int:
    """The version that a line tells or begins to tell; ValueError (msgspec.DecodeError) for another."""
    told = msgspec.json.decode(line, type=_Versions)
    return max(told.version, told.begin)


def next_version(last: int, now: float) -> int:
    """Greater than ``last``, and than any version of an earlier run with this clock."""
    return max(last + 1, int(now * 1000))


def pieces(orders: Orders) -> Iterator[bytes]:
    """The lines that tell all of ``orders``: one where they fit it."""
    size = orders.size()
    if size <= PIECE:
        yield encode(orders)
        return
    yield _ENCODER.encode({"begin": orders.version, "allow": orders.allow}) + b"\n"
    batches = _packed(("actions", part, len(part.targets)) for a in orders.actions for part in _parts(a))
    for batch in batches:
        part = {"part": orders.version, "actions": [entry for _, entry, _ in batch]}
        yield _ENCODER.encode(part) + b"\n"
    yield _ENCODER.encode({"end": orders.version, "targets": size}) + b"\n"


def changes(old: Iterable[Action], new: Iterable[Action]) -> list[Step]:
    """What makes ``new`` out of ``old``, as far as an enforcer cares. What comes stands before what goes."""
    before, after = {a.id: a for a in old}, {a.id: a for a in new}
    comes: list[Step] = []
    goes: list[Step] = [("removed", id, 1) for id in before if id not in after]
    for id, action in after.items():
        if id not in before or not _same(before[id], action):
            first, *others = _parts(action)
            comes.append(("added", first, len(first.targets)))
            comes.extend(("gained", (id, part.targets), len(part.targets)) for part in others)
        elif before[id] is not action:
            _compare(before[id], action, comes, goes)
    return comes + goes


def deltas(steps: Iterable[Step], since: int, version: int) -> Iterator[tuple[int, int, bytes]]:
    """Lines that take a reader from ``since`` through ``version`` and on, one version a line.

    Yields (from, version, line); at least one line.
    """
    for batch in list(_packed(steps)) or [[]]:
        entries: dict[str, list[object]] = {}
        for field, entry, _ in batch:
            entries.setdefault(field, []).append(entry)
        line = _ENCODER.encode({"from": since, "version": version, **entries}) + b"\n"
        yield since, version, line
        since, version = version, version + 1


def _same(old: Action, new: Action) -> bool:
    """Do they differ in nothing but their targets, their end and what people read?"""
    return (old.kind, old.reason, old.start) == (new.kind, new.reason, new.start)


def _compare(old: Action, new: Action, comes: list[Step], goes: list[Step]) -> None:
    gained, lost = differing(old.targets, new.targets)
    comes.extend(("gained", (new.id, part), len(part)) for part in _cut(gained))
    if old.end != new.end:
        comes.append(("ends", (new.id, new.end), 1))
    goes.extend(("lost", (new.id, part), len(part)) for part in _cut(lost))


def differing(old: Targets, new: Targets) -> tuple[Targets, Targets]:
    """The targets only ``new`` has, and those only ``old`` has.

    Fast where few differ, as when targets were added at the end: what both begin and end with is not looked
    at one by one.

    >>> differing(((("a", "1"),), (("b", "2"),)), ((("a", "1"),), (("c", "3"),)))
    (((('c', '3'),),), ((('b', '2'),),))
    """
    start = _common(old, new)
    old, new = old[start:], new[start:]
    end = _common(old[::-1], new[::-1])
    old, new = old[: len(old) - end], new[: len(new) - end]
    if not old or not new:
        return new, old
    had, has = frozenset(old), frozenset(new)
    return tuple(t for t in new if t not in had), tuple(t for t in old if t not in has)


def _common(old: Targets, new: Targets) -> int:
    """How many of the first are the same in both."""
    low, high = 0, min(len(old), len(new))
    if old[:high] == new[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _parts(action: Action) -> Iterator[Action]:
    """``action`` with at most ``PIECE`` targets at a time; at least one part."""
    if len(action.targets) <= PIECE:
        yield action
        return
    for part in _cut(action.targets):
        yield msgspec.structs.replace(action, targets=part)


def _cut(targets: Targets) -> Iterator[Targets]:
    return (targets[i : i + PIECE] for i in range(0, len(targets), PIECE))


def _packed(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """Steps for a line each: of about ``PIECE`` targets, none of them twice as many."""
    batch: list[Step] = []
    size = 0
    for step in steps:
        batch.append(step)
        size += step[2] + 1
        if size >= PIECE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
