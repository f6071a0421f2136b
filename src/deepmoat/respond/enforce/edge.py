"""edge: the form in which our own edge is told the actions in force.

One line of JSON, ``{"version": N, "actions": [Action, …]}``, with all actions in force: a reader
needs no earlier line. The snapshot file holds the same line. A version is never smaller than an
earlier one, also over a restart of core.
"""

import msgspec

from deepmoat.model import Action


class Orders(msgspec.Struct, frozen=True):
    """All actions in force, and the version of that knowledge."""

    version: int
    actions: tuple[Action, ...] = ()


def encode(orders: Orders) -> bytes:
    """The line, with its newline."""
    return msgspec.json.encode(orders) + b"\n"


def decode(line: bytes) -> Orders:
    """The orders in a line; ValueError (msgspec.DecodeError) where there are none."""
    return msgspec.json.decode(line, type=Orders)


def next_version(last: int, now: float) -> int:
    """Greater than ``last``, and than any version of an earlier run with this clock."""
    return max(last + 1, int(now * 1000))
