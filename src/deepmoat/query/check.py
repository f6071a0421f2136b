"""The wall: a generated query may hold these nodes, tables and functions, and nothing else.

It stands apart from lowering on purpose: it knows nothing of how a tree came to be, and a mistake there
ends here. The names below are written out, so that adding one is a decision someone reviews. Behind it
stands a connection with readonly=1 and limits; that alone would still let the scalar file() and
INTO OUTFILE through.
"""

import re
from collections.abc import Callable

from sqlglot import exp

from deepmoat.kit.errors import QueryError
from deepmoat.model import LOGSTORES

DEEPEST = 400
MOST = 60_000
DICTIONARY = ("moat.countries", "code")

_NAME = re.compile(r"[tcv]\d{1,6}")
_COLUMNS = frozenset(c.name for s in LOGSTORES.values() for c in s.columns)
_NUMBER = re.compile(r"\d{1,40}(\.\d{0,40})?([eE][+-]?\d{1,3})?|\.\d{1,40}([eE][+-]?\d{1,3})?")

_PAIR = frozenset({"this", "expression"})
# Each kind of node, and the parts of it that may be filled.
NODES: dict[type, frozenset[str]] = {
    exp.Select: frozenset(
        {"expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "distinct"}
    ),
    exp.Union: _PAIR | {"distinct"},
    exp.Subquery: frozenset({"this", "alias"}),
    exp.From: frozenset({"this"}),
    exp.Join: frozenset({"this", "side", "kind", "on"}),
    exp.Where: frozenset({"this"}),
    exp.Group: frozenset({"expressions"}),
    exp.Having: frozenset({"this"}),
    exp.Order: frozenset({"expressions"}),
    exp.Ordered: frozenset({"this", "desc", "nulls_first"}),
    exp.Limit: frozenset({"expression"}),
    exp.Offset: frozenset({"expression"}),
    exp.Distinct: frozenset(),
    exp.Alias: frozenset({"this", "alias"}),
    exp.Table: frozenset({"this"}),
    exp.TableAlias: frozenset({"this"}),
    exp.Identifier: frozenset({"this"}),
    exp.Column: frozenset({"this", "table"}),
    exp.Star: frozenset(),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Null: frozenset(),
    exp.Boolean: frozenset({"this"}),
    exp.Paren: frozenset({"this"}),
    exp.Array: frozenset({"expressions"}),
    exp.Lambda: frozenset({"this", "expressions"}),
    exp.Anonymous: frozenset({"this", "expressions"}),
    exp.AnonymousAggFunc: frozenset({"this", "expressions"}),
    exp.ParameterizedAgg: frozenset({"this", "expressions", "params"}),
    exp.In: frozenset({"this", "expressions", "query"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Not: frozenset({"this"}),
    exp.Like: _PAIR,
    exp.And: _PAIR,
    exp.Or: _PAIR,
    exp.EQ: _PAIR,
    exp.NEQ: _PAIR,
    exp.LT: _PAIR,
    exp.LTE: _PAIR,
    exp.GT: _PAIR,
    exp.GTE: _PAIR,
    exp.Add: _PAIR,
    exp.Sub: _PAIR,
    exp.Mul: _PAIR,
}

# The only parts that are text; each is held to a list or a pattern below.
WORDS = frozenset(
    {
        (exp.Identifier, "this"),
        (exp.Literal, "this"),
        (exp.Anonymous, "this"),
        (exp.AnonymousAggFunc, "this"),
        (exp.ParameterizedAgg, "this"),
        (exp.Join, "side"),
        (exp.Join, "kind"),
    }
)

# Functions of values, none of which reads a file, a socket, a table, a setting or the server.
_FUNCTIONS = """
    abs accurateCastOrNull addDays addHours addMilliseconds addMinutes addMonths addQuarters
    addSeconds addWeeks addYears age arrayConcat arrayDistinct arrayElement arrayElementOrNull
    arrayMap arrayMax arrayMin arraySlice arraySort arrayStringConcat cbrt ceil coalesce concat
    concatWithSeparator decodeURLFormComponent degrees divide divideOrNull domain e editDistanceUTF8
    encodeURLFormComponent equals exp exp10 extractAll extractURLParameter floor formatDateTime
    fragment greatest has if ifNull indexOf intDiv intDivOrNull isNull isValidJSON JSONExtractArrayRaw
    JSONExtractRaw JSONExtractString JSONLength JSONType least leftPadUTF8 length lengthUTF8 log
    log10 log2 lower lowerUTF8 mapContains mapValues match modulo moduloOrNull multiIf multiply negate
    nullIf parseDateTime64BestEffortOrNull parseDateTimeOrNull path pi plus port positionUTF8 pow
    protocol queryString radians regexpExtract replaceAll replaceRegexpAll replaceRegexpOne
    reverseUTF8 rightPadUTF8 sign splitByRegexp splitByString sqrt startsWith substringUTF8 toBool
    toDateTime64 toDayOfMonth toDayOfWeek toDayOfYear toFloat64 toFloat64OrNull toHour toInt64
    toInt64OrNull toIPv6 toIPv6OrNull toISOWeek toJSONString toMinute toMonday toMonth toQuarter
    toSecond toStartOfDay toStartOfHour toStartOfMinute toStartOfMonth toStartOfQuarter
    toStartOfSecond toStartOfTenMinutes toStartOfYear toString toTimeZone toUnixTimestamp64Micro
    toUnixTimestamp64Second toYear trimBoth trimLeft trimRight trunc tuple upperUTF8
"""
_AGGREGATES = """
    anyOrNull argMaxOrNull argMinOrNull avgDistinctOrNull avgOrNull corrOrNull count countIf
    maxOrNull minOrNull stddevPopOrNull stddevSampOrNull sumDistinctOrNull sumOrNull uniq uniqExact
    varPopOrNull varSampOrNull
"""
FUNCTIONS = frozenset(_FUNCTIONS.split())
AGGREGATES = frozenset(_AGGREGATES.split())
PARAMETRIC = frozenset({"groupArray", "groupUniqArray", "quantileOrNull", "quantilesOrNull"})


def checked(tree: exp.Expr) -> str:
    """The SQL of a tree that passes; QueryError for one that does not."""
    if not isinstance(tree, exp.Select):
        raise _refused("no SELECT")
    waiting, seen = [(tree, 1)], 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if depth > DEEPEST or seen > MOST:
            raise QueryError("the query is too large", hint="write it in simpler steps")
        _node(node)
        waiting += [(child, depth + 1) for child in node.iter_expressions()]
    return tree.sql(dialect="clickhouse", comments=False, identify=False)


def _node(node: exp.Expr) -> None:
    kind = type(node)
    allowed = NODES.get(kind)
    if allowed is None:
        raise _refused(kind.__name__.lower())
    if node.comments:
        raise _refused("comment")
    for part, value in node.args.items():
        if value not in (None, False, [], "") and part not in allowed:
            raise _refused(f"{kind.__name__.lower()} with {part}")
        if not (_is_tree(value) or (kind, part) in WORDS):
            raise _refused(f"{kind.__name__.lower()} with a bare {part}")
    special = _SPECIAL.get(kind)
    if special:
        special(node)


def _is_tree(value: object) -> bool:
    """Nodes, lists of nodes, yes or no: never text the generator would print as it is."""
    items = value if isinstance(value, list) else [value]
    return all(i is None or isinstance(i, exp.Expr | bool) for i in items)


def _table(node: exp.Expr) -> None:
    if not isinstance(node.this, exp.Identifier) or node.name not in LOGSTORES:
        raise _refused(f"table {node.name[:40]!r}")


def _identifier(node: exp.Expr) -> None:
    name = node.this
    inside = isinstance(node.parent, exp.Table) and name in LOGSTORES
    if not isinstance(name, str) or not (inside or name in _COLUMNS or _NAME.fullmatch(name)):
        raise _refused(f"name {str(name)[:40]!r}")


def _column(node: exp.Expr) -> None:
    if not isinstance(node.this, exp.Identifier):
        raise _refused("column that is no name")


def _literal(node: exp.Expr) -> None:
    value = node.this
    if not isinstance(value, str) or "\0" in value:
        raise _refused("literal that is no text")
    if not node.args.get("is_string") and not _NUMBER.fullmatch(value):
        raise _refused(f"number {value[:40]!r}")


def _call(node: exp.Expr) -> None:
    if node.this == "dictGetOrDefault":
        _dictionary(node)
    elif node.this not in FUNCTIONS:
        raise _refused(f"function {str(node.this)[:40]!r}")


def _aggregate(node: exp.Expr) -> None:
    if node.this not in AGGREGATES:
        raise _refused(f"function {str(node.this)[:40]!r}")


def _dictionary(node: exp.Expr) -> None:
    names = [n.this for n in node.expressions[:2] if isinstance(n, exp.Literal) and n.is_string]
    if tuple(names) != DICTIONARY or len(node.expressions) != 4:
        raise _refused("dictionary")


def _parametric(node: exp.Expr) -> None:
    if node.this not in PARAMETRIC:
        raise _refused(f"function {str(node.this)[:40]!r}")
    if not all(isinstance(p, exp.Literal) and not p.is_string for p in node.expressions):
        raise _refused("parameter that is no number")


def _join(node: exp.Expr) -> None:
    if node.args.get("side") not in {None, "", "LEFT", "RIGHT", "FULL"}:
        raise _refused("join")
    if node.args.get("kind") not in {None, "", "CROSS"}:
        raise _refused("join")


def _refused(what: str) -> QueryError:
    return QueryError(f"refused: {what}", hint="docs/queries.md shows what a query may use")


_SPECIAL: dict[type, Callable[[exp.Expr], None]] = {
    exp.Table: _table,
    exp.Identifier: _identifier,
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Anonymous: _call,
    exp.AnonymousAggFunc: _aggregate,
    exp.ParameterizedAgg: _parametric,
    exp.Join: _join,
}
