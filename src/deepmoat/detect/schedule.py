"""Schedule: which detectors are due, and over which range. Pure: the caller has the clock.

Detectors with a period of seconds are spread over their period, so that they do not all ask in the
same tick; one that was missed (the last tick took long) is due at once, and only once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zlib import crc32

from deepmoat.detect.detector import Detector, when

TICK = 0.5
"""Seconds between two looks at the schedule: the period of the fastest detector."""
AHEAD = 2
"""Seconds a sender's clock may be ahead of ours."""


class Due(NamedTuple):
    """One detector to run now over ``[since, until)``."""

    detector: Detector[Any]
    since: datetime
    until: datetime


def due(detectors: Sequence[Detector[Any]], now: datetime, last: Mapping[str, datetime]) -> tuple[Due, ...]:
    """What to run at ``now``; ``last`` is when each was last run, by name (absent: never).

    Every period of a detector begins at a place of its own, so a look at any time within it finds the
    detector due exactly once. A clock that was set back is in another period, too.
    """
    ready = (d for d in detectors if d.name not in last or _period(d, last[d.name]) != _period(d, now))
    return tuple(Due(d, *window(d, now)) for d in ready)


def window(detector: Detector[Any], now: datetime) -> tuple[datetime, datetime]:
    """``[since, until)`` of a live run: ``WINDOW`` back, to the start of a bucket, so none is cut."""
    since = now.timestamp() - detector.WINDOW
    return when(since // detector.BUCKET * detector.BUCKET), now + timedelta(seconds=AHEAD)


def _period(detector: Detector[Any], at: datetime) -> int:
    """The number of the period ``at`` is in."""
    offset = crc32(detector.name.encode()) % 997 / 997 * detector.EVERY
    return int((at.timestamp() - offset) // detector.EVERY)
