"""The checks a request passes, in order. The first that objects decides."""

from collections.abc import Callable, Iterable

from deepmoat.edge.guard.actions import InForce
from deepmoat.edge.guard.rate import RateLimit
from deepmoat.model import Request, Verdict

Check = Callable[[Request, float], Verdict | None]
PASS = Verdict("pass", status=0)


def chain(actions: InForce, rates: RateLimit) -> tuple[Check, ...]:
    """All checks that have anything to check. ``now`` is in seconds since 1970."""
    checks: tuple[tuple[bool, Check], ...] = (
        (True, actions.check),  # first: the cheapest answer, and the one a person asked for
        (rates.on, rates.check),
    )
    return tuple(check for on, check in checks if on)


def judge(request: Request, now: float, checks: Iterable[Check]) -> Verdict:
    """Ask each check in turn; ``None`` means no opinion."""
    for check in checks:
        verdict = check(request, now)
        if verdict is not None:
            return verdict
    return PASS
