"""A search as a condition over one logstore's columns.

A term without a key is looked for in every text column, in the values of the attributes, and, where
it is a number or an address, in status codes and addresses too.
"""

from collections.abc import Callable

from sqlglot import exp

from deepmoat.kit.errors import QueryError
from deepmoat.model import Column, Logstore
from deepmoat.query import kinds, tree
from deepmoat.query.place import refusal
from deepmoat.query.scope import SECONDS, refuse_misspelt, seconds
from deepmoat.query.search import match
from deepmoat.query.search.parse import parse
from deepmoat.query.search.terms import (
    All,
    Any,
    Compare,
    Everything,
    Not,
    Pattern,
    Phrase,
    Present,
    Term,
    Within,
    Words,
)
from deepmoat.query.search.tokens import written
from deepmoat.query.tree import Node, call
from deepmoat.query.values import address, address_text, network

_SIGNS: dict[str, type[exp.Binary]] = {
    ">": exp.GT,
    ">=": exp.GTE,
    "<": exp.LT,
    "<=": exp.LTE,
    "=": exp.EQ,
}
ENTIRE = frozenset({"source"})  # columns whose value is one word


def condition(text: str, logstore: Logstore) -> Node | None:
    """The condition of a search; None for a search that finds everything."""
    lowering = _Lowering(text, logstore)
    return lowering.term(parse(text))


class _Lowering:
    def __init__(self, text: str, logstore: Logstore) -> None:
        self.text, self.logstore = text, logstore

    def term(self, term: Term) -> Node | None:
        """The condition of one term; None for one that is always true."""
        if isinstance(term, Everything):
            return None
        if isinstance(term, Not):
            inner = self.term(term.part)
            return tree.negation(inner) if inner else exp.false()
        if isinstance(term, All):
            return tree.every(n for p in term.parts if (n := self.term(p)))
        if isinstance(term, Any):
            nodes = [self.term(p) for p in term.parts]
            return None if None in nodes else tree.some(n for n in nodes if n)
        at = term.bare
        try:
            if at >= 0:
                refuse_misspelt(term.key, self.logstore)
            at = term.at
            return self._leaf(term)
        except QueryError as exc:
            raise refusal(exc.message, self.text, at, hint=exc.hint) from exc

    def _leaf(self, term: Words | Phrase | Present | Compare | Within) -> Node:
        if isinstance(term, Phrase):
            return self._matched(term.key, [match.phrase(term.text)], (term.text,))
        if isinstance(term, Words) and not term.key:
            return self._anywhere(term.pattern)
        if isinstance(term, Words):
            return self._keyed(term)
        if isinstance(term, Present):
            return self._empty(term.key) if term.empty else self._present(term.key)
        if isinstance(term, Compare):
            return _sure(_SIGNS[term.sign], self._numeric(term.key), tree.number(term.number))
        low = _sure(exp.GTE if term.low_included else exp.GT, self._numeric(term.key), tree.number(term.low))
        high = _sure(
            exp.LTE if term.high_included else exp.LT, self._numeric(term.key), tree.number(term.high)
        )
        return tree.infix(exp.And, low, high)

    def _anywhere(self, pattern: Pattern) -> Node:
        found = self._matched("", match.expressions(pattern), pattern)
        text = written(pattern)
        also = [found]
        if text.isdigit() and len(text) < 6:
            also += [tree.infix(exp.EQ, tree.column(c.name), tree.number(text)) for c in self._status()]
        node = address(text)
        if node and any(c.name == "client_address" for c in self.logstore.columns):
            also.append(tree.infix(exp.EQ, tree.column("client_address"), node))
        return tree.some(also) or found

    def _status(self) -> list[Column]:
        return [c for c in self.logstore.columns if c.name.endswith("status_code")]

    def _keyed(self, term: Words) -> Node:
        column, text = self._column(term.key), written(term.pattern)
        if column is None or column.kind == "text":
            return self._matched(term.key, match.expressions(term.pattern), term.pattern)
        if column.kind == "address":
            return _address(column, term.pattern)
        if column.kind in {"integer", "number"} or term.key.lower() == SECONDS:
            if not tree.NUMBER.fullmatch(text.removeprefix("-")):
                hint = f"such as {term.key} in [200 299]"
                raise QueryError(f"{term.key} holds numbers, not {text[:40]!r}", hint=hint)
            return tree.infix(exp.EQ, self._numeric(term.key), tree.number(text))
        hint = "set the time range, or compare __time__ with seconds"
        raise QueryError(f"{term.key} holds a {column.kind}", hint=hint)

    def _matched(self, key: str, patterns: list[str], pattern: Pattern) -> Node:
        column = self._column(key) if key else None
        if column and column.name in ENTIRE:
            patterns = [match.entire(pattern)]
        where: Callable[[], Node] = (lambda: self._value(key)) if key else self._everything
        found = tree.every(call("match", where(), tree.text(p)) for p in patterns)
        assert found is not None  # noqa: S101
        return found

    def _value(self, key: str) -> Node:
        """The text a key holds; '' where an attribute is absent."""
        column = self._column(key)
        if column is None:
            return call("arrayElement", tree.column("attributes"), tree.text(key))
        if column.kind == "text":
            return tree.column(column.name)
        if column.kind == "address":
            return address_text(tree.column(column.name))
        return call("toString", tree.column(column.name))

    def _everything(self) -> Node:
        texts: list[Node] = [tree.column(c.name) for c in self.logstore.columns if c.kind == "text"]
        values = call("arrayStringConcat", call("mapValues", tree.column("attributes")), tree.text("\n"))
        return call("concatWithSeparator", tree.text("\n"), *texts, values)

    def _numeric(self, key: str) -> Node:
        column = self._column(key)
        if column is None:
            return call("toFloat64OrNull", self._value(key))
        if column.kind == "time":
            return seconds(tree.column(column.name))
        if column.kind in {"integer", "number"}:
            return tree.column(column.name)
        if column.kind == "text":
            return call("toFloat64OrNull", tree.column(column.name))
        raise QueryError(f"{key} holds no numbers")

    def _present(self, key: str) -> Node:
        column = self._column(key)
        if column is None:
            return call("mapContains", tree.column("attributes"), tree.text(key))
        if column.kind in {"text", "address"}:
            return tree.negation(self._empty(key))
        return exp.true()

    def _empty(self, key: str) -> Node:
        column = self._column(key)
        if column is None:
            there = call("mapContains", tree.column("attributes"), tree.text(key))
            return tree.infix(exp.And, there, tree.infix(exp.EQ, self._value(key), tree.text("")))
        if column.kind == "address":
            return tree.infix(exp.EQ, tree.column(column.name), call("toIPv6", tree.text("::")))
        if column.kind != "text":
            return exp.false()
        return tree.infix(exp.EQ, tree.column(column.name), tree.text(""))

    def _column(self, key: str) -> Column | None:
        found = self.logstore.column(key)
        return None if found and kinds.of_column(found) == kinds.MAP else found


def _sure(kind: type[exp.Binary], left: Node, right: Node) -> Node:
    """A comparison that is false, not NULL, where there is no number: ``not`` then finds those."""
    compared = tree.infix(kind, left, right)
    if isinstance(left, exp.Anonymous) and left.name == "toFloat64OrNull":
        return call("ifNull", compared, exp.false())
    return compared


def _address(column: Column, pattern: Pattern) -> Node:
    """An address, a network (CIDR), or a pattern over the address as text."""
    text = written(pattern)
    place = tree.column(column.name)
    if not all(isinstance(p, str) for p in pattern):
        return call("match", address_text(place), tree.text(match.entire(pattern)))
    node = address(text)
    if node:
        return tree.infix(exp.EQ, place, node)
    ends = network(text)
    if ends:
        return tree.between(place, *ends)
    raise QueryError(f"{column.name} holds addresses, not {text[:50]!r}", hint="such as 192.0.2.0/24")
