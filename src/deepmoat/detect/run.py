"""Run: a detector's statement through the one door, and its judgement on the rows.

The same call serves the newest seconds and a whole file; only the range differs.
"""

import logging
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from deepmoat.detect.detector import Detector
from deepmoat.detect.schedule import Due
from deepmoat.kit.errors import MoatError, QueryError, TransientError
from deepmoat.kit.meters import count, drop
from deepmoat.model import Finding, Query, Result

_LIMIT = re.compile(r"limit (\d+)$")
LOG = logging.getLogger(__name__)


class Door(Protocol):
    """The one way to ask: ``deepmoat.query.door.Door``."""

    def ask(self, query: Query, now: datetime) -> Result:
        """Run a query at ``now``."""


class Failure(NamedTuple):
    """A detector that could not look, and why: what it would have found is not known."""

    detector: str
    reason: str


class Swept(NamedTuple):
    """What all detectors found, and which of them could not look."""

    findings: list[Finding]
    failures: list[Failure]


def run(
    door: Door, detector: Detector[Any], since: datetime, until: datetime, now: datetime
) -> list[Finding]:
    """The detector's findings in ``[since, until)``.

    A query that fails is counted (``deepmoat_detect_failures_total``) and logged, and finds nothing:
    one detector never stops the others. ``sweep`` also gives the failures back.
    """
    return sweep(door, [Due(detector, since, until)], now).findings


def sweep(door: Door, dues: Iterable[Due], now: datetime) -> Swept:
    """Run each of ``dues``; a failing one is counted, said and passed over."""
    swept = Swept([], [])
    for due in dues:
        try:
            swept.findings.extend(_look(door, due, now))
        except (QueryError, TransientError) as exc:
            swept.failures.append(_failed(due.detector.name, exc))
    return swept


def _look(door: Door, due: Due, now: datetime) -> list[Finding]:
    detector = due.detector
    result = door.ask(Query(detector.query(), detector.LOGSTORE, due.since, due.until), now)
    count("deepmoat_detect_runs_total", detector=detector.name)
    cut = result.limited or _cut(detector, result)
    if cut:
        drop(f"detect.{detector.name}", "limited")
        LOG.warning("detector %s saw only its busiest rows: the others were cut by %s", detector.name, cut)
    findings = list(detector.judge(list(result.dicts()), now))
    count("deepmoat_detect_findings_total", len(findings), detector=detector.name)
    return findings


def _cut(detector: Detector[Any], result: Result) -> str:
    """The statement's own limit, when there may have been more rows than it lets through."""
    limit = _LIMIT.search(detector.query())
    return limit[0] if limit and len(result.rows) >= int(limit[1]) else ""


def _failed(name: str, exc: MoatError) -> Failure:
    count("deepmoat_detect_failures_total", detector=name)
    LOG.error("detector %s could not look: %s", name, exc)
    return Failure(name, str(exc))
