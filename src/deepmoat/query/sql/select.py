"""SELECT: Presto's clauses, one after another, as ClickHouse's.

Every source and every projection gets a name of ours (t0, c1), so no alias of a user can shadow a column,
as ClickHouse's aliases do, and no identifier of a user reaches the generated text.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec
from sqlglot import exp

from deepmoat.kit.errors import QueryError
from deepmoat.model import LOGSTORES, Logstore
from deepmoat.query import tree
from deepmoat.query.context import Context
from deepmoat.query.kinds import BOOLEAN, Type
from deepmoat.query.scope import Field, Scope, Source, fields
from deepmoat.query.sql.expressions import Expressions, Subqueries
from deepmoat.query.tree import Node, call
from deepmoat.query.values import Value

Records = Callable[[Logstore], exp.Select]
Ctes = Mapping[str, exp.Query]
Names = frozenset[str]
DEEPEST = 20  # sub-queries inside sub-queries
_CLAUSES = frozenset(
    {
        "expressions",
        "from_",
        "joins",
        "where",
        "group",
        "having",
        "order",
        "limit",
        "offset",
        "distinct",
        "with_",
    }
)
_JOINS = {
    "": "",
    "INNER": "",
    "OUTER": "FULL",
    "LEFT": "LEFT",
    "RIGHT": "RIGHT",
    "FULL": "FULL",
    "CROSS": "CROSS",
}


class Projection(msgspec.Struct, frozen=True):
    """One column of a result: the user's name, ours, its value."""

    name: str
    column: str
    value: Value


class Lowered(msgspec.Struct, frozen=True):
    """A lowered query and its columns. ``limit`` is the outermost LIMIT, None when there is none."""

    tree: exp.Query
    fields: tuple[Field, ...]
    limit: int | None = None


class Lowering:
    """Lowers one query. ``records`` gives the SELECT of a logstore's records in range."""

    def __init__(self, logstore: Logstore, records: Records, context: Context) -> None:
        """``logstore`` is what ``log`` means."""
        self.logstore, self.records, self.context = logstore, records, context
        self._depth = 0

    def query(self, node: Node, ctes: Ctes = MappingProxyType({}), outer: Names = frozenset()) -> Lowered:
        """A SELECT or a UNION of them; QueryError for what is not known.

        ``ctes`` are the queries in reach by name; ``outer`` the sources of the SELECTs around it.
        """
        self.context.spend()
        self._depth += 1
        if self._depth > DEEPEST:
            raise QueryError("sub-queries nest too deeply", hint=f"at most {DEEPEST}")
        while isinstance(node, exp.Subquery):
            _only(node, {"this"} if self._depth == 1 else {"this", "alias"})
            node = node.this
        ctes = {**ctes, **self._ctes(node)}
        if isinstance(node, exp.Union):
            lowered = self._union(node, ctes, outer)
        elif isinstance(node, exp.Select):
            lowered = _Select(self, node, ctes, outer).lowered()
        else:
            raise QueryError(f"{type(node).__name__.lower()} is not supported", hint="write: * | select …")
        self._depth -= 1
        return lowered

    def _ctes(self, node: Node) -> dict[str, exp.Query]:
        """WITH: each name stands for its query, written out where it is used."""
        clause = node.args.get("with_")
        if clause is None:
            return {}
        if clause.args.get("recursive"):
            raise QueryError("with recursive is not supported", hint="with … as (select …)")
        found = dict[str, exp.Query]()
        for cte in clause.expressions:
            _only(cte, {"this", "alias"})
            name = cte.alias.lower()
            if name == "log" or name in LOGSTORES or name in found or cte.args["alias"].args.get("columns"):
                raise QueryError(
                    f"with {name[:80]!r}: choose another name", hint="columns get theirs by: as name"
                )
            if any(t.name.lower() == name for t in cte.this.find_all(exp.Table)):
                raise QueryError(f"{name[:80]!r} reads itself")
            found[name] = cte.this
        return found

    def _union(self, node: exp.Union, ctes: Ctes, outer: Names) -> Lowered:
        _only(node, {"this", "expression", "distinct", "with_", "order", "limit", "offset"})
        left, right = self.query(node.this, ctes, outer), self.query(node.expression, ctes, outer)
        if len(left.fields) != len(right.fields):
            raise QueryError(f"union of {len(left.fields)} and {len(right.fields)} columns")
        sides = exp.Subquery(this=left.tree), exp.Subquery(this=right.tree)
        both = exp.Union(this=sides[0], expression=sides[1], distinct=bool(node.args.get("distinct")))
        source = Source(self.context.table(), frozenset(), left.fields)
        select = exp.Select(expressions=[], from_=exp.From(this=_derived(both, source.table)))
        return _Clauses(self, Scope([source], outer), ctes).finish(select, _all(source, self.context), node)

    def source(self, node: Node, ctes: Ctes) -> tuple[Node, Source]:
        """One item of FROM."""
        table, alias = self.context.table(), node.alias.lower()
        if isinstance(node, exp.Subquery):
            _only(node, {"this", "alias"})
            lowered = self.query(node.this, ctes)
            names = _renamed(lowered.fields, node.args.get("alias"))
            return _derived(lowered.tree, table), Source(table, frozenset({alias} - {""}), names)
        if not isinstance(node, exp.Table):
            raise QueryError(f"from {type(node).__name__.lower()} is not supported")
        _only(node, {"this", "alias"})
        if not isinstance(node.this, exp.Identifier):
            raise _unreadable(node)
        return self._table(node, table, node.name.lower(), frozenset({alias or node.name.lower()}), ctes)

    def _table(self, node: Node, table: str, name: str, names: Names, ctes: Ctes) -> tuple[Node, Source]:
        if name in ctes:
            outer = {k: v for k, v in ctes.items() if k != name}
            lowered = self.query(ctes[name], outer)
            found = _renamed(lowered.fields, node.args.get("alias"))
            return _derived(lowered.tree, table), Source(table, names, found)
        logstore = self.logstore if name == "log" else LOGSTORES.get(name)
        if logstore is None:
            raise _unreadable(node)
        if node.args.get("alias"):
            _only(node.args["alias"], {"this"})
        return _derived(self.records(logstore), table), Source(table, names, fields(logstore), logstore)

    def subqueries(self, ctes: Ctes, outer: Names) -> Subqueries:
        """How expressions lower a SELECT inside them."""

        def lower(query: Node) -> tuple[exp.Query, list[Type]]:
            lowered = self.query(query, ctes, outer)
            return lowered.tree, [f.type for f in lowered.fields]

        return lower


class _Clauses:
    """The clauses a SELECT and a UNION share."""

    def __init__(self, lowering: Lowering, scope: Scope, ctes: Ctes) -> None:
        self.lowering, self.scope = lowering, scope
        self.expressions = Expressions(scope, lowering.context, lowering.subqueries(ctes, scope.names))

    def finish(self, select: exp.Select, projections: Sequence[Projection], node: Node) -> Lowered:
        """Projections, ORDER BY and LIMIT onto ``select``."""
        self.expressions.aliases = {p.name.lower(): p.value for p in reversed(projections)}
        order = node.args.get("order")
        if order:
            select.set(
                "order", exp.Order(expressions=[self._ordered(o, projections) for o in order.expressions])
            )
        select.set("expressions", [_projected(p) for p in projections])
        limit, offset = (_count(node, k) for k in ("limit", "offset"))
        if limit is not None:
            select.set("limit", exp.Limit(expression=tree.number(limit)))
        if offset is not None:
            select.set("offset", exp.Offset(expression=tree.number(offset)))
        found = tuple(Field(p.name, p.column, p.value.type) for p in projections)
        return Lowered(select, found, limit)

    def _ordered(self, node: exp.Ordered, projections: Sequence[Projection]) -> exp.Ordered:
        if not isinstance(node, exp.Ordered):
            raise QueryError("order by is not understood", hint="order by n desc")
        _only(node, {"this", "desc", "nulls_first"})
        by = self._ordinal(node.this, projections) or self._alias(node.this, projections)
        if by is None:
            self.expressions.aliases_first = True
            by = self.expressions.lower(node.this).node
        first = bool(node.args.get("nulls_first"))
        return exp.Ordered(this=by, desc=bool(node.args.get("desc")), nulls_first=first)

    def _ordinal(self, node: Node, projections: Sequence[Projection]) -> Node | None:
        if not isinstance(node, exp.Literal) or node.is_string:
            return None
        index = int(node.name) if node.name.isdigit() and len(node.name) < 6 else 0
        if not 1 <= index <= len(projections):
            raise QueryError(f"there is no column {node.name[:20]}", hint=f"1 to {len(projections)}")
        return tree.column(projections[index - 1].column)

    def _alias(self, node: Node, projections: Sequence[Projection]) -> Node | None:
        if not isinstance(node, exp.Column) or len(node.parts) > 1:
            return None
        found = next((p for p in projections if p.name.lower() == node.name.lower()), None)
        return tree.column(found.column) if found else None


class _Select(_Clauses):
    """One SELECT."""

    def __init__(self, lowering: Lowering, node: exp.Select, ctes: Ctes, outer: Names) -> None:
        _only(node, _CLAUSES)
        self.node = node
        self.froms, sources = self._sources(lowering, node, ctes)
        super().__init__(lowering, Scope(sources, outer), ctes)

    def lowered(self) -> Lowered:
        """The whole SELECT."""
        if not self.node.expressions:
            raise QueryError("select wants columns", hint="select *, or select status, count(*) as n")
        projections = list(self._projections())
        self.expressions.aliases = {p.name.lower(): p.value for p in reversed(projections)}
        select = exp.Select(expressions=[])
        self._joined(select)
        where = self.node.args.get("where")
        if where:
            select.set("where", exp.Where(this=self.expressions.condition(where.this)))
        keys = self._grouped(select, projections)
        self._having(select)
        if self.node.args.get("distinct"):
            _only(self.node.args["distinct"], set())
            select.set("distinct", exp.Distinct())
        lowered = self.finish(select, projections, self.node)
        _check_grouping(select, keys, projections)
        return lowered

    def _sources(self, lowering: Lowering, node: exp.Select, ctes: Ctes) -> tuple[list[Node], list[Source]]:
        clause = node.args.get("from_")
        items = [clause.this] if clause else [exp.to_table("log")]
        items += [j.this for j in node.args.get("joins") or []]
        pairs = [lowering.source(i, ctes) for i in items]
        return [p[0] for p in pairs], [p[1] for p in pairs]

    def _joined(self, select: exp.Select) -> None:
        select.set("from_", exp.From(this=self.froms[0]))
        joins = self.node.args.get("joins") or []
        select.set("joins", [self._join(j, f) for j, f in zip(joins, self.froms[1:], strict=True)])

    def _join(self, node: exp.Join, source: Node) -> exp.Join:
        _only(node, {"this", "on", "side", "kind"})
        side = str(node.args.get("side") or "").upper()
        kind = str(node.args.get("kind") or "").upper()
        word = _JOINS.get(side or kind)
        if word is None or (side and kind not in {"", "OUTER"}):
            raise QueryError(f"{side} {kind} join is not supported", hint="inner, left, right, full, cross")
        on = node.args.get("on")
        if on is None:
            return exp.Join(this=source, kind="CROSS")
        condition = self.expressions.condition(on)
        return exp.Join(this=source, side=word if word != "CROSS" else None, on=condition)

    def _projections(self) -> Iterator[Projection]:
        seen = dict[str, Value]()
        used = set[str]()
        for index, node in enumerate(self.node.expressions):
            for name, value in self._projected(index, node):
                name = _unused(name, used)
                yield Projection(name, self.lowering.context.column(), value)
                seen.setdefault(name.lower(), value)
                self.expressions.aliases = seen

    def _projected(self, index: int, node: Node) -> Iterator[tuple[str, Value]]:
        if isinstance(node, exp.Star):
            _only(node, set())
            for source in self.scope.sources:
                yield from source.all()
        elif isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
            named = [s for s in self.scope.sources if node.table.lower() in s.names]
            if len(named) != 1 or len(node.parts) > 2:
                raise QueryError(f"no such source: {node.table[:80]!r}")
            yield from named[0].all()
        elif isinstance(node, exp.Alias):
            yield node.alias, self.expressions.lower(node.this)
        else:
            yield self._name(index, node), self.expressions.lower(node)

    def _name(self, index: int, node: Node) -> str:
        """A column is called as written, without its source; anything else by its place."""
        if not isinstance(node, exp.Column):
            return f"_col{index}"
        parts = [p.name for p in node.parts]
        return ".".join(parts[len(parts) > 1 and self.scope.qualifies(parts[0]) :])

    def _grouped(self, select: exp.Select, projections: list[Projection]) -> list[Node] | None:
        clause = self.node.args.get("group")
        if clause is None:
            return None
        _only(clause, {"expressions"})
        self.expressions.aliases_first = True
        keys = [self._key(n, projections) for n in clause.expressions]
        select.set("group", exp.Group(expressions=[k.copy() for k in keys]))
        return keys

    def _key(self, node: Node, projections: list[Projection]) -> Node:
        if isinstance(node, exp.Literal) and not node.is_string:
            place = self._ordinal(node, projections)
            value = next(p.value for p in projections if place and p.column == place.name)
        else:
            value = self.expressions.lower(node)
        if any(_is_aggregate(n) for n in value.node.walk()):
            raise QueryError("an aggregate cannot be a group", hint="use a sub-query")
        if isinstance(value.node, exp.Literal | exp.Null | exp.Boolean):
            raise QueryError("a constant cannot be a group", hint="group by a column")
        return value.node

    def _having(self, select: exp.Select) -> None:
        having = self.node.args.get("having")
        if having:
            self.expressions.aliases_first = True
            select.set("having", exp.Having(this=self.expressions.condition(having.this)))


def _check_grouping(select: exp.Select, keys: list[Node] | None, projections: Sequence[Projection]) -> None:
    """Every column outside an aggregate must be a group, where there are groups or aggregates."""
    values = [p.value.node for p in projections]
    later = [n for k in ("having", "order") if (n := select.args.get(k))]
    where = select.args.get("where")
    if where and any(_is_aggregate(n) for n in _own(where.this)):
        raise QueryError("an aggregate in where", hint="having comes after group by")
    if keys is None and not any(_is_aggregate(n) for v in (*values, *later) for n in _own(v)):
        return
    for projection in projections:
        if _ungrouped(projection.value.node, keys or []):
            raise QueryError(
                f"{projection.name[:80]!r} is neither in group by nor in an aggregate",
                hint=f"group by it, or write arbitrary({projection.name[:40]})",
            )
    for node in later:
        if _ungrouped(node, keys or []):
            raise QueryError("having and order by may use groups and aggregates only", hint="group by it too")


def _ungrouped(node: Node, keys: list[Node]) -> bool:
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if here in keys or _is_aggregate(here) or isinstance(here, exp.Subquery):
            continue
        if isinstance(here, exp.Column) and here.table:
            return True
        waiting += list(here.iter_expressions())
    return False


def _own(node: Node) -> Iterator[Node]:
    """The nodes of one SELECT, without its sub-queries'."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        yield here
        if not isinstance(here, exp.Subquery):
            waiting += list(here.iter_expressions())


def _is_aggregate(node: Node) -> bool:
    return isinstance(node, exp.AggFunc)


def _all(source: Source, context: Context) -> list[Projection]:
    return [Projection(name, context.column(), value) for name, value in source.all()]


def _projected(projection: Projection) -> exp.Alias:
    node = projection.value.node
    if projection.value.type == BOOLEAN:
        node = call("toBool", node)
    return exp.Alias(this=node.copy(), alias=exp.to_identifier(projection.column, quoted=False))


def _renamed(found: tuple[Field, ...], alias: Node | None) -> tuple[Field, ...]:
    """``(select …) as t(a, b)`` names the columns."""
    columns = alias.args.get("columns") if alias else None
    if not columns:
        return found
    if len(columns) != len(found):
        raise QueryError(f"{len(columns)} names for {len(found)} columns", hint="name each of them")
    return tuple(Field(c.name, f.column, f.type) for c, f in zip(columns, found, strict=True))


def _derived(query: exp.Query, table: str) -> exp.Subquery:
    return exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier(table, quoted=False)))


def _unused(name: str, used: set[str]) -> str:
    """``name``, or with a number when it is taken: a row must be able to be a mapping."""
    if len(name) > 256:
        raise QueryError("a name of more than 256 characters", hint="choose a shorter one")
    fresh, n = name, 1
    while fresh in used:
        fresh, n = f"{name}_{n}", n + 1
    used.add(fresh)
    return fresh


def _count(node: Node, key: str) -> int | None:
    clause = node.args.get(key)
    if clause is None:
        return None
    value = clause.expression
    if (
        not isinstance(clause, exp.Limit | exp.Offset)
        or not isinstance(value, exp.Literal)
        or value.is_string
    ):
        raise QueryError(f"{key} wants a number", hint="limit 100")
    if not value.name.isdigit() or len(value.name) > 12 or clause.args.get("expressions"):
        raise QueryError(
            f"{key} wants a whole number, not {value.name[:20]!r}", hint="limit 100, limit 20, 10"
        )
    return int(value.name)


def _only(node: Node, allowed: frozenset[str] | set[str]) -> None:
    """Refuse clauses nobody here reads: what is not understood must not be left out in silence."""
    others = [k for k, v in node.args.items() if v and k not in allowed]
    if others:
        raise QueryError(
            f"{others[0].strip('_')} is not supported here", hint="docs/queries.md shows what is"
        )


def _unreadable(node: Node) -> QueryError:
    return QueryError(f"may not read {node.sql()[:80]}", hint="log, or one of: " + ", ".join(LOGSTORES))
