"""Counters and gauges of this process. Nothing is lost silently: each discard is one ``drop``.

Names are ``deepmoat_<area>_<noun>_<unit>_total`` for counters. Labels come from small sets.
A process hands its meters on as plain data (``snapshot``); core adds up those of all
processes and shows them on ``/metrics``.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

Labels = tuple[tuple[str, str], ...]


class Sample(msgspec.Struct, frozen=True):
    """One value of one meter. ``counter`` values add up over processes and restarts of a scrape."""

    name: str
    labels: Labels
    value: float
    counter: bool


_COUNTS: Counter[tuple[str, Labels]] = Counter()
_GAUGES: dict[tuple[str, Labels], float] = {}


def count(name: str, n: float = 1, **labels: str) -> None:
    """Add ``n`` to a counter."""
    _COUNTS[name, tuple(sorted(labels.items()))] += n  # type: ignore[assignment]


def gauge(name: str, value: float, **labels: str) -> None:
    """Set a gauge."""
    _GAUGES[name, tuple(sorted(labels.items()))] = value


def drop(component: str, reason: str, n: int = 1) -> None:
    """Count ``n`` things lost or refused in ``component``, with a reason from a small set."""
    count("deepmoat_dropped_records_total", n, component=component, reason=reason)


def dropped(component: str, reason: str) -> int:
    """How many ``drop`` counted so far."""
    labels = (("component", component), ("reason", reason))
    return int(_COUNTS["deepmoat_dropped_records_total", labels])


def snapshot() -> list[Sample]:
    """All meters of this process now."""
    counts = [Sample(name, labels, value, True) for (name, labels), value in list(_COUNTS.items())]
    return counts + [Sample(name, labels, value, False) for (name, labels), value in list(_GAUGES.items())]


def merged(snapshots: Iterable[Iterable[Sample]]) -> list[Sample]:
    """Meters of several processes as one: equal names and labels add up.

    >>> one = Sample("n", (), 1.0, True)
    >>> [s.value for s in merged([[one], [one]])]
    [2.0]
    """
    totals: dict[tuple[str, Labels, bool], float] = {}
    for sample in (s for snap in snapshots for s in snap):
        key = sample.name, sample.labels, sample.counter
        totals[key] = totals.get(key, 0.0) + sample.value
    return [Sample(name, labels, value, kind) for (name, labels, kind), value in totals.items()]
