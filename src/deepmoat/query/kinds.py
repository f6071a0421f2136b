"""The types of the query languages: few, and those a person thinks in.

Lowering knows the type of every expression, because ClickHouse's own types differ from Presto's
where it matters: addresses compare with text, integers divide to integers, seconds are times.
"""

from typing import Literal

import msgspec

from deepmoat.model import Column

Name = Literal[
    "text", "integer", "number", "time", "address", "boolean", "array", "map", "json", "null", "any"
]


class Type(msgspec.Struct, frozen=True):
    """A type; ``of`` is what an array holds."""

    name: Name
    of: "Type | None" = None

    def __str__(self) -> str:
        return f"array of {self.of}" if self.of else self.name


TEXT = Type("text")
INTEGER = Type("integer")
NUMBER = Type("number")
TIME = Type("time")
ADDRESS = Type("address")
BOOLEAN = Type("boolean")
MAP = Type("map")
JSON = Type("json")
NULL = Type("null")
ANY = Type("any")
NUMERIC = frozenset({INTEGER, NUMBER})


def array(of: Type) -> Type:
    """The type of an array of ``of``."""
    return Type("array", of)


def of_column(column: Column) -> Type:
    """The type a logstore's column has in queries."""
    return Type(column.kind)
