"""Actions in force: which requests a person or a playbook has ordered to stop.

Core tells them in lines of JSON, with versions:

- ``{"version": N, "actions": [Action, …], "allow": [network, …]}``: all there are, where they are few;
- ``{"begin": N, "allow": […]}``, ``{"part": N, "actions": […]}`` …, ``{"end": N, "targets": n}``: all, in
  pieces. One action may come in several parts, each with some of the ``n`` targets. At the end it holds;
- ``{"from": M, "version": N, "added": [Action, …], "gained": [[id, targets], …], "lost": [[id, targets], …],
  "ends": [[id, end], …], "removed": [id, …]}``: what became of version M. One that does not fit is a gap.

Each order ends by itself by the worker's clock, so that it ends when core is dead.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import chain
from mmap import mmap
from typing import Any, Literal

import msgspec

from deepmoat.edge.guard.challenge import HEADERS, Challenge
from deepmoat.edge.guard.counters import Arrivals
from deepmoat.edge.guard.fields import Read, headers_of, readers
from deepmoat.edge.guard.orders import Book, Entry, Order
from deepmoat.edge.guard.settings import ChallengeSettings
from deepmoat.kit.errors import ConfigError, PeerError
from deepmoat.kit.meters import drop
from deepmoat.model import Action, Request, Target, Verdict

FIELDS: Mapping[str, Read] = readers()
"""What a target may name without a file of systems, and where a request has it."""

LIMITED_RATE, LIMITED_BURST, LIMITED_KEYS = 1.0, 5.0, 65_536
"""What a ``limit`` leaves each client: requests a second, and at once."""

_COMPONENT = "edge.actions"


class _Message(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """Any of the lines; which one it is says the field that is there."""

    version: int | None = None
    actions: tuple[Action, ...] | None = None
    allow: tuple[str, ...] = ()
    begin: int | None = None
    part: int | None = None
    end: int | None = None
    targets: int = 0
    since: int | None = None
    added: tuple[Action, ...] = ()
    gained: tuple[tuple[str, tuple[Target, ...]], ...] = ()
    lost: tuple[tuple[str, tuple[Target, ...]], ...] = ()
    ends: tuple[tuple[str, datetime], ...] = ()
    removed: tuple[str, ...] = ()


_DECODER = msgspec.json.Decoder(_Message)
Taken = Literal["ok", "gap"]


class InForce:
    """The check: requests under an order are blocked, have to solve a challenge, or are slowed down.

    ``take`` may run in another thread than ``check``, one line at a time.
    """

    def __init__(
        self,
        known: Mapping[str, Read] = FIELDS,
        challenge: Challenge | None = None,
        limiter: Callable[[], Arrivals] | None = None,
    ) -> None:
        """``known`` fields; ``limiter`` makes the counter of slowed clients when the first is wanted."""
        self._known = dict(known)
        self._challenge = challenge or Challenge(ChallengeSettings(), b"")
        self._limiter = limiter or _own_limiter
        self._slow: Arrivals | None = None
        self._book = Book(self._known)
        self._staged: Book | None = None
        self._staged_targets = 0
        self.headers: frozenset[bytes] = frozenset()

    @property
    def version(self) -> int:
        """Of what core said last."""
        return self._book.version

    @property
    def unknown(self) -> int:
        """How many targets of the orders in force name what cannot be seen here."""
        return self._book.unknown

    def in_force(self, now: float) -> int:
        """How many targets are under an order at ``now``."""
        return sum(o.targets for o in list(self._book.orders.values()) if o.start <= now < o.end)

    def adopt(self, known: Mapping[str, Read], challenge: Challenge) -> bool:
        """Go on with other settings; True when core has to tell everything again, for fields came or went."""
        self._challenge = challenge
        again = self._known.keys() != known.keys()
        self._known = dict(known)
        return again

    def check(self, request: Request, now: float) -> Verdict | None:
        """The verdict of the first order in force at ``now`` (seconds since 1970), else no opinion."""
        book = self._book
        if not book.tables:
            return None
        addresses = book.addresses
        if addresses is not None:
            address = request.client_address
            entry = addresses.parts[hash(address) & 255].get(address)
            if entry is not None and (verdict := self._apply(entry, request, now)):
                return verdict
        for read, table in book.others:
            entry = table.get(read(request))
            if entry is None or book.spares(request.client_address):
                continue
            if verdict := self._apply(entry, request, now):
                return verdict
        if book is not self._book:  # replaced while we looked, and perhaps being emptied
            return self.check(request, now)
        return None

    def _apply(self, entry: Entry, request: Request, now: float) -> Verdict | None:
        if isinstance(entry, Order):
            return self._verdict(entry, request, now) if entry.start <= now < entry.end else None
        for order in sorted((o for o in entry if o.start <= now < o.end), key=Order.strength, reverse=True):
            if verdict := self._verdict(order, request, now):
                return verdict
        return None

    def _verdict(self, order: Order, request: Request, now: float) -> Verdict | None:
        verdict = order.verdict
        if order.kind == "block":
            return verdict
        if order.kind == "challenge":
            return self._challenge.ask(request, now, verdict.rule, verdict.reason)
        slow = self._slow = self._slow or self._limiter()
        return verdict if slow.spend(f"{verdict.rule} {request.client_address}", now) else None

    # What core says.

    def take(self, line: bytes) -> Taken:
        """Put one line of core into force; ``gap`` when it does not follow on what is known here.

        After a gap everything has to be told again: connect anew. Raises PeerError for a line that is none
        of ours; it changes nothing. A line has some 1,000 targets: a few milliseconds.
        """
        message = _decoded(line)
        if message.since is not None:
            return self._follow(message)
        if message.actions is not None and message.version is not None:
            book = self._new_book(message.version, message.allow)
            _fill(book, message.actions)
            self._replace(book)
            return "ok"
        return self._gather(message)

    def restore(self, snapshot: Iterable[bytes], delta: bytes) -> None:
        """What core left in its files: the lines of ``actions.json``, then those of ``actions.delta``.

        Read ``delta`` before the snapshot is opened: core writes a new snapshot before it empties the other,
        so nothing falls between. Raises PeerError where a line cannot be read; what came before it holds.
        """
        for line in chain(snapshot, delta.splitlines()):
            if self.take(line) == "gap":
                return

    def _gather(self, message: _Message) -> Taken:
        if message.begin is not None:
            self._staged, self._staged_targets = self._new_book(message.begin, message.allow), 0
            return "ok"
        staged = self._staged
        if message.part is not None and message.actions is not None:
            if staged is None or staged.version != message.part:
                return "gap"
            _fill(staged, message.actions)
            self._staged_targets += sum(len(a.targets) for a in message.actions)
            return "ok"
        if message.end is None:
            raise PeerError("a message without a meaning", where=_COMPONENT)
        self._staged = None
        if staged is None or staged.version != message.end or self._staged_targets != message.targets:
            return "gap"
        self._replace(staged)
        return "ok"

    def _new_book(self, version: int, allow: tuple[str, ...]) -> Book:
        try:
            return Book(self._known, version, allow)
        except ConfigError as exc:
            raise PeerError(f"not a network: {exc}", where=_COMPONENT) from exc

    def _follow(self, message: _Message) -> Taken:
        book = self._book
        if message.version is None:
            raise PeerError("a change without a version", where=_COMPONENT)
        if message.version <= book.version:
            return "ok"  # known already: a file holds what a later one says, too
        if message.since != book.version:
            return "gap"
        unknown = book.unknown
        _change(book, message)
        book.version = message.version
        self._known_now(book.unknown - unknown)
        return "ok"

    def _replace(self, book: Book) -> None:
        old, self._book = self._book, book
        self._staged = None
        self._known_now(book.unknown)
        old.dismantle()

    def _known_now(self, unknown: int) -> None:
        """Count targets that cannot be seen here; say which headers the others want."""
        if unknown:
            drop(_COMPONENT, "unknown_target", unknown)
        book = self._book
        headers = headers_of(name for spec in book.tables for name in spec)
        if any(o.kind == "challenge" for o in book.orders.values()):
            headers |= HEADERS
        self.headers = headers


def _decoded(line: bytes) -> _Message:
    try:
        message = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PeerError(f"not a list of actions: {exc}", where=_COMPONENT) from exc
    if message.actions is None and message.begin is message.end is message.since is None:
        raise PeerError("a message without a meaning", where=_COMPONENT)
    if message.since is not None and message.version is None:
        raise PeerError("no version", where=_COMPONENT)
    return message


def _fill(book: Book, actions: tuple[Action, ...]) -> None:
    for action in actions:
        book.aim(book.open(action), action.targets)


def _change(book: Book, message: _Message) -> None:
    """Put what became of the last version into ``book``; ids it does not know are nothing to it."""
    for action in message.added:
        book.close(action.id)
        book.aim(book.open(action), action.targets)
    known = book.orders
    for id, targets in (pair for pair in message.gained if pair[0] in known):
        book.aim(known[id], targets)
    for id, end in (pair for pair in message.ends if pair[0] in known):
        known[id].end = end.timestamp()
    for id, targets in (pair for pair in message.lost if pair[0] in known):
        book.spare(known[id], targets)
    for id in message.removed:
        book.close(id)


def _own_limiter() -> Arrivals:
    return slow_clients(lambda name, size: mmap(-1, size), workers=1, worker=0, secret=b"")


def slow_clients(memory: Callable[[str, int], mmap], **place: Any) -> Arrivals:
    """What counts the requests of clients under a ``limit``; ``place`` are workers, worker and secret."""
    return Arrivals(memory, "limited", rate=LIMITED_RATE, burst=LIMITED_BURST, keys=LIMITED_KEYS, **place)
