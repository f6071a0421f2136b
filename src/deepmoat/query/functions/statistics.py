"""Statistics over records."""

from typing import ClassVar

from deepmoat.query.function import Example, Function, Functions
from deepmoat.query.kinds import NUMBER
from deepmoat.query.tree import Node, aggregate, call


def _geometric(node: Node) -> Node:
    return call("exp", aggregate("avgOrNull", call("log", node)))


def _one(name: str, build: str, value: float) -> Function:
    return Function(
        name=name,
        takes=(NUMBER,),
        gives=NUMBER,
        build=build,
        aggregate=True,
        example=Example(f"round({name}(body_bytes_sent), 3)", value),
    )


class Statistics(Functions):
    """Spread and relation of numbers."""

    ABOUT = "Statistics over records."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        _one("stddev", "stddevSampOrNull", 478.714),
        _one("stddev_samp", "stddevSampOrNull", 478.714),
        _one("stddev_pop", "stddevPopOrNull", 414.578),
        _one("variance", "varSampOrNull", 229166.667),
        _one("var_samp", "varSampOrNull", 229166.667),
        _one("var_pop", "varPopOrNull", 171875.0),
        Function(
            name="geometric_mean",
            takes=(NUMBER,),
            gives=NUMBER,
            build=_geometric,
            aggregate=True,
            example=Example("round(geometric_mean(status), 3)", 283.548),
        ),
        Function(
            name="corr",
            takes=(NUMBER, NUMBER),
            gives=NUMBER,
            build="corrOrNull",
            aggregate=True,
            example=Example("round(corr(duration, duration), 3)", 1.0),
        ),
    )
