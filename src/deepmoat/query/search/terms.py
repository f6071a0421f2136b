"""What a search says, as a tree."""

from enum import Enum
from typing import Literal

import msgspec


class Wild(Enum):
    """A wildcard in a word."""

    MANY = "*"
    ONE = "?"


Pattern = tuple["str | Wild", ...]


class Words(msgspec.Struct, frozen=True):
    """All words of ``pattern`` are there, in any order; in the column ``key`` when one is named."""

    pattern: Pattern
    key: str = ""
    at: int = 0
    bare: int = -1  # where the key is, when it is not in quotes


class Phrase(msgspec.Struct, frozen=True):
    """The text as it stands."""

    text: str
    key: str = ""
    at: int = 0
    bare: int = -1  # where the key is, when it is not in quotes


class Present(msgspec.Struct, frozen=True):
    """``key:*``; with ``empty``, ``key:""``."""

    key: str
    empty: bool = False
    at: int = 0
    bare: int = -1  # where the key is, when it is not in quotes


class Compare(msgspec.Struct, frozen=True):
    """``key > number``."""

    key: str
    sign: Literal[">", ">=", "<", "<=", "="]
    number: str
    at: int = 0
    bare: int = -1  # where the key is, when it is not in quotes


class Within(msgspec.Struct, frozen=True):
    """``key in [low high)``: brackets include their end, parentheses do not."""

    key: str
    low: str
    high: str
    low_included: bool
    high_included: bool
    at: int = 0
    bare: int = -1  # where the key is, when it is not in quotes


class Everything(msgspec.Struct, frozen=True):
    """``*``."""


class Not(msgspec.Struct, frozen=True):
    """None of these."""

    part: "Term"


class All(msgspec.Struct, frozen=True):
    """Each of these."""

    parts: tuple["Term", ...]


class Any(msgspec.Struct, frozen=True):
    """At least one of these."""

    parts: tuple["Term", ...]


Term = Words | Phrase | Present | Compare | Within | Everything | Not | All | Any
