"""block_clients: the clients of one attack are blocked, and nobody else.

Three steps, so that nothing is blocked before its impact is known: ``candidates`` names the
addresses that may be blocked, the caller asks how many good requests each made (``impact.py``),
``order`` makes or extends the one Action of the incident from the answer.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from deepmoat.kit.ids import stable_id
from deepmoat.kit.meters import drop
from deepmoat.model import Action, Incident, Severity
from deepmoat.respond.settings import Allowed, RespondSettings, single
from deepmoat.respond.targets import FIELD, clients, target

LEAST = Severity.HIGH


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """``fresh`` addresses to block; ``allowed`` ones that never are; ``held`` says why a person is asked."""

    fresh: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    held: str = ""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The action to take (None: none, or none that differs), and why it takes in less than was asked."""

    action: Action | None = None
    added: tuple[str, ...] = ()
    held: str = ""


def candidates(
    incident: Incident,
    current: Action | None,
    allowed: Allowed,
    settings: RespondSettings,
    *,
    released: str = "",
) -> Candidates:
    """Which clients of ``incident`` may be blocked that ``current`` does not block yet.

    ``released`` is the person who ended the incident's action early: their word stands.
    """
    why_not = f"{released} ended the block" if released else _unfit(incident, settings)
    if why_not is not None:
        return Candidates(held=why_not)
    blocked = clients(current)
    met = dict.fromkeys(
        address
        for field, value in incident.subjects
        if field == FIELD and (address := single(value)) is not None
    )
    spared = tuple(a for a in met if a in allowed)
    fresh = [a for a in met if a not in allowed and a not in blocked]
    room = max(0, settings.maximum_targets - len(blocked))
    if len(fresh) > room:
        drop("respond", "too_many_targets", len(fresh) - room)
    held = f"only {settings.maximum_targets} targets fit one action" if len(fresh) > room else ""
    return Candidates(fresh=tuple(fresh[:room]), allowed=spared, held=held)


def order(
    incident: Incident,
    fresh: Sequence[str],
    good: Mapping[str, int],
    current: Action | None,
    now: datetime,
    settings: RespondSettings,
) -> Order:
    """The incident's one Action with ``fresh`` in it; ``good`` is how many good requests each made.

    The addresses with the least impact go first, up to ``impact_limit`` for the action; what is
    beyond is left to a person. An action in force keeps its id; its end moves when targets come or
    when less than half of its time is left.
    """
    impact = current.impact if current else 0
    added = []
    for address in sorted(fresh, key=lambda a: good.get(a, 0)):
        if impact + good.get(address, 0) > settings.impact_limit:
            break
        impact += good.get(address, 0)
        added.append(address)
    left = set(fresh).difference(added)
    held = _too_good(left, good, settings) if left else ""
    if not added and not _fading(current, now, settings):
        return Order(held=held)
    action = _action(incident, current, added, impact, now, settings)
    return Order(action=action, added=tuple(added), held=held)


def _unfit(incident: Incident, settings: RespondSettings) -> str | None:
    """Why nothing of this kind is blocked; None where it may be."""
    if incident.severity < LEAST or incident.status == "closed":
        return ""
    if incident.detector not in settings.detectors:
        return f"findings of {incident.detector} do not block by themselves"
    return None if settings.automatic else "automatic actions are off"


def _fading(current: Action | None, now: datetime, settings: RespondSettings) -> bool:
    return current is not None and current.end - now < settings.block() / 2


def _too_good(left: set[str], good: Mapping[str, int], settings: RespondSettings) -> str:
    total = sum(good.get(a, 0) for a in left)
    return (
        f"{len(left)} clients made {total} good requests in the day before "
        f"(the limit is {settings.impact_limit}): a person must decide"
    )


def _action(
    incident: Incident,
    current: Action | None,
    added: Sequence[str],
    impact: int,
    now: datetime,
    settings: RespondSettings,
) -> Action:
    end, targets = now + settings.block(), tuple(map(target, added))
    if current is not None:
        return msgspec.structs.replace(
            current, targets=current.targets + targets, end=max(end, current.end), impact=impact
        )
    return Action(
        id=stable_id(now.timestamp(), "block", incident.id),
        kind="block",
        targets=targets,
        cause=incident.id,
        reason=incident.title,
        start=now,
        end=end,
        impact=impact,
    )
