"""Detection: which detectors to run now, and how, for the watch."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from deepmoat.app.watch import Look
from deepmoat.detect.detector import Detector
from deepmoat.detect.run import sweep
from deepmoat.detect.schedule import Due, due
from deepmoat.model import Finding
from deepmoat.query.door import Door


class Detection:
    """Remembers when each detector was last started."""

    def __init__(self, door: Door, detectors: Sequence[Detector[Any]]) -> None:
        self.door, self.detectors = door, detectors
        self._last: dict[str, datetime] = {}

    def looks(self, now: datetime, busy: frozenset[str]) -> Iterable[Look]:
        """The detectors due at ``now`` that do not run yet."""
        idle = [d for d in self.detectors if d.name not in busy]
        for item in due(idle, now, self._last):
            self._last[item.detector.name] = now
            yield Look(item.detector.name, self._runner(item))

    def _runner(self, item: Due) -> Any:
        def run() -> Sequence[Finding]:
            return sweep(self.door, [item], datetime.now(UTC)).findings

        return run
