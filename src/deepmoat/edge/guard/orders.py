"""Orders by what they are aimed at: found in constant time, however many there are.

Theory of operation. Every set of fields that any target names (and every length of prefix, for networks)
has one table from values to the orders that want them. The tables are cut into 256 shards, so that none ever
stalls the loop by growing. Keys are texts: their hashes are salted, so nobody can choose addresses that
collide, and an address is found without being parsed. An order that is taken back is dead at once (its end is
moved to the past); its entries are swept out when they have become many. One thread writes while the loop
reads: each entry changes in one step.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Network, ip_address, ip_network
from typing import Any

import msgspec

from deepmoat.edge.guard.fields import Read
from deepmoat.kit.addresses import Networks, canonical
from deepmoat.model import Action, Request, Target, Verdict

_SHARDS, _MASK = 256, 255
_ADDRESS = "client_address"
_DEAD = float("-inf")
_ODD = re.compile(r"[^0-9a-f:]|^::ffff:|(?:^|:)0(?:[0-9a-f]|:|$)|:::|::.*::")
"""What canonical text has never (RFC 5952), or for IPv4 in IPv6, or for a zero group that stands alone."""
_FULL = 7
_SWEEP_FROM = 4_096
_RANK = {"limit": 0, "challenge": 1, "block": 2}
Spec = tuple[str, ...]
"""The fields of a table, sorted; ``client_address`` of a network is ``client_address/4/24``."""


class Order(msgspec.Struct, eq=False):
    """One action as enforced: from ``start`` until ``end`` (seconds since 1970), on ``targets`` targets."""

    start: float
    end: float
    kind: str
    verdict: Verdict
    targets: int = 0

    def strength(self) -> tuple[int, float]:
        """A block goes before a challenge before a limit, then the one that ends last."""
        return _RANK[self.kind], self.end


Entry = Order | tuple[Order, ...]


class Shards:
    """A dictionary in 256 pieces."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[dict[Any, Entry]] = [{} for _ in range(_SHARDS)]

    def get(self, key: Any) -> Entry | None:
        """What ``key`` is under."""
        return self.parts[hash(key) & _MASK].get(key)

    def part(self, key: Any) -> dict[Any, Entry]:
        """The piece that has or would have ``key``."""
        return self.parts[hash(key) & _MASK]


class Book:
    """All orders of one state of core. ``known`` says how to read the fields of a request."""

    def __init__(self, known: dict[str, Read], version: int = 0, allow: tuple[str, ...] = ()) -> None:
        """``allow`` are networks that no order hits; ConfigError for what is none."""
        self.version, self._known = version, known
        self._allow = Networks(allow)
        self.orders: dict[str, Order] = {}
        self.tables: dict[Spec, Shards] = {}
        self.unknown = self._dead = 0
        self.addresses: Shards | None = None
        self.others: tuple[tuple[Callable[[Request], Any], Shards], ...] = ()

    def open(self, action: Action) -> Order:
        """The order of ``action``, made where there is none; its targets come by ``aim``."""
        order = self.orders.get(action.id)
        if order is None:
            order = self.orders[action.id] = order_of(action)
        return order

    def aim(self, order: Order, targets: tuple[Target, ...]) -> None:
        """Put ``targets`` under ``order``. Those that cannot be seen here are left out and counted.

        The rest of a conjunction alone would hit requests nobody meant.
        """
        for target in targets:
            place = self._place(target)
            if place is None:
                self.unknown += 1
                continue
            spec, key = place
            part = self._table(spec).part(key)
            old = part.get(key)
            if old is None:
                part[key] = order
            elif order in _each(old):
                continue
            else:
                part[key] = (*(o for o in _each(old) if o.end != _DEAD), order)
            order.targets += 1

    def spare(self, order: Order, targets: tuple[Target, ...]) -> None:
        """Take ``targets`` out from under ``order``."""
        for target in targets:
            place = self._place(target)
            if place is None or (table := self.tables.get(place[0])) is None:
                continue
            part = table.part(place[1])
            old = _each(part.get(place[1], ()))
            if order not in old:
                continue
            order.targets -= 1
            _put(part, place[1], tuple(o for o in old if o is not order))

    def close(self, id: str) -> None:
        """Take the whole order back."""
        order = self.orders.pop(id, None)
        if order is not None:
            order.end = _DEAD
            self._dead += order.targets
            self.sweep()

    def spares(self, address: str) -> bool:
        """May nothing hit ``address``? Core sees to it where an order names addresses; else this is asked."""
        return address in self._allow

    def sweep(self) -> None:
        """Forget entries of dead orders, once they are as many as the living, a piece at a time."""
        if self._dead < max(_SWEEP_FROM, sum(o.targets for o in self.orders.values())):
            return
        self._dead = 0
        for table in self.tables.values():
            for part in table.parts:
                for key, entry in list(part.items()):
                    if any(o.end == _DEAD for o in _each(entry)):
                        _put(part, key, tuple(o for o in _each(entry) if o.end != _DEAD))

    def dismantle(self) -> None:
        """Free the memory a piece at a time: all at once would hold up every thread."""
        for table in self.tables.values():
            for part in table.parts:
                part.clear()

    def _table(self, spec: Spec) -> Shards:
        table = self.tables.get(spec)
        if table is None:
            table = self.tables[spec] = Shards()
            if spec == (_ADDRESS,):
                self.addresses = table
            else:
                self.others = (*self.others, (_reader(spec, self._known), table))
        return table

    def _place(self, target: Target) -> tuple[Spec, Any] | None:
        """The table and the key of ``target``; None where it cannot be seen here."""
        if len(target) == 1 and target[0][0] == _ADDRESS and "/" not in target[0][1]:
            value = target[0][1]
            return _ONE_ADDRESS, spelled(value)
        pairs = sorted(set(target))
        fields = {field for field, _ in pairs}
        if not pairs or len(fields) < len(pairs) or not fields <= self._known.keys():
            return None
        placed = [_placed(field, value) for field, value in pairs]
        if None in placed:
            return None
        spec, values = zip(*placed, strict=True)
        return spec, values if len(values) > 1 else values[0]


_ONE_ADDRESS: Spec = (_ADDRESS,)


def order_of(action: Action) -> Order:
    """How ``action`` is enforced."""
    rule = f"action/{action.id}"
    verdict = (
        Verdict("limit", rule, action.reason, 429, 1)
        if action.kind == "limit"
        else Verdict(action.kind, rule, action.reason, 403)
    )
    return Order(action.start.timestamp(), action.end.timestamp(), action.kind, verdict)


def _each(entry: Entry) -> tuple[Order, ...]:
    return entry if isinstance(entry, tuple) else (entry,)


def _put(part: dict[Any, Entry], key: Any, orders: tuple[Order, ...]) -> None:
    if orders:
        part[key] = orders if len(orders) > 1 else orders[0]
    else:
        del part[key]


def _placed(field: str, value: str) -> tuple[str, Any] | None:
    """The name a field has in a Spec, and its value as the reader gives it."""
    if field == "client_asn":
        return field, value.upper().removeprefix("AS")
    if field == "client_country":
        return field, value.upper()
    if field != _ADDRESS:
        return field, value
    if "/" not in value:
        return field, spelled(value)
    return _network(value)


def spelled(address: str) -> str:
    """``address`` in canonical text; fast for what is in it already, as core writes it.

    >>> spelled("::ffff:192.0.2.1"), spelled("2001:DB8:0:0::1"), spelled("2001:db8::1")
    ('192.0.2.1', '2001:db8::1', '2001:db8::1')
    """
    if ":" not in address or not (_ODD.search(address) or ("::" in address and address.count(":") == _FULL)):
        return address
    return canonical(address) or address


def _network(text: str) -> tuple[str, Any] | None:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    first, length = network.network_address, network.prefixlen
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped and length >= 96:
        first, length = network.network_address.ipv4_mapped, length - 96
    if length == first.max_prefixlen:
        return _ADDRESS, str(first)
    return f"{_ADDRESS}/{first.version}/{length}", int(first) >> (first.max_prefixlen - length)


@lru_cache(16_384)
def _number(address: str) -> tuple[int, int]:
    """Version and number of an address; version 0 for what is none."""
    try:
        value = ip_address(address)
    except ValueError:
        return 0, 0
    return value.version, int(value)


def _reader(spec: Spec, known: dict[str, Read]) -> Callable[[Request], Any]:
    """How to read the key that a request has in the table of ``spec``."""
    reads = tuple(_read_part(name, known) for name in spec)
    if len(reads) == 1:
        return reads[0]
    return lambda request: tuple([read(request) for read in reads])


def _read_part(name: str, known: dict[str, Read]) -> Callable[[Request], Any]:
    if "/" not in name:
        return known[name]
    _, version, length = name.split("/")
    wanted, shift = int(version), (32 if version == "4" else 128) - int(length)

    def read(request: Request) -> int:
        version, number = _number(request.client_address)
        return number >> shift if version == wanted else -1

    return read
