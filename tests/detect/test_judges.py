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
BUSY = st.tuples(st.integers(0, 110), st.integers(1, 8), st.sampled_from([8.0, 9.0, 12.0, 17.0, 22.0]))
CLIENT = st.lists(BUSY, max_size=3)


def rows(clients: list[list[float]], since: int, until: int) -> list[dict[str, Any]]:
    """What the statement gives for ``clients``' weights by second from START on, over [since, until)."""
    found: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for client, weights in enumerate(clients):
        for second, weight in enumerate(weights, START):
            if weight >= 8 and since <= second < until:
                found.setdefault((client, second - second % 60), []).append((second, weight))
    more = {"country": "", "host": "h", "assets": 0, "refused": 0}
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


def weights(busy: list[tuple[int, int, float]]) -> list[float]:
    """Two minutes of a client that is busy from, for how long, by how much."""
    seconds = [0.0] * 120
    for start, length, weight in busy:
        seconds[start : start + length] = [weight] * len(seconds[start : start + length])
    return seconds


def whole_and_live(clients: list[list[float]]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Who is found in all two minutes at once, and who by a look every second."""
    burst = RequestBurst()
    whole = subjects(list(burst.judge(rows(clients, START, START + 120), NOW)))
    live: set[tuple[str, str]] = set()
    for now in range(START + 1, START + 121):
        live |= subjects(list(burst.judge(rows(clients, now - burst.WINDOW, now), NOW)))
    return whole, live


@given(st.lists(CLIENT, min_size=1, max_size=14), st.none() | st.integers(20, 110))
@settings(max_examples=80, deadline=None)
def test_live_looks_every_second_find_the_clients_the_whole_file_shows(
    clients: list[list[tuple[int, int, float]]], at_once: int | None
) -> None:
    more = [] if at_once is None else [(at_once, 3, 9.0)]
    whole, live = whole_and_live([weights([*client, *more]) for client in clients])
    assert live == whole


def test_twelve_that_begin_at_once_are_found_live_and_whole_unless_they_were_busy_before() -> None:
    new, usual = [(60, 3, 9.0)], [(20, 2, 9.0), (40, 2, 9.0), (60, 3, 9.0)]
    found = {("request_burst:h", f"192.0.2.{n}") for n in range(12)}
    assert whole_and_live([weights(new)] * 12) == (found, found)
    assert whole_and_live([weights(usual)] * 9 + [weights(new)] * 9) == (set(), set())
    assert whole_and_live([weights([(0, 110, 8.0)])] * 12) == (set(), set())


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
