"""Report: what a scan found, as plain data. ``text.py`` and ``page.py`` show it; ``--json`` is it."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from deepmoat.model import Finding, Incident


class File(msgspec.Struct, frozen=True):
    """One file read: the parser chosen, lines read, and lines refused by reason."""

    name: str
    parser: str
    lines: int
    bytes: int
    refused: dict[str, int] = {}


class Series(msgspec.Struct, frozen=True):
    """Records of one logstore in buckets of ``step`` seconds from ``start``; ``bad`` is the errors' part."""

    logstore: str
    start: datetime
    step: int
    total: list[int]
    bad: list[int]
    bad_means: str


class Attacker(msgspec.Struct, frozen=True):
    """One address and what it did: findings' summaries by detector."""

    address: str
    country: str
    first: datetime
    last: datetime
    records: int
    did: dict[str, str]


class Report(msgspec.Struct, frozen=True):
    """Everything a person wants to know of some log files."""

    files: list[File]
    first: datetime | None
    last: datetime | None
    records: dict[str, int]
    incidents: list[Incident]
    attackers: list[Attacker]
    series: list[Series]
    countries: list[tuple[str, int]]
    failed_detectors: list[str]
    elapsed: float

    @property
    def lines(self) -> int:
        """Lines read in all."""
        return sum(f.lines for f in self.files)

    @property
    def refused(self) -> dict[str, int]:
        """Lines refused in all, by reason."""
        totals: dict[str, int] = {}
        for reason, n in (item for f in self.files for item in f.refused.items()):
            totals[reason] = totals.get(reason, 0) + n
        return totals


def attackers(findings: Iterable[Finding]) -> list[Attacker]:
    """Findings about addresses, one row an address, most records first."""
    by_address: dict[str, list[Finding]] = {}
    for finding in findings:
        field, value = finding.subject
        if field == "client_address":
            by_address.setdefault(value, []).append(finding)
    rows = [_attacker(address, own) for address, own in by_address.items()]
    return sorted(rows, key=lambda a: (-a.records, a.address))


def _attacker(address: str, own: Sequence[Finding]) -> Attacker:
    return Attacker(
        address,
        next((f.country for f in own if f.country), ""),
        min(f.first for f in own),
        max(f.last for f in own),
        max(f.count for f in own),
        {f.detector: f.summary.removeprefix(f"{address} ") for f in sorted(own, key=lambda f: f.first)},
    )


STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 604800)


def step_for(seconds: float, columns: int) -> int:
    """The smallest round step that shows ``seconds`` in at most ``columns`` buckets.

    >>> step_for(3600, 60), step_for(10, 60), step_for(4 * 86400, 72)
    (60, 1, 7200)
    """
    return next((s for s in STEPS if seconds / s <= columns), int(seconds / columns) + 1)


def duration(seconds: float) -> str:
    """A length of time in the largest unit that divides it.

    >>> duration(7200), duration(90), duration(86400)
    ('2 h', '90 s', '1 d')
    """
    for unit, size in (("w", 604800), ("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[int]) -> str:
    """Values as bars; a nought is a space, the largest is a full block.

    >>> sparkline([0, 1, 5, 10])
    ' ▁▄█'
    """
    top = max(values, default=0)
    return "".join(_BARS[max(0, -(-v * 8 // top) - 1)] if v else " " for v in values)


def printable(text: str) -> str:
    r"""Log text for a terminal: control characters and direction marks are shown, never obeyed.

    >>> printable("a\x1b[31mb\u202e")
    'a\\x1b[31mb\\u202e'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
