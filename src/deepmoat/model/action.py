"""Action: an order to an enforcer that ends by itself."""

from datetime import datetime
from typing import Literal

import msgspec

Target = tuple[tuple[str, str], ...]
"""A conjunction of (field, value): every pair must hold, as in ``(("client_address", "192.0.2.1"),)``."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Every action has a cause and an end: there is no permanent block.

    It applies to a request that matches any of ``targets``. ``cause`` is the incident's id, or
    who ordered it by hand. ``impact`` is how many good requests of the last day it would have hit.
    """

    id: str
    kind: Literal["block", "limit", "challenge"]
    targets: tuple[Target, ...]
    cause: str
    reason: str
    start: datetime
    end: datetime
    impact: int = 0

    def active(self, now: datetime) -> bool:
        """Is the order in force at ``now``?"""
        return self.start <= now < self.end
