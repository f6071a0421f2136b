"""Invariants of the judges: order is nothing, live looks see what the whole file shows."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from deepmoat.detect.detector import DETECTORS
from deepmoat.detect.detectors.request_burst import RequestBurst
from deepmoat.model import Finding

NOW = datetime(2025, 1, 28, tzinfo=UTC)
START = 1_700_000_040
CASES = [(kind(), case) for _, kind in DETECTORS for case in kind.CASES]
WEIGHTS = st.lists(st.sampled_from([0.0, 0.0, 0.0, 8.0, 9.0, 12.0, 20.0, 35.0]), min_size=120, max_size=120)


def rows(clients: list[list[float]], since: int, until: int) -> list[dict[str, Any]]:
    """What the statement gives for ``clients``' weights by second from START on, over [since, until)."""
    found: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for client, weights in enumerate(clients):
        for second, weight in enumerate(weights, START):
            if weight >= 8 and since <= second < until:
                found.setdefault((client, second - second % 60), []).append((second, weight))
    more = {"country": "", "host": "h", "assets": 0, "refused": 0, "paths": 1, "agents": 1}
    return [
        {
            "client_address": f"192.0.2.{client}",
            "minute": minute,
            "seconds": [s for s, _ in busy],
            "weights": [w for _, w in busy],
            "counts": [int(w) for _, w in busy],
            "requests": int(sum(w for _, w in busy)),
            "begin": max(since, START),
        }
        | more
        for (client, minute), busy in found.items()
    ]


def subjects(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(f.cause, f.subject[1]) for f in findings}


@given(st.lists(WEIGHTS, min_size=1, max_size=14), st.booleans())
@settings(max_examples=60, deadline=None)
def test_live_looks_every_second_find_the_clients_the_whole_file_shows(
    clients: list[list[float]], at_once: bool
) -> None:
    if at_once:
        clients = [c[:60] + [9.0] * 4 + c[64:] for c in clients]
    burst = RequestBurst()
    whole = subjects(list(burst.judge(rows(clients, START, START + 120), NOW)))
    live: set[tuple[str, str]] = set()
    for now in range(START + 1, START + 121):
        live |= subjects(list(burst.judge(rows(clients, now - burst.WINDOW, now), NOW)))
    assert live == whole


@given(st.sampled_from(CASES), st.randoms())
def test_the_order_of_rows_means_nothing(pair: Any, dice: Any) -> None:
    detector, case = pair
    shuffled = list(case.rows)
    dice.shuffle(shuffled)
    usual = sorted(detector.judge(case.rows, NOW), key=lambda f: f.subject)
    assert sorted(detector.judge(shuffled, NOW), key=lambda f: f.subject) == usual


@given(st.sampled_from([c for c in CASES if c[1].found]), st.integers(1, 400))
def test_the_same_rows_a_while_later_give_the_same_findings_a_while_later(pair: Any, days: int) -> None:
    detector, case = pair
    moved = [{k: later(v, days * 86_400) for k, v in row.items()} for row in case.rows]
    usual, shifted = (list(detector.judge(r, NOW)) for r in (case.rows, moved))
    assert [f.summary for f in shifted] == [f.summary for f in usual]
    assert [(f.first - g.first).days for f, g in zip(shifted, usual, strict=True)] == [days] * len(usual)


def later(value: Any, seconds: int) -> Any:
    """A value moved in time, where it is one."""
    if isinstance(value, list):
        return [later(v, seconds) for v in value]
    return value + seconds if isinstance(value, int) and value > 1_600_000_000 else value
