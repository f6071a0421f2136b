"""ledger: which actions are in force, and when that changes next. Pure."""

from collections.abc import Iterable
from datetime import datetime

from deepmoat.model import Action


def in_force(actions: Iterable[Action], now: datetime) -> tuple[Action, ...]:
    """The actions that have not ended, oldest first; an enforcer looks at ``start`` itself."""
    return tuple(sorted((a for a in actions if a.end > now), key=lambda a: (a.start, a.id)))


def next_end(actions: Iterable[Action], now: datetime) -> datetime | None:
    """When the first of those in force ends; None where none is."""
    return min((a.end for a in actions if a.end > now), default=None)
