"""Arithmetic beyond the operators."""

from collections.abc import Sequence
from typing import ClassVar

from deepmoat.query import tree
from deepmoat.query.function import Example, Function, Functions
from deepmoat.query.kinds import INTEGER, NUMBER, Type
from deepmoat.query.tree import Node, call
from deepmoat.query.values import Value


def _kept(values: Sequence[Value]) -> Type:
    return INTEGER if values[0].type == INTEGER else NUMBER


def _round(value: Node, digits: Node | None = None) -> Node:
    """Halves away from zero, as Presto; ClickHouse's own round sends them to the even neighbour."""
    scale = call("exp10", digits) if digits else tree.number(1)
    size = call("floor", call("plus", call("multiply", call("abs", value), scale), tree.number("0.5")))
    return call("divide", call("multiply", call("sign", value), size), scale)


def _log(base: Node, value: Node) -> Node:
    return call("divideOrNull", call("log", value), call("log", base))


def _one(name: str, build: str, query: str, value: float, *, keeps: bool = False) -> Function:
    gives = _kept if keeps else NUMBER
    return Function(name=name, takes=(NUMBER,), gives=gives, build=build, example=Example(query, value))


def _none(name: str, value: float) -> Function:
    return Function(name=name, takes=(), gives=NUMBER, build=name, example=Example(f"{name}()", value))


class Numbers(Functions):
    """Numbers to numbers."""

    ABOUT = "Arithmetic. Out of range is NULL or not a number, never an error."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        _one("abs", "abs", "abs(-3)", 3, keeps=True),
        _one("floor", "floor", "floor(2.5)", 2.0, keeps=True),
        _one("ceil", "ceil", "ceil(2.5)", 3.0, keeps=True),
        _one("ceiling", "ceil", "ceiling(2.5)", 3.0, keeps=True),
        _one("truncate", "trunc", "truncate(-2.7)", -2.0, keeps=True),
        _one("sqrt", "sqrt", "sqrt(16)", 4.0),
        _one("cbrt", "cbrt", "cbrt(27)", 3.0),
        _one("exp", "exp", "exp(1)", 2.718281828459045),
        _one("ln", "log", "ln(e())", 1.0),
        _one("log2", "log2", "log2(8)", 3.0),
        _one("log10", "log10", "log10(1000)", 3.0),
        _one("degrees", "degrees", "degrees(pi())", 180.0),
        _one("radians", "radians", "radians(180)", 3.141592653589793),
        _none("e", 2.718281828459045),
        _none("pi", 3.141592653589793),
        Function(
            name="round",
            takes=(NUMBER, INTEGER),
            optional=1,
            gives=NUMBER,
            build=_round,
            example=Example("round(2.675, 2)", 2.68),
        ),
        Function(
            name="pow",
            takes=(NUMBER, NUMBER),
            gives=NUMBER,
            build="pow",
            example=Example("pow(2, 10)", 1024.0),
        ),
        Function(
            name="power",
            takes=(NUMBER, NUMBER),
            gives=NUMBER,
            build="pow",
            example=Example("power(2, 10)", 1024.0),
        ),
        Function(
            name="mod",
            takes=(NUMBER, NUMBER),
            gives=_kept,
            build="moduloOrNull",
            example=Example("mod(7, 3)", 1),
        ),
        Function(
            name="log",
            takes=(NUMBER, NUMBER),
            gives=NUMBER,
            build=lambda value, base: _log(base, value),
            example=Example("log(8, 2)", 3.0),
        ),
    )
