"""Arrays. Positions count from 1."""

from collections.abc import Sequence
from typing import ClassVar

from deepmoat.kit.errors import QueryError
from deepmoat.query import tree
from deepmoat.query.context import Context
from deepmoat.query.function import Example, Function, Functions, same
from deepmoat.query.kinds import ANY, BOOLEAN, INTEGER, MAP, TEXT, Type
from deepmoat.query.tree import Node, call
from deepmoat.query.values import Value, as_text, convert

ARRAY = Type("array", ANY)


def element(values: Sequence[Value]) -> Type:
    """What the first argument, an array, holds."""
    return values[0].type.of or ANY


def _joined(values: Sequence[Value], context: Context) -> Value:
    items, kind = values[0].node, values[0].type
    if kind.name != "array" or kind.of is None:
        raise QueryError(f"array_join wants an array, not {kind}")
    variable = "v0"  # nested array_joins each have their own
    inner = as_text(Value(tree.column(variable), kind.of), context)
    if len(values) > 2:
        inner = call("ifNull", call("toString", inner), convert(values[2], TEXT, context))
    texts = call("arrayMap", tree.arrow(variable, inner), items)
    return Value(call("arrayStringConcat", texts, convert(values[1], TEXT, context)), TEXT)


def _size(values: Sequence[Value], context: Context) -> Value:
    if values[0].type != MAP and values[0].type.name != "array":
        raise QueryError(f"cardinality wants an array or a map, not {values[0].type}")
    return Value(call("length", values[0].node), INTEGER)


def _position(items: Node, item: Node) -> Node:
    return call("indexOf", items, item)


class Arrays(Functions):
    """Arrays, from array[…] or array_agg."""

    ABOUT = "Arrays. Positions count from 1."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        Function(
            name="array_join",
            takes=(ARRAY, TEXT, TEXT),
            optional=1,
            gives=TEXT,
            raw=_joined,
            example=Example("array_join(array['a', null, 'c'], ',', 'x')", "a,x,c"),
        ),
        Function(
            name="cardinality",
            takes=(ANY,),
            gives=INTEGER,
            raw=_size,
            example=Example("cardinality(array[1, 2])", 2),
        ),
        Function(
            name="contains",
            takes=(ARRAY, ANY),
            gives=BOOLEAN,
            build="has",
            example=Example("contains(array[1, 2], 2)", True),
        ),
        Function(
            name="array_distinct",
            takes=(ARRAY,),
            gives=same,
            build="arrayDistinct",
            example=Example("cardinality(array_distinct(array[1, 2, 1]))", 2),
        ),
        Function(
            name="array_sort",
            takes=(ARRAY,),
            gives=same,
            build="arraySort",
            example=Example("array_sort(array[3, 1, 2])", [1, 2, 3]),
        ),
        Function(
            name="array_max",
            takes=(ARRAY,),
            gives=element,
            build="arrayMax",
            example=Example("array_max(array[1, 3, 2])", 3),
        ),
        Function(
            name="array_min",
            takes=(ARRAY,),
            gives=element,
            build="arrayMin",
            example=Example("array_min(array[1, 3, 2])", 1),
        ),
        Function(
            name="array_position",
            takes=(ARRAY, ANY),
            gives=INTEGER,
            build=_position,
            example=Example("array_position(array[5, 6, 7], 6)", 2),
        ),
        Function(
            name="slice",
            takes=(ARRAY, INTEGER, INTEGER),
            gives=same,
            build="arraySlice",
            example=Example("slice(array[1, 2, 3], 2, 2)", [2, 3]),
        ),
        Function(
            name="element_at",
            takes=(ARRAY, INTEGER),
            gives=element,
            build="arrayElementOrNull",
            example=Example("element_at(array[5, 6], 2)", 6),
        ),
    )
