"""The checks a request passes, in order. The first that objects decides."""

from collections.abc import Callable

import msgspec

from deepmoat.edge.guard.budgets import Called
from deepmoat.edge.guard.guard import Guard
from deepmoat.model import Request, Verdict

Check = Callable[[Request, float], Verdict | None]
CallCheck = Callable[[Request, Called, float], Verdict | None]
PASS = Verdict("pass", status=0)


class Checks(msgspec.Struct, frozen=True):
    """What is asked once a head is there, and what once a model call is known. Times: seconds since 1970."""

    head: tuple[Check, ...] = ()
    call: tuple[CallCheck, ...] = ()


def checks(guard: Guard) -> Checks:
    """All checks of ``guard`` that have anything to check, in their order."""
    rules, challenge = guard.rules, guard.challenge
    head: tuple[Check, ...] = (
        guard.actions.check,  # first: the cheapest answer, and the one a person asked for
        *([guard.rate.check] if guard.rate else []),
        *(rule.check for rule in rules if rule.settings.unit == "requests"),
        *(rule.check_bytes for rule in rules if rule.settings.unit == "bytes"),
        *([challenge.check] if challenge.settings.always else []),
    )
    call: tuple[CallCheck, ...] = tuple(budget.check for budget in guard.budgets)
    return Checks(head, call)


def judge_head(request: Request, now: float, checks: Checks) -> Verdict:
    """Ask each check of a head in turn; ``None`` means no opinion."""
    for check in checks.head:
        verdict = check(request, now)
        if verdict is not None:
            return verdict
    return PASS


def judge_call(request: Request, call: Called, now: float, checks: Checks) -> Verdict:
    """Ask each check of a model call in turn, before it is passed on."""
    for check in checks.call:
        verdict = check(request, call, now)
        if verdict is not None:
            return verdict
    return PASS
