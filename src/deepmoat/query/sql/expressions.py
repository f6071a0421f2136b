"""Expressions: each kind of Presto node, and what it becomes. What is not listed is refused."""

from collections.abc import Callable, Mapping

from sqlglot import exp

from deepmoat.kit.errors import QueryError
from deepmoat.query import kinds, tree
from deepmoat.query.context import Context
from deepmoat.query.function import Function, find
from deepmoat.query.kinds import ADDRESS, BOOLEAN, INTEGER, JSON, NUMBER, NUMERIC, TEXT, TIME, Type
from deepmoat.query.scope import Scope
from deepmoat.query.tree import Node, call
from deepmoat.query.values import Value, as_text, common, convert, pair

DEEPEST = 100
_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
_ARITHMETIC: dict[type[Node], type[exp.Binary]] = {exp.Add: exp.Add, exp.Sub: exp.Sub, exp.Mul: exp.Mul}
_CASTS: dict[exp.DType, Type] = {
    exp.DType.VARCHAR: TEXT,
    exp.DType.TEXT: TEXT,
    exp.DType.CHAR: TEXT,
    exp.DType.BIGINT: INTEGER,
    exp.DType.INT: INTEGER,
    exp.DType.SMALLINT: INTEGER,
    exp.DType.TINYINT: INTEGER,
    exp.DType.DOUBLE: NUMBER,
    exp.DType.FLOAT: NUMBER,
    exp.DType.DECIMAL: NUMBER,
    exp.DType.BOOLEAN: BOOLEAN,
    exp.DType.TIMESTAMP: TIME,
    exp.DType.TIMESTAMPTZ: TIME,
    exp.DType.DATE: TIME,
    exp.DType.IPADDRESS: ADDRESS,
    exp.DType.JSON: JSON,
}


Subqueries = Callable[[Node], tuple[exp.Query, list[Type]]]  # lowers a SELECT inside an expression


class Expressions:
    """Lowers expressions of one SELECT.

    ``aliases`` are what names stand for besides columns; ``aliases_first`` is the rule of GROUP BY, HAVING
    and ORDER BY, where an alias wins over a column of the same name.
    """

    def __init__(self, scope: Scope, context: Context, subqueries: Subqueries) -> None:
        """For the sources in ``scope``."""
        self.scope, self.context, self.subqueries = scope, context, subqueries
        self.aliases: Mapping[str, Value] = {}
        self.aliases_first = False
        self._depth = 0
        self._inside_aggregate = False

    def lower(self, node: Node) -> Value:
        """The value of a Presto node; QueryError for what is not known."""
        self.context.spend()
        handler = _HANDLERS.get(type(node))
        others = [k for k, v in node.args.items() if v and k not in _PARTS.get(type(node), _USUAL)]
        if handler is None or others:
            what = " ".join([type(node).__name__.lower(), *others])
            raise QueryError(f"{what} is not supported", hint="docs/queries.md shows what is")
        self._depth += 1
        if self._depth > DEEPEST:
            raise QueryError("nested too deeply", hint=f"at most {DEEPEST} levels")
        value = handler(self, node)
        self._depth -= 1
        return value

    def condition(self, node: Node) -> Node:
        """A value that must be a condition."""
        value = self.lower(node)
        if value.type not in {BOOLEAN, kinds.NULL}:
            raise QueryError(f"wants a condition, not {value.type}", hint="such as status >= 500")
        return value.node

    def _paren(self, node: exp.Paren) -> Value:
        return self.lower(node.this)

    def _literal(self, node: exp.Literal) -> Value:
        if node.is_string:
            return Value(tree.text(node.this), TEXT)
        whole = node.this.isdigit()
        if whole and len(node.this) > 19:
            raise QueryError(f"{node.this[:50]} is too large for an integer", hint="write it with .0")
        return Value(tree.number(node.this), INTEGER if whole else NUMBER)

    def _boolean(self, node: exp.Boolean) -> Value:
        return Value(exp.true() if node.this else exp.false(), BOOLEAN)

    def _null(self, node: exp.Null) -> Value:
        return Value(tree.null(), kinds.NULL)

    def _column(self, node: exp.Column) -> Value:
        if isinstance(node.this, exp.Star):
            raise QueryError("* stands alone", hint="count(*), or select *")
        parts = [p.name for p in node.parts]
        qualifier = parts[0] if len(parts) > 1 and self.scope.qualifies(parts[0]) else ""
        name = ".".join(parts[1:] if qualifier else parts)
        return self._named(name, qualifier, quoted=bool(node.this.args.get("quoted")))

    def _named(self, name: str, qualifier: str, *, quoted: bool) -> Value:
        alias = None if qualifier else self.aliases.get(name.lower())
        if alias and self.aliases_first and not self._inside_aggregate:
            return Value(alias.node.copy(), alias.type)
        found = self.scope.column(name, qualifier)
        if found is None and alias:
            return Value(alias.node.copy(), alias.type)
        found = found or self.scope.attribute(name, qualifier, quoted=quoted)
        if found is None:
            raise self.scope.unknown(name)
        return found

    def _connected(self, node: exp.Connector) -> Value:
        kind = type(node)
        nodes = [self.condition(n) for n in _flat(kind, node)]
        joined = tree.every(nodes) if kind is exp.And else tree.some(nodes)
        assert joined is not None  # noqa: S101
        return Value(joined, BOOLEAN)

    def _not(self, node: exp.Not) -> Value:
        return Value(tree.negation(self.condition(node.this)), BOOLEAN)

    def _compared(self, node: exp.Binary) -> Value:
        left, right = self.lower(node.this), self.lower(node.expression)
        return Value(tree.infix(type(node), *pair(left, right, self.context)), BOOLEAN)

    def _arithmetic(self, node: exp.Binary) -> Value:
        left, right = (self._number(n) for n in (node.this, node.expression))
        whole = left.type == right.type == INTEGER
        return Value(tree.infix(type(node), left.node, right.node), INTEGER if whole else NUMBER)

    def _divided(self, node: exp.Div) -> Value:
        """Integers divide to an integer, as in Presto; by zero is NULL."""
        left, right = (self._number(n) for n in (node.this, node.expression))
        if left.type == right.type == INTEGER:
            return Value(_by("intDiv", left.node, right.node), INTEGER)
        return Value(_by("divide", left.node, right.node), NUMBER)

    def _modulo(self, node: exp.Mod) -> Value:
        left, right = (self._number(n) for n in (node.this, node.expression))
        whole = left.type == right.type == INTEGER
        return Value(_by("modulo", left.node, right.node), INTEGER if whole else NUMBER)

    def _negative(self, node: exp.Neg) -> Value:
        value = self._number(node.this)
        return Value(call("negate", value.node), value.type)

    def _number(self, node: Node) -> Value:
        value = self.lower(node)
        if value.type in NUMERIC or value.type == kinds.NULL:
            return value
        return Value(convert(value, NUMBER, self.context), NUMBER)

    def _joined_text(self, node: exp.DPipe) -> Value:
        left, right = self.lower(node.this), self.lower(node.expression)
        return find("concat").lower([left, right], self.context)

    def _between(self, node: exp.Between) -> Value:
        what, low, high = (self.lower(node.args[k]) for k in ("this", "low", "high"))
        above = tree.infix(exp.GTE, *pair(what, low, self.context))
        below = tree.infix(exp.LTE, *pair(what, high, self.context))
        return Value(tree.infix(exp.And, above, below), BOOLEAN)

    def _in(self, node: exp.In) -> Value:
        what = self.lower(node.this)
        if node.args.get("query"):
            return self._in_query(what, node.args["query"])
        choices = [self.lower(n) for n in node.expressions]
        if not choices:
            raise QueryError("in () wants values", hint="status in (401, 403)")
        pairs = [pair(what, c, self.context) for c in choices]
        if all(p[0] == pairs[0][0] for p in pairs):
            return Value(tree.among(pairs[0][0], [p[1] for p in pairs]), BOOLEAN)
        either = tree.some(tree.infix(exp.EQ, *p) for p in pairs)
        assert either is not None  # noqa: S101
        return Value(either, BOOLEAN)

    def _in_query(self, what: Value, query: Node) -> Value:
        if not isinstance(query, exp.Query):
            raise QueryError("in (…) wants values or a select", hint="status in (401, 403)")
        lowered, types = self.subqueries(query)
        if len(types) != 1:
            raise QueryError(f"in (select …) wants one column, not {len(types)}")
        if (what.type, types[0]) == (ADDRESS, TEXT):
            what = Value(as_text(what, self.context), TEXT)
        if types[0] != what.type and not {types[0], what.type} <= NUMERIC:
            raise QueryError(f"cannot compare {what.type} with {types[0]}", hint="cast(x as …) converts")
        return Value(exp.In(this=tree.solid(what.node), query=exp.Subquery(this=lowered)), BOOLEAN)

    def _scalar(self, node: exp.Subquery) -> Value:
        if not isinstance(node.this, exp.Query):
            return self.lower(node.this)
        lowered, types = self.subqueries(node)
        if len(types) != 1:
            raise QueryError(f"(select …) as a value wants one column, not {len(types)}")
        return Value(exp.Subquery(this=lowered), types[0])

    def _like(self, node: exp.Like, escape: str = "") -> Value:
        text = convert(self.lower(node.this), TEXT, self.context)
        pattern = self.lower(node.expression)
        if pattern.literal is None:
            raise QueryError("like wants its pattern in quotes", hint="url_path like '/admin%'")
        found = tree.infix(exp.Like, text, tree.text(_pattern(pattern.literal, escape)))
        return Value(tree.negation(found) if node.args.get("negate") else found, BOOLEAN)

    def _escaped(self, node: exp.Escape) -> Value:
        sign = node.expression
        if not isinstance(node.this, exp.Like) or not sign.is_string or len(sign.name) != 1:
            raise QueryError("escape wants one character", hint="like '50!%' escape '!'")
        return self._like(node.this, sign.name)

    def _is(self, node: exp.Is) -> Value:
        value = self.lower(node.this)
        if isinstance(node.expression, exp.Null):
            return Value(call("isNull", value.node), BOOLEAN)
        if isinstance(node.expression, exp.Boolean):
            wanted = self._boolean(node.expression)
            same = tree.infix(exp.EQ, convert(value, BOOLEAN, self.context), wanted.node)
            return Value(call("ifNull", same, exp.false()), BOOLEAN)
        raise QueryError("is wants null, true or false")

    def _if(self, node: exp.If) -> Value:
        otherwise = node.args.get("false")
        return self._chosen([node], None, otherwise)

    def _case(self, node: exp.Case) -> Value:
        return self._chosen(node.args["ifs"], node.this, node.args.get("default"))

    def _chosen(self, ifs: list[exp.If], subject: Node | None, default: Node | None) -> Value:
        of = self.lower(subject) if subject else None
        tests = [self._tested(of, i.this) for i in ifs]
        results = [self.lower(i.args["true"]) for i in ifs]
        results.append(self.lower(default) if default else Value(tree.null(), kinds.NULL))
        nodes, kind = common(results, self.context)
        steps = [n for both in zip(tests, nodes, strict=False) for n in both]
        return Value(call("multiIf", *steps, nodes[-1]), kind)

    def _tested(self, of: Value | None, test: Node) -> Node:
        if of is None:
            return self.condition(test)
        return tree.infix(exp.EQ, *pair(of, self.lower(test), self.context))

    def _cast(self, node: exp.Cast) -> Value:
        """``cast`` and ``try_cast`` are one: what cannot be converted is NULL."""
        kind = node.args["to"]
        want = _CASTS.get(kind.this) if isinstance(kind, exp.DataType) else None
        if want is None:
            raise QueryError(
                f"cannot cast to {kind.sql()[:40]}", hint="varchar, bigint, double, boolean, timestamp"
            )
        return Value(_cast(self.lower(node.this), want, self.context), want)

    def _array(self, node: exp.Array) -> Value:
        nodes, kind = common([self.lower(n) for n in node.expressions], self.context)
        return Value(exp.Array(expressions=[n.copy() if n.parent else n for n in nodes]), kinds.array(kind))

    def _element(self, node: exp.Bracket) -> Value:
        of = self.lower(node.this)
        if len(node.expressions) != 1:
            raise QueryError("[…] wants one position or key")
        index = node.expressions[0]
        if of.type == kinds.MAP:
            return Value(call("arrayElement", of.node, convert(self.lower(index), TEXT, self.context)), TEXT)
        if of.type.name != "array" or not (isinstance(index, exp.Literal) and index.this.isdigit()):
            raise QueryError("[…] wants a written position of an array", hint="element_at(x, n)")
        # The parser has counted from 0 where the user wrote from 1.
        position = tree.number(int(index.this) + 1 - int(node.args.get("offset") or 0))
        return Value(call("arrayElementOrNull", of.node, position), of.type.of or kinds.ANY)

    def _call(self, node: exp.Anonymous) -> Value:
        function = find(node.name)
        if function.aggregate:
            return self._aggregated(function, node.expressions)
        return function.lower([self.lower(n) for n in node.expressions], self.context)

    def _aggregated(self, function: Function, arguments: list[Node], only: Node | None = None) -> Value:
        """An aggregate; ``only`` is the condition of ``filter (where …)``."""
        if self._inside_aggregate:
            raise QueryError(f"{function.name} inside an aggregate", hint="use a sub-query")
        self._inside_aggregate = True
        distinct = bool(arguments) and isinstance(arguments[0], exp.Distinct)
        arguments = arguments[0].expressions if distinct else arguments
        if function.name == "count" and [type(a) for a in arguments] == [exp.Star]:
            arguments = []
        values = [self.lower(n) for n in arguments]
        if only is not None:
            values = _filtered(self.condition(only), values)
        self._inside_aggregate = False
        return function.lower(values, self.context, distinct=distinct)

    def _filter(self, node: exp.Filter) -> Value:
        if not isinstance(node.this, exp.Anonymous) or not find(node.this.name).aggregate:
            raise QueryError("filter (where …) wants an aggregate before it")
        return self._aggregated(find(node.this.name), node.this.expressions, node.expression.this)

    def _substring(self, node: exp.Substring) -> Value:
        arguments = [node.args[k] for k in ("this", "start", "length") if node.args.get(k)]
        return find("substr").lower([self.lower(n) for n in arguments], self.context)

    def _position(self, node: exp.StrPosition) -> Value:
        values = [self.lower(node.this), self.lower(node.args["substr"])]
        return find("strpos").lower(values, self.context)

    def _extracted(self, node: exp.Extract) -> Value:
        return find(node.name).lower([self.lower(node.expression)], self.context)

    def _now(self, node: Node) -> Value:
        return find("now").lower([], self.context)

    def _today(self, node: Node) -> Value:
        unit = Value(tree.text("day"), TEXT)
        return find("date_trunc").lower([unit, self._now(node)], self.context)


def _flat(kind: type[exp.Connector], node: Node) -> list[Node]:
    """The operands of a chain of the same connector, without recursion."""
    found, waiting = list[Node](), [node]
    while waiting:
        here = waiting.pop()
        if type(here) is kind:
            waiting += [here.expression, here.this]
        else:
            found.append(here)
    return found


def _by(name: str, left: Node, right: Node) -> Node:
    """A division; by a written number other than zero it cannot fail, and a key of GROUP BY stays plain."""
    sure = isinstance(right, exp.Literal) and float(right.name) != 0
    return call(name if sure else f"{name}OrNull", left, right)


def _filtered(only: Node, values: list[Value]) -> list[Value]:
    """NULLs are left out of aggregates: so is what becomes NULL where the condition does not hold."""
    first = values[0] if values else Value(tree.number(1), INTEGER)
    return [Value(call("if", only, first.node, tree.null()), first.type), *values[1:]]


def _pattern(pattern: str, escape: str) -> str:
    r"""A LIKE pattern as ClickHouse reads it, whose escape is always the backslash.

    >>> _pattern("50!%_", "!")
    '50\\%_'
    """
    done, at = "", 0
    while at < len(pattern):
        sign = pattern[at]
        if escape and sign == escape and at + 1 < len(pattern):
            at += 1
            done += "\\" + pattern[at] if pattern[at] in "%_\\" else pattern[at]
        else:
            done += "\\\\" if sign == "\\" else sign
        at += 1
    return done


def _cast(value: Value, want: Type, context: Context) -> Node:
    if want == value.type or value.type == kinds.NULL:
        return value.node
    if want == INTEGER:
        return _to_integer(value, context)
    if want == BOOLEAN:
        return _to_boolean(value, context)
    if want == NUMBER and value.type == TEXT:
        return call("toFloat64OrNull", value.node)
    if want == TIME and value.literal is not None:
        return convert(value, TIME, context)
    return call("toFloat64", value.node) if want == NUMBER else convert(value, want, context)


def _to_integer(value: Value, context: Context) -> Node:
    """Presto rounds halves away from zero; text must be a whole number."""
    if value.type in {TEXT, JSON}:
        return call("toInt64OrNull", value.node)
    if value.type == NUMBER:
        rounded = find("round").lower([value], context)
        return call("accurateCastOrNull", rounded.node, tree.text("Int64"))
    if value.type in {INTEGER, BOOLEAN}:
        return call("toInt64", value.node)
    raise QueryError(f"cannot cast {value.type} to integer", hint="to_unixtime(x) for a time")


def _to_boolean(value: Value, context: Context) -> Node:
    if value.type in NUMERIC:
        return tree.infix(exp.NEQ, value.node, tree.number(0))
    words = call("lower", convert(value, TEXT, context))
    true = tree.among(words, [tree.text("true"), tree.text("t"), tree.text("1")])
    false = tree.among(words, [tree.text("false"), tree.text("f"), tree.text("0")])
    return call("multiIf", true, exp.true(), false, exp.false(), tree.null())


_HANDLERS: dict[type[Node], Callable[..., Value]] = {
    exp.Paren: Expressions._paren,
    exp.Literal: Expressions._literal,
    exp.Boolean: Expressions._boolean,
    exp.Null: Expressions._null,
    exp.Column: Expressions._column,
    exp.And: Expressions._connected,
    exp.Or: Expressions._connected,
    exp.Not: Expressions._not,
    **dict.fromkeys(_COMPARISONS, Expressions._compared),
    **dict.fromkeys(_ARITHMETIC, Expressions._arithmetic),
    exp.Div: Expressions._divided,
    exp.Mod: Expressions._modulo,
    exp.Neg: Expressions._negative,
    exp.DPipe: Expressions._joined_text,
    exp.Between: Expressions._between,
    exp.In: Expressions._in,
    exp.Subquery: Expressions._scalar,
    exp.Like: Expressions._like,
    exp.Escape: Expressions._escaped,
    exp.Is: Expressions._is,
    exp.If: Expressions._if,
    exp.Case: Expressions._case,
    exp.Cast: Expressions._cast,
    exp.TryCast: Expressions._cast,
    exp.Array: Expressions._array,
    exp.Bracket: Expressions._element,
    exp.Anonymous: Expressions._call,
    exp.Filter: Expressions._filter,
    exp.Substring: Expressions._substring,
    exp.StrPosition: Expressions._position,
    exp.Extract: Expressions._extracted,
    exp.CurrentTimestamp: Expressions._now,
    exp.Localtimestamp: Expressions._now,
    exp.CurrentDate: Expressions._today,
}

# The parts of each node that its handler reads; a node with others filled is refused.
_USUAL = frozenset({"this", "expression", "expressions"})
_PARTS: dict[type[Node], frozenset[str]] = {
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Column: frozenset({"this", "table", "db", "catalog"}),
    exp.Div: frozenset({"this", "expression", "typed", "safe"}),
    exp.DPipe: frozenset({"this", "expression", "safe"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.In: frozenset({"this", "expressions", "query"}),
    exp.Like: frozenset({"this", "expression", "negate"}),
    exp.If: frozenset({"this", "true", "false"}),
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.TryCast: frozenset({"this", "to", "safe"}),
    exp.Bracket: frozenset({"this", "expressions", "offset", "safe"}),
    exp.Substring: frozenset({"this", "start", "length"}),
    exp.StrPosition: frozenset({"this", "substr"}),
}
