"""Scan: files into a temporary store, every detector over their own time range, a report."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from deepmoat.alert.incidents import fold
from deepmoat.app.scan.report import File, Report, Series, attackers, step_for
from deepmoat.app.scan.store import Progress, Store, silent, temporary
from deepmoat.app.settings import Moat
from deepmoat.detect.run import Swept, sweep
from deepmoat.detect.schedule import Due
from deepmoat.detect.settings import detectors
from deepmoat.model import Incident, Query

COLUMNS = 72
_BAD = {
    "access": ("http_response_status_code >= 500", "server errors"),
    "security": ("event_outcome = 'failure'", "failures"),
    "app": ("severity_number >= 17", "errors"),
}


def scan(
    names: Sequence[str], moat: Moat, *, parser: str | None = None, progress: Progress = silent
) -> Report:
    """Read ``names`` and look. ConfigError for a file that is not there."""
    started = time.monotonic()
    with temporary(moat, progress) as store:
        files = store.take(names, parser)
        records = store.counts()
        spans = _spans(store)
        if not spans:
            return Report(files, None, None, records, [], [], [], [], [], time.monotonic() - started)
        return _report(store, moat, files, records, spans, started)


def _report(
    store: Store,
    moat: Moat,
    files: list[File],
    records: dict[str, int],
    spans: dict[str, tuple[datetime, datetime]],
    started: float,
) -> Report:
    first, last = min(s[0] for s in spans.values()), max(s[1] for s in spans.values())
    swept = _sweep(store, moat, first, last)
    return Report(
        files,
        first,
        last,
        records,
        _incidents(swept, last, moat),
        attackers(swept.findings),
        list(_series(store, spans)),
        _countries(store, records),
        [f"{f.detector}: {f.reason}" for f in swept.failures],
        time.monotonic() - started,
    )


def _spans(store: Store) -> dict[str, tuple[datetime, datetime]]:
    """The first and the last record's time of each logstore that has records."""
    parts = (f"SELECT '{name}', min(time), max(time), count() FROM {name}" for name in _BAD)  # noqa: S608
    rows = store.database.inspect(" UNION ALL ".join(parts)).rows
    return {name: (first.astimezone(UTC), last.astimezone(UTC)) for name, first, last, n in rows if n}


def _sweep(store: Store, moat: Moat, first: datetime, last: datetime) -> Swept:
    """Every detector over the whole span."""
    until, swept = last + timedelta(seconds=1), Swept([], [])
    running = detectors(moat.detect)
    for number, detector in enumerate(running):
        store.progress(f"looking for {detector.name.replace('_', ' ')}", number, len(running))
        found = sweep(store.door, [Due(detector, first, until)], last)
        swept.findings.extend(found.findings)
        swept.failures.extend(found.failures)
    return swept


def _incidents(swept: Swept, last: datetime, moat: Moat) -> list[Incident]:
    """One incident a cause, the worst first."""
    folded = fold((), swept.findings, last, moat.alert.rules())
    return sorted(folded.incidents, key=lambda i: (-i.severity, -i.count, i.first))


def _series(store: Store, spans: dict[str, tuple[datetime, datetime]]) -> Iterator[Series]:
    """Each logstore over its own span: two files may be years apart."""
    for logstore, (first, last) in sorted(spans.items()):
        step = step_for((last - first).total_seconds() + 1, COLUMNS - 1)
        start = int(first.timestamp()) // step * step
        length = (int(last.timestamp()) - start) // step + 1
        bad, means = _BAD[logstore]
        text = (
            f"* | select __time__ - __time__ % {step} as bucket, count(*) as total, "
            f"count_if({bad}) as bad group by bucket order by bucket limit {length + 1}"
        )
        total, wrong = [0] * length, [0] * length
        for bucket, n, m in store.door.ask(Query(text, logstore), last).rows:
            place = (int(bucket) - start) // step
            total[place], wrong[place] = int(n), int(m)
        yield Series(logstore, datetime.fromtimestamp(start, UTC), step, total, wrong, means)


def _countries(store: Store, records: dict[str, int]) -> list[tuple[str, int]]:
    logstore = "access" if records["access"] else "security"
    text = "* | select client_country, count(*) as n group by client_country order by n desc, 1 limit 300"
    rows = store.door.ask(Query(text, logstore), datetime.now(UTC)).rows
    return [(str(code), int(n)) for code, n in rows]
