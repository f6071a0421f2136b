"""Detector: one statement that groups by its own time bucket, and a pure judgement on its rows.

Because the statement groups by time itself, the same text serves the newest seconds and a whole
file: there is no loop over windows, and a live run and a scan of the same records agree.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import msgspec

from deepmoat.detect.quote import fill
from deepmoat.kit.family import Family
from deepmoat.kit.settings import Settings
from deepmoat.model import Finding, Query

Row = Mapping[str, Any]
T = TypeVar("T", bound=Settings)
REQUESTS_OF = """* | select time, http_request_method, url_path, url_query, http_response_status_code,
 user_agent_original from log where client_address = {client} order by time limit 100"""
"""Evidence of a finding about one client: what it asked for."""


class Case(NamedTuple):
    """Rows the statement could give, and the subjects' values that must be found in them, sorted."""

    rows: Sequence[Row]
    found: Sequence[str]


class Detector(ABC, Generic[T]):
    """``QUERY`` says what to read, ``judge`` what it means. ``judge`` is pure.

    ``QUERY`` may name thresholds as ``{name}``; ``query()`` fills them in. ``BUCKET`` is the length of
    its time buckets, ``WINDOW`` how far a live run looks back, ``EVERY`` how often one is due, all
    in seconds. ``CASES`` hold at least one case with a finding and one without. ``BLIND`` states
    what the detector is known to miss. ``TECHNIQUES`` are MITRE ATT&CK ids.
    """

    LOGSTORE: ClassVar[str] = "access"
    QUERY: ClassVar[str]
    BUCKET: ClassVar[int]
    WINDOW: ClassVar[int]
    EVERY: ClassVar[float]
    THRESHOLDS: ClassVar[type[Settings]]
    CASES: ClassVar[Sequence[Case]]
    BLIND: ClassVar[str]
    TECHNIQUES: ClassVar[tuple[str, ...]]

    def __init__(self, at: T | None = None) -> None:
        """``at`` are the thresholds, the defaults when left out."""
        self.at: T = at if at is not None else cast(T, self.THRESHOLDS())

    @property
    def name(self) -> str:
        """The name in settings, docs and findings: that of the file."""
        return type(self).__module__.rpartition(".")[2]

    def query(self) -> str:
        """``QUERY`` with the thresholds in their places. Thresholds are numbers: nothing to quote."""
        return fill(self.QUERY, **msgspec.structs.asdict(self.at))

    @abstractmethod
    def judge(self, rows: Sequence[Row], now: datetime) -> Iterator[Finding]:
        """Findings in ``rows``, at most one for a subject and stretch of time. Never raises on rows
        the statement can give.
        """


DETECTORS: Family[Detector[Any]] = Family("deepmoat.detect.detectors", Detector)  # type: ignore[type-abstract]


def when(seconds: float) -> datetime:
    """Seconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def cause(detector: str, target: str, *, certain: bool = True) -> str:
    """The cause of findings about ``target``: one attack, however many clients take part.

    What is only likely gets a cause of its own: an incident acts on all its subjects, and a certain
    attacker must not take a doubtful one along. No target (several hosts, or none named) is "any".

    >>> cause("scanner", "shop.example"), cause("scanner", "shop.example", certain=False)
    ('scanner:shop.example', 'scanner:shop.example:likely')
    """
    return f"{detector}:{target or 'any'}" if certain else f"{detector}:{target or 'any'}:likely"


def evidence(text: str, logstore: str, first: datetime, last: datetime, **values: str) -> Query:
    """The query ``text`` over the seconds from ``first`` to ``last``, both included.

    ``{name}`` places are filled with ``values`` as literals.
    """
    return Query(fill(text, **values), logstore, first, last + timedelta(seconds=1))


def stretches(rows: Sequence[Row], key: str, gap: int) -> Iterator[list[Row]]:
    """``rows`` in order of ``row[key]`` (seconds), cut where more than ``gap`` seconds lie between.

    >>> [len(s) for s in stretches([{"t": 0}, {"t": 5}, {"t": 99}], "t", 10)]
    [2, 1]
    """
    stretch: list[Row] = []
    for row in sorted(rows, key=lambda r: int(r[key])):
        if stretch and row[key] - stretch[-1][key] > gap:
            yield stretch
            stretch = []
        stretch.append(row)
    if stretch:
        yield stretch


def grouped(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """``rows`` by the values of ``keys``, in the order met."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[k] for k in keys), []).append(row)
    return groups
