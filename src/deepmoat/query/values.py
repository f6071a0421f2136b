"""Value: an expression with its type, and how one type becomes another.

Conversions that can fail on data give NULL; those that fail on what the user wrote are a QueryError.
"""

from collections.abc import Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from zoneinfo import ZoneInfo

import msgspec
from sqlglot import exp

from deepmoat.kit.errors import QueryError
from deepmoat.query import kinds, tree
from deepmoat.query.context import Context
from deepmoat.query.kinds import ADDRESS, BOOLEAN, INTEGER, NUMBER, NUMERIC, TEXT, TIME, Type
from deepmoat.query.tree import Node, call


class Value(msgspec.Struct):
    """A lowered expression and its type."""

    node: Node
    type: Type

    @property
    def literal(self) -> str | None:
        """The text of a string literal; None for anything else."""
        return self.node.name if isinstance(self.node, exp.Literal) and self.node.is_string else None


def convert(value: Value, want: Type, context: Context) -> Node:
    """``value`` as a ``want``; QueryError where that makes no sense."""
    if want in {kinds.ANY, value.type} or value.type == kinds.NULL or _same_shape(value.type, want):
        return value.node
    if want == TEXT:
        return as_text(value, context)
    if want in NUMERIC:
        return _as_number(value)
    if want == TIME:
        return _as_time(value, context)
    if want == ADDRESS and value.type == TEXT:
        return _as_address(value)
    if want == kinds.JSON and value.type == TEXT:
        return value.node
    raise QueryError(f"wants {want}, not {value.type}", hint="cast(x as …) converts")


def as_text(value: Value, context: Context) -> Node:
    """How people write it: addresses canonically, times in the query's zone to the millisecond."""
    if value.type in {TEXT, kinds.JSON, kinds.NULL}:
        return value.node
    if value.type == ADDRESS:
        return address_text(value.node)
    if value.type == TIME:
        return call("toString", call("toDateTime64", value.node, tree.number(3), tree.text(context.zone)))
    if value.type == BOOLEAN:
        return call("if", value.node, tree.text("true"), tree.text("false"))
    return call("toString", value.node)


def unix_time(node: Node) -> Node:
    """A time in seconds since 1970, to the microsecond."""
    fine = call("toUnixTimestamp64Micro", call("toDateTime64", node, tree.number(6), tree.text("UTC")))
    return call("divide", fine, tree.number(1_000_000))


def address_text(node: Node) -> Node:
    """An IPv6 column as canonical text: 192.0.2.1, not ::ffff:192.0.2.1."""
    mapped = tree.text(r"^::ffff:(\d+\.)")
    return call("replaceRegexpOne", call("toString", node), mapped, tree.text(r"\1"))


def address(text: str) -> Node | None:
    """The address ``text`` names, as ClickHouse holds it; None where it is none."""
    try:
        return _address_node(int(ip_address(text.strip())), isinstance(ip_address(text.strip()), IPv4Address))
    except ValueError:
        return None


def network(text: str) -> tuple[Node, Node] | None:
    """First and last address of a network (CIDR); None where it is none."""
    try:
        net: IPv4Network | IPv6Network = ip_network(text.strip(), strict=False)
    except ValueError:
        return None
    old = isinstance(net, IPv4Network)
    return _address_node(int(net[0]), old), _address_node(int(net[-1]), old)


def common(values: Sequence[Value], context: Context) -> tuple[list[Node], Type]:
    """Values of one CASE, IF or COALESCE as one type."""
    types = {v.type for v in values} - {kinds.NULL}
    if len(types) <= 1:
        return [v.node for v in values], types.pop() if types else kinds.NULL
    if types <= NUMERIC:
        return [v.node for v in values], NUMBER
    if all(t.name in {"text", "address", "integer", "number", "time", "boolean", "json"} for t in types):
        return [convert(v, TEXT, context) for v in values], TEXT
    listed = ", ".join(sorted(map(str, types)))
    raise QueryError(f"the branches have different types: {listed}", hint="cast(x as varchar)")


def pair(left: Value, right: Value, context: Context) -> tuple[Node, Node]:
    """Two values as one type, for a comparison."""
    if left.type == right.type or kinds.NULL in {left.type, right.type}:
        return left.node, right.node
    if left.type in NUMERIC and right.type in NUMERIC:
        return left.node, right.node
    for a, b in ((left, right), (right, left)):
        want = _for_comparison(a, b)
        if want:
            nodes = convert(a, want, context), convert(b, want, context)
            return nodes if a is left else nodes[::-1]
    raise QueryError(f"cannot compare {left.type} with {right.type}", hint="cast(x as …) converts")


def _for_comparison(a: Value, b: Value) -> Type | None:
    """The type both take when ``a`` decides."""
    if a.type == ADDRESS and b.type == TEXT:
        return ADDRESS if b.literal is not None and address(b.literal) is not None else TEXT
    if a.type == TIME and (b.type == TEXT or b.type in NUMERIC):
        return TIME
    if a.type in NUMERIC and b.type in {TEXT, kinds.JSON, BOOLEAN}:
        return NUMBER
    if a.type in {BOOLEAN, kinds.JSON} and b.type == TEXT:
        return TEXT
    return None


def _as_number(value: Value) -> Node:
    if value.type in NUMERIC or value.type == BOOLEAN:
        return value.node
    if value.literal is not None:
        try:
            return tree.number(value.literal.strip())
        except QueryError as exc:
            raise QueryError(f"{value.literal[:50]!r} is no number", hint="write it without quotes") from exc
    if value.type in {TEXT, kinds.JSON}:
        return call("toFloat64OrNull", value.node)
    if value.type == TIME:
        return unix_time(value.node)
    raise QueryError(f"wants a number, not {value.type}", hint="cast(x as double) converts")


def _as_time(value: Value, context: Context) -> Node:
    if value.literal is not None:
        return _written_time(value.literal, context)
    zone = tree.text(context.zone)
    if value.type == TEXT:
        return call("parseDateTime64BestEffortOrNull", value.node, tree.number(6), zone)
    if value.type in NUMERIC:
        return call("toDateTime64", value.node, tree.number(3 if value.type == INTEGER else 6), zone)
    raise QueryError(f"wants a time, not {value.type}")


def _written_time(text: str, context: Context) -> Node:
    words, zone = text.strip(), context.zone
    head, _, tail = words.rpartition(" ")
    if "/" in tail:
        words, zone = head, tail
    try:
        when = datetime.fromisoformat(words)
        when = when if when.tzinfo else when.replace(tzinfo=ZoneInfo(zone))
        return tree.moment(when, context.zone)
    except (ValueError, OSError, OverflowError, KeyError) as exc:
        raise QueryError(f"{text[:50]!r} is no time", hint="such as 2026-01-31 08:00:00") from exc


def _as_address(value: Value) -> Node:
    if value.literal is None:
        return call("toIPv6OrNull", value.node)
    return address(value.literal) or tree.null()


def _address_node(value: int, old: bool) -> Node:
    plain = str(IPv4Address(value)) if old else ip_address(value.to_bytes(16, "big")).compressed
    return call("toIPv6", tree.text(f"::ffff:{plain}" if old else plain))


def _same_shape(have: Type, want: Type) -> bool:
    """An array of anything takes any array."""
    return have.name == want.name and want.of in {kinds.ANY, None}
