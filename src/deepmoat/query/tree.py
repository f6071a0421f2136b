"""The nodes a lowered query is made of. Nothing else in this package makes ClickHouse nodes.

What a user wrote enters only through ``text`` and ``number``: as literals. Identifiers are columns of
the built-in logstores or names numbered by us.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlglot import exp

from deepmoat.kit.errors import QueryError

Node = exp.Expr

NUMBER = re.compile(r"\d{1,40}(\.\d{0,40})?([eE][+-]?\d{1,3})?|\.\d{1,40}([eE][+-]?\d{1,3})?")
_FIRST, _LAST = 1902, 2261  # what DateTime64(9) holds, with a year to spare
_SOLID = (
    exp.Column,
    exp.Literal,
    exp.Anonymous,
    exp.AnonymousAggFunc,
    exp.ParameterizedAgg,
    exp.Paren,
    exp.Null,
    exp.Boolean,
    exp.Subquery,
    exp.Tuple,
    exp.Star,
    exp.Identifier,
)


def text(value: str) -> exp.Literal:
    """A string literal; QueryError for what no stored text can hold."""
    if "\0" in value:
        raise QueryError("the text holds a NUL character", hint="leave it out")
    return exp.Literal.string(value)


def number(value: str | int | float) -> Node:
    """A number literal; negative ones as ``negate(…)``, so that no two minus signs ever meet."""
    written = str(value)
    if written.startswith("-"):
        return call("negate", number(written[1:]))
    if not NUMBER.fullmatch(written):
        raise QueryError(f"{written[:50]!r} is no number")
    return exp.Literal.number(written)


def moment(value: datetime, zone: str = "UTC") -> Node:
    """A point in time, to the microsecond."""
    if not _FIRST <= value.year <= _LAST:
        raise QueryError(f"the year {value.year} is out of range", hint=f"{_FIRST} to {_LAST}")
    written = value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    instant = call("toDateTime64", text(written), number(9), text("UTC"))
    return instant if zone == "UTC" else call("toTimeZone", instant, text(zone))


def null() -> exp.Null:
    """NULL."""
    return exp.Null()


def call(name: str, *arguments: Node) -> exp.Anonymous:
    """A call of a ClickHouse function."""
    return exp.Anonymous(this=name, expressions=[_free(a) for a in arguments])


def aggregate(name: str, *arguments: Node) -> exp.AnonymousAggFunc:
    """A call of a ClickHouse aggregate."""
    return exp.AnonymousAggFunc(this=name, expressions=[_free(a) for a in arguments])


def parametric(name: str, parameters: Sequence[Node], *arguments: Node) -> exp.ParameterizedAgg:
    """An aggregate with parameters, such as ``quantile(0.5)(x)``."""
    return exp.ParameterizedAgg(
        this=name, expressions=[_free(p) for p in parameters], params=[_free(a) for a in arguments]
    )


def column(name: str, table: str = "") -> exp.Column:
    """A column, of ``table`` when that is named."""
    return exp.Column(
        this=exp.to_identifier(name, quoted=False),
        table=exp.to_identifier(table, quoted=False) if table else None,
    )


def infix(kind: type[exp.Binary], left: Node, right: Node) -> Node:
    """``left OP right``, with the parentheses it needs."""
    return kind(this=solid(left), expression=solid(right))


def solid(node: Node) -> Node:
    """``node``, in parentheses unless it stands by itself."""
    node = _free(node)
    return node if isinstance(node, _SOLID) else exp.Paren(this=node)


def negation(node: Node) -> Node:
    """``NOT node``."""
    return exp.Not(this=solid(node))


def every(nodes: Iterable[Node]) -> Node | None:
    """All of them; None when there are none."""
    return _joined(exp.And, list(nodes))


def some(nodes: Iterable[Node]) -> Node | None:
    """At least one of them; None when there are none."""
    return _joined(exp.Or, list(nodes))


def among(node: Node, choices: Sequence[Node]) -> Node:
    """``node IN (choices)``."""
    return exp.In(this=solid(node), expressions=[_free(c) for c in choices])


def between(node: Node, low: Node, high: Node) -> Node:
    """``node BETWEEN low AND high``."""
    return exp.Between(this=solid(node), low=solid(low), high=solid(high))


def arrow(variable: str, body: Node) -> exp.Lambda:
    """``variable -> body``."""
    return exp.Lambda(this=_free(body), expressions=[exp.to_identifier(variable, quoted=False)])


def _joined(kind: type[exp.Connector], nodes: list[Node]) -> Node | None:
    """A balanced tree, so that a thousand alternatives nest ten deep."""
    if len(nodes) < 2:
        return nodes[0] if nodes else None
    middle = len(nodes) // 2
    left, right = _joined(kind, nodes[:middle]), _joined(kind, nodes[middle:])
    return kind(this=_side(kind, left), expression=_side(kind, right))


def _side(kind: type[exp.Connector], node: Node | None) -> Node:
    assert node is not None  # noqa: S101
    return _free(node) if isinstance(node, kind) else solid(node)


def _free(node: Node) -> Node:
    """A node belongs to one parent: a second use is a copy."""
    return node.copy() if node.parent else node
