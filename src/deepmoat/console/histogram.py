"""The time histogram of a search: which query gives it, and its buckets. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from deepmoat.model import Query, Result
from deepmoat.query.split import split

BARS = 60
STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800, 2_592_000)


class Buckets(msgspec.Struct, frozen=True):
    """Counts of ``step`` seconds each; ``times`` are their starts, in seconds since 1970."""

    step: int
    times: tuple[int, ...]
    counts: tuple[int, ...]


def span_query(query: Query) -> Query:
    """First and last second of what the search finds, for a range that is open."""
    return _about(query, "select min(__time__) as first, max(__time__) as last, count(*) as n from log")


def count_query(query: Query, step: int) -> Query:
    """How many records the search finds in each ``step`` seconds."""
    bucket = f"__time__ - __time__ % {step} as t"
    text = f"select {bucket}, count(*) as n from log group by t order by t limit 1000"  # noqa: S608 - a number
    return _about(query, text)


def step_of(seconds: float) -> int:
    """The step that gives at most ``BARS`` bars or so.

    >>> step_of(900), step_of(86_400)
    (30, 1800)
    """
    return next((step for step in STEPS if seconds / step <= BARS), STEPS[-1])


def filled(result: Result, step: int, since: float, until: float) -> Buckets:
    """All buckets from ``since`` to ``until``, empty ones too."""
    known = {int(t): int(n) for t, n in result.rows}
    first = min([int(since) // step * step, *known])
    last = max([(int(until) - 1) // step * step, *known])
    times: Sequence[int] = range(first, last + step, step)
    if len(times) > 4 * BARS:
        times = sorted(known)
    return Buckets(step, tuple(times), tuple(known.get(t, 0) for t in times))


def span_of(query: Query, found: Result | None) -> tuple[float, float] | None:
    """From when to when the histogram goes; ``found`` answers ``span_query``. None for nothing at all."""
    first, last, n = found.rows[0] if found and found.rows else (0, 0, 1)
    if not n:
        return None
    since = query.since.timestamp() if query.since else float(first)
    until = query.until.timestamp() if query.until else float(last) + 1
    return (since, until) if since < until else None


def zoomed(query: Query, buckets: Buckets, index: int) -> Query:
    """The same query over one bar."""
    start = buckets.times[index]
    since, until = (datetime.fromtimestamp(t, UTC) for t in (start, start + buckets.step))
    return msgspec.structs.replace(query, since=since, until=until)


def _about(query: Query, analysis: str) -> Query:
    search, _ = split(query.text)
    return msgspec.structs.replace(query, text=f"{search.strip() or '*'} | {analysis}", limit=1000)
