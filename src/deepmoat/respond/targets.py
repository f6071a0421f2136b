"""targets: client addresses as targets of an action."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from deepmoat.kit.errors import QueryError
from deepmoat.kit.ids import stable_id
from deepmoat.model import Action, Target
from deepmoat.respond.settings import Allowed, single

FIELD = "client_address"
LONGEST_MINUTES = 7 * 24 * 60


def target(address: str) -> Target:
    """Whatever comes from one client address."""
    return ((FIELD, address),)


def clients(action: Action | None) -> frozenset[str]:
    """The client addresses an action is aimed at."""
    pairs = (pair for aim in (action.targets if action else ()) for pair in aim)
    return frozenset(value for field, value in pairs if field == FIELD)


def spared(action: Action, allowed: Allowed) -> Action | None:
    """``action`` without allow-listed clients: the list may have grown since; None where nothing is left."""
    targets = tuple(t for t in action.targets if not any(f == FIELD and v in allowed for f, v in t))
    if len(targets) == len(action.targets):
        return action
    return msgspec.structs.replace(action, targets=targets) if targets else None


def by_hand(
    addresses: Sequence[str], who: str, reason: str, now: datetime, minutes: float, allowed: Allowed
) -> Action:
    """The block a person orders; it ends within a week.

    Raises QueryError (its message is for that person) for what is not one address, is allow-listed,
    or has no end.
    """
    if not addresses or not 0 < minutes <= LONGEST_MINUTES:
        raise QueryError("a block wants an address and an end", hint="1 to 10080 minutes, a week")
    found = tuple(dict.fromkeys(_blockable(text, allowed) for text in addresses))
    return Action(
        id=stable_id(now.timestamp(), "by hand", who, *found),
        kind="block",
        targets=tuple(map(target, found)),
        cause=who,
        reason=reason,
        start=now,
        end=now + timedelta(minutes=minutes),
    )


def _blockable(text: str, allowed: Allowed) -> str:
    address = single(text.strip())
    if address is None:
        raise QueryError(f"{text!r} is not one address", hint="write 192.0.2.1 or 2001:db8::1")
    if address in allowed:
        raise QueryError(f"{address} is on the allow-list", hint="see respond.allow")
    return address
