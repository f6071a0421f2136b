"""Function: what one function of the query language becomes in ClickHouse.

A family of functions is one file in ``functions/``: a class with a tuple of these. The parser knows
no functions; a name that no family has is an error, never passed through.
"""

from abc import ABC
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, ClassVar

import msgspec

from deepmoat.kit.errors import QueryError
from deepmoat.kit.family import Family
from deepmoat.query.context import Context
from deepmoat.query.kinds import Type
from deepmoat.query.tree import Node, aggregate, call
from deepmoat.query.values import Value, convert

Build = Callable[..., Node]
Gives = Type | Callable[[Sequence[Value]], Type]


class Example(msgspec.Struct, frozen=True):
    """An expression over the sample records of ``docs/queries.md``, and its value."""

    query: str
    value: Any


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """``name(takes…) -> gives``.

    ``build`` is the ClickHouse function of the same arguments, or makes the node from the converted
    arguments (and the Context as ``context`` when ``zoned``). ``optional`` of the last arguments may be
    left out; with ``repeats`` the last may come again. ``distinct`` builds the call over distinct values.
    ``raw`` gets Values, unconverted, and gives a Value: for functions whose type depends on more.
    """

    name: str
    takes: tuple[Type, ...]
    gives: Gives
    build: str | Build = ""
    raw: Callable[[Sequence[Value], Context], Value] | None = None
    distinct: Build | None = None
    optional: int = 0
    repeats: bool = False
    aggregate: bool = False
    zoned: bool = False
    example: Example

    def lower(self, values: Sequence[Value], context: Context, *, distinct: bool = False) -> Value:
        """The call with ``values``; QueryError naming the function and the argument."""
        self._count(len(values))
        if self.raw and not distinct:
            return self.raw(values, context)
        nodes = [self._argument(i, v, context) for i, v in enumerate(values)]
        gives = self.gives if isinstance(self.gives, Type) else self.gives(values)
        return Value(self._built(nodes, context, distinct), gives)

    def _built(self, nodes: list[Node], context: Context, distinct: bool) -> Node:
        if distinct and self.distinct is None:
            raise QueryError(f"{self.name}(distinct …) is not supported", hint="count, sum, avg, array_agg")
        build = self.distinct if distinct and self.distinct else self.build
        if isinstance(build, str):
            return aggregate(build, *nodes) if self.aggregate else call(build, *nodes)
        return build(*nodes, context=context) if self.zoned else build(*nodes)

    def _argument(self, index: int, value: Value, context: Context) -> Node:
        want = self.takes[min(index, len(self.takes) - 1)]
        try:
            return convert(value, want, context)
        except QueryError as exc:
            message = f"{self.name}: argument {index + 1} {exc.message}"
            raise QueryError(message, hint=exc.hint or f"such as {self.example.query}") from exc

    def _count(self, given: int) -> None:
        least, most = len(self.takes) - self.optional, len(self.takes)
        if given < least or (given > most and not self.repeats):
            wants = (
                str(least) if least == most else f"{least} or more" if self.repeats else f"{least} to {most}"
            )
            message = f"{self.name} wants {wants} argument{'' if wants == '1' else 's'}, not {given}"
            raise QueryError(message, hint=f"such as {self.example.query}")


class Functions(ABC):
    """A family of functions: what they have in common, and the functions."""

    ABOUT: ClassVar[str]
    FUNCTIONS: ClassVar[tuple[Function, ...]]


FAMILIES: Family[Functions] = Family("deepmoat.query.functions", Functions)


@cache
def known() -> dict[str, Function]:
    """Every function by name."""
    return {f.name: f for _, family in FAMILIES for f in family.FUNCTIONS}


def find(name: str) -> Function:
    """The function called ``name``, in any case; QueryError with the nearest name where there is none."""
    function = known().get(name.lower())
    if function:
        return function
    close = get_close_matches(name.lower(), known(), 1)
    hint = f"did you mean {close[0]}?" if close else "docs/queries.md lists the functions"
    raise QueryError(f"no such function: {name[:80]}", hint=hint)


def same(values: Sequence[Value]) -> Type:
    """The type of the first argument."""
    return values[0].type
