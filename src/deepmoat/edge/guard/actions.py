"""Actions in force: which requests a person or a playbook has ordered to stop.

The orders come from core as one line of JSON with *all* of them, so a lost message cannot leave a
stale order behind, and each ends by itself on time when core is dead. Look-up does not depend on how
many there are: for every set of fields that any target names there is one dictionary from their
values to the order.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec

from deepmoat.edge.guard.rate import Buckets
from deepmoat.kit.addresses import canonical
from deepmoat.kit.errors import PeerError
from deepmoat.model import Action, Request, Verdict

FIELDS: dict[str, Callable[[Request], str]] = {
    "client_address": lambda r: r.client_address,
    "url_path": lambda r: r.path,
    "server_address": lambda r: r.host,
    "key_hash": lambda r: r.key_hash,
    "user_agent_original": lambda r: r.headers.get("user-agent", ""),
    "http_request_method": lambda r: r.method,
}
"""What a target may name, and where a request has it."""

_LIMITED_RATE, _LIMITED_BURST, _LIMITED_CLIENTS = 1.0, 5.0, 100_000


class _Message(msgspec.Struct, frozen=True):
    version: int
    actions: tuple[Action, ...]


class Order(msgspec.Struct, frozen=True):
    """One action as it is enforced: from ``start`` until ``end``, seconds since 1970."""

    start: float
    end: float
    kind: str
    verdict: Verdict


class Orders(msgspec.Struct, frozen=True):
    """All orders of one message, by the fields they name and the values they want."""

    version: int = 0
    tables: dict[tuple[str, ...], dict[tuple[str, ...], Order]] = {}
    unknown: int = 0

    def in_force(self, now: float) -> int:
        """How many targets are under an order at ``now``."""
        return sum(o.start <= now < o.end for table in self.tables.values() for o in table.values())


def read_orders(line: bytes) -> Orders:
    """The orders in one message of core. Raises PeerError for a line that is none.

    A target with a field the edge cannot see is left out and counted in ``unknown``: the rest of a
    conjunction alone would hit requests nobody meant.
    """
    try:
        message = msgspec.json.decode(line, type=_Message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PeerError(f"not a list of actions: {exc}", where="actions") from exc
    tables: dict[tuple[str, ...], dict[tuple[str, ...], Order]] = {}
    unknown = 0
    for action in message.actions:
        order = _order(action)
        for target in action.targets:
            pairs = sorted(dict(target).items())
            if not pairs or any(field not in FIELDS for field, _ in pairs):
                unknown += 1
                continue
            table = tables.setdefault(tuple(f for f, _ in pairs), {})
            values = tuple(_value(f, v) for f, v in pairs)
            table[values] = _stronger(table.get(values), order)
    return Orders(message.version, tables, unknown)


def _order(action: Action) -> Order:
    verdict = (
        Verdict("block", f"action/{action.id}", action.reason, 403)
        if action.kind == "block"
        else Verdict("limit", f"action/{action.id}", action.reason, 429, 1)
    )
    return Order(_seconds(action.start), _seconds(action.end), action.kind, verdict)


def _seconds(moment: datetime) -> float:
    return moment.timestamp()


def _value(field: str, value: str) -> str:
    return canonical(value) or value if field == "client_address" else value


def _stronger(old: Order | None, new: Order) -> Order:
    """Of two orders on one target, a block before a limit, then the one that ends last."""
    if old is None:
        return new
    return max(old, new, key=lambda o: (o.kind == "block", o.end))


class InForce:
    """The check: requests under an order are blocked or slowed down."""

    def __init__(self) -> None:
        self.orders = Orders()
        self._by_address: dict[tuple[str, ...], Order] = {}
        self._others: list[tuple[tuple[Callable[[Request], str], ...], dict[tuple[str, ...], Order]]] = []
        self._slow = Buckets(_LIMITED_RATE, _LIMITED_BURST, _LIMITED_CLIENTS)

    def replace(self, orders: Orders) -> None:
        """From now on exactly these ``orders`` hold."""
        self.orders = orders
        self._by_address = orders.tables.get(("client_address",), {})
        self._others = [
            (tuple(FIELDS[f] for f in fields), table)
            for fields, table in orders.tables.items()
            if fields != ("client_address",)
        ]

    def check(self, request: Request, now: float) -> Verdict | None:
        """The verdict of the first order in force at ``now`` (seconds since 1970), else no opinion."""
        order = self._by_address.get((request.client_address,))
        if order is not None and (verdict := self._apply(order, request, now)):
            return verdict
        for readers, table in self._others:
            order = table.get(tuple([read(request) for read in readers]))
            if order is not None and (verdict := self._apply(order, request, now)):
                return verdict
        return None

    def _apply(self, order: Order, request: Request, now: float) -> Verdict | None:
        if not order.start <= now < order.end:
            return None
        if order.kind == "limit" and self._slow.take(f"{order.verdict.rule} {request.client_address}", now):
            return None
        return order.verdict
