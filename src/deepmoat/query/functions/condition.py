"""Choices between values. IF and CASE are part of the grammar; see sql/expressions.py."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from deepmoat.query import tree
from deepmoat.query.context import Context
from deepmoat.query.function import Example, Function, Functions, same
from deepmoat.query.kinds import ANY
from deepmoat.query.tree import call
from deepmoat.query.values import Value, common, pair


def _coalesce(values: Sequence[Value], context: Context) -> Value:
    nodes, kind = common(values, context)
    return Value(call("coalesce", *nodes), kind)


def _nullif(values: Sequence[Value], context: Context) -> Value:
    left, right = pair(values[0], values[1], context)
    equal = call("equals", left, right)
    return Value(call("if", equal, tree.null(), values[0].node), values[0].type)


def _extreme(name: str) -> Callable[[Sequence[Value], Context], Value]:
    def lower(values: Sequence[Value], context: Context) -> Value:
        nodes, kind = common(values, context)
        return Value(call(name, *nodes), kind)

    return lower


class Conditions(Functions):
    """Choices between values."""

    ABOUT = "Choices between values."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        Function(
            name="coalesce",
            takes=(ANY,),
            repeats=True,
            gives=same,
            raw=_coalesce,
            example=Example("coalesce(no_such_attribute, 'none')", "none"),
        ),
        Function(
            name="nullif",
            takes=(ANY, ANY),
            gives=same,
            raw=_nullif,
            example=Example("nullif('a', 'a')", None),
        ),
        Function(
            name="try",
            takes=(ANY,),
            gives=same,
            build=lambda x: x,
            example=Example("try(1 / 0)", None),
        ),
        Function(
            name="greatest",
            takes=(ANY,),
            repeats=True,
            gives=same,
            raw=_extreme("greatest"),
            example=Example("greatest(1, 3, 2)", 3),
        ),
        Function(
            name="least",
            takes=(ANY,),
            repeats=True,
            gives=same,
            raw=_extreme("least"),
            example=Example("least(1, 3, 2)", 1),
        ),
    )
