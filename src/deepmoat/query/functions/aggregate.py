"""Aggregates. Over no records they are NULL (counts: 0), as in Presto; NULLs are left out."""

from collections.abc import Sequence
from typing import ClassVar

from sqlglot import exp

from deepmoat.kit.errors import QueryError
from deepmoat.query import tree
from deepmoat.query.context import Context
from deepmoat.query.function import Example, Function, Functions, same
from deepmoat.query.kinds import ANY, BOOLEAN, INTEGER, NUMBER, Type, array
from deepmoat.query.tree import Node, aggregate, call, parametric
from deepmoat.query.values import Value, convert

LONGEST = 10_000  # values one array_agg keeps


def _sum(values: Sequence[Value], context: Context) -> Value:
    whole = values[0].type == INTEGER
    return Value(aggregate("sumOrNull", convert(values[0], NUMBER, context)), INTEGER if whole else NUMBER)


def _elements(values: Sequence[Value]) -> Type:
    return array(values[0].type)


def _percentile(values: Sequence[Value], context: Context) -> Value:
    what, share = convert(values[0], NUMBER, context), values[1].node
    if isinstance(share, exp.Array):
        shares = [_share(s) for s in share.expressions]
        return Value(parametric("quantilesOrNull", shares, what), array(NUMBER))
    return Value(parametric("quantileOrNull", [_share(share)], what), NUMBER)


def _share(node: Node) -> Node:
    if isinstance(node, exp.Literal) and not node.is_string and 0 <= float(node.name) <= 1:
        return tree.number(node.name)
    raise QueryError("approx_percentile wants a share from 0 to 1", hint="such as 0.95")


def _bounded(name: str, node: Node) -> Node:
    return parametric(name, [tree.number(LONGEST)], node)


class Aggregates(Functions):
    """Many records to one value."""

    ABOUT = "Aggregates. Over no records they are NULL (counts: 0); NULLs are left out."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        Function(
            name="count",
            takes=(ANY,),
            optional=1,
            gives=INTEGER,
            build="count",
            distinct=lambda x: aggregate("uniqExact", x),
            aggregate=True,
            example=Example("count(*)", 4),
        ),
        Function(
            name="count_if",
            takes=(BOOLEAN,),
            gives=INTEGER,
            build="countIf",
            aggregate=True,
            example=Example("count_if(status in (401, 403))", 2),
        ),
        Function(
            name="sum",
            takes=(NUMBER,),
            gives=NUMBER,
            raw=_sum,
            distinct=lambda x: aggregate("sumDistinctOrNull", x),
            aggregate=True,
            example=Example("sum(body_bytes_sent)", 3500),
        ),
        Function(
            name="avg",
            takes=(NUMBER,),
            gives=NUMBER,
            build="avgOrNull",
            distinct=lambda x: aggregate("avgDistinctOrNull", x),
            aggregate=True,
            example=Example("avg(duration)", 0.5),
        ),
        Function(
            name="min",
            takes=(ANY,),
            gives=same,
            build="minOrNull",
            aggregate=True,
            example=Example("min(status)", 200),
        ),
        Function(
            name="max",
            takes=(ANY,),
            gives=same,
            build="maxOrNull",
            aggregate=True,
            example=Example("max(status)", 403),
        ),
        Function(
            name="max_by",
            takes=(ANY, ANY),
            gives=same,
            build="argMaxOrNull",
            aggregate=True,
            example=Example("max_by(url_path, duration)", "/v1/chat"),
        ),
        Function(
            name="min_by",
            takes=(ANY, ANY),
            gives=same,
            build="argMinOrNull",
            aggregate=True,
            example=Example("min_by(url_path, duration)", "/"),
        ),
        Function(
            name="arbitrary",
            takes=(ANY,),
            gives=same,
            build="anyOrNull",
            aggregate=True,
            example=Example("arbitrary(host)", "api.example.com"),
        ),
        Function(
            name="approx_distinct",
            takes=(ANY,),
            gives=INTEGER,
            build="uniq",
            aggregate=True,
            example=Example("approx_distinct(client_address)", 3),
        ),
        Function(
            name="approx_percentile",
            takes=(NUMBER, ANY),
            gives=NUMBER,
            raw=_percentile,
            aggregate=True,
            example=Example("approx_percentile(duration, 0.5)", 0.35),
        ),
        Function(
            name="array_agg",
            takes=(ANY,),
            gives=_elements,
            build=lambda x: _bounded("groupArray", x),
            distinct=lambda x: call("arraySort", _bounded("groupUniqArray", x)),
            aggregate=True,
            example=Example("array_agg(distinct method)", ["GET", "POST"]),
        ),
        Function(
            name="bool_and",
            takes=(BOOLEAN,),
            gives=BOOLEAN,
            build="minOrNull",
            aggregate=True,
            example=Example("bool_and(status < 500)", True),
        ),
        Function(
            name="every",
            takes=(BOOLEAN,),
            gives=BOOLEAN,
            build="minOrNull",
            aggregate=True,
            example=Example("every(status < 400)", False),
        ),
        Function(
            name="bool_or",
            takes=(BOOLEAN,),
            gives=BOOLEAN,
            build="maxOrNull",
            aggregate=True,
            example=Example("bool_or(status = 403)", True),
        ),
    )
