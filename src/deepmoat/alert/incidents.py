"""Findings of one cause become one Incident, and a person is told once.

How a fold counts. A live detector looks back over the same seconds many times, so its findings
overlap: adding their counts up would count one request ten times. For each subject we therefore
remember the span already counted; of a finding that overlaps it, only the share of its span that
lies outside is added, and a subject's count is never below the largest single finding. Disjoint
findings add up exactly; overlapping ones as exactly as even traffic would.

Two findings of one cause belong to one incident when their records lie no further apart than
``Rules.again``. Record times decide, not the clock, so a whole file folds as a live stream does.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

from deepmoat.kit.ids import stable_id
from deepmoat.kit.meters import drop
from deepmoat.model import Finding, Incident, Query, Severity

Subject = tuple[str, str]
Event = Literal["opened", "raised", "closed", "test"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """When an incident ends and how much of it is kept.

    After ``quiet`` without news it is closed (a live detector repeats itself: that is none); a finding
    of the same cause whose records are within ``again`` of its own opens it again. ``subjects`` is how
    many an incident lists; up to ``tally`` of them are told apart, so up to there ``subject_count`` is
    exact. A cause may hold what a client wrote (the Host it asked for): when a detector has ``causes``
    open incidents, what it finds of further causes becomes one incident of the cause ``<detector>:*``, so
    nobody can make us page without end.
    """

    quiet: timedelta = timedelta(minutes=10)
    again: timedelta = timedelta(minutes=60)
    subjects: int = 1_000
    tally: int = 200_000
    evidence: int = 10
    timeline: int = 200
    causes: int = 20


class Span(NamedTuple):
    """The records of one subject so far: from ``first`` to ``last``, ``records`` of them, how bad."""

    first: datetime
    last: datetime
    records: int
    severity: Severity


class Ongoing(msgspec.Struct, frozen=True, kw_only=True):
    """An incident, and what it takes to go on counting it.

    ``heard`` is when a finding of it last said anything new; ``mentioned`` is (subjects, records) when the
    timeline last spoke of growth.
    """

    incident: Incident
    heard: datetime
    tally: dict[Subject, Span]
    mentioned: tuple[int, int]

    @classmethod
    def restored(cls, incident: Incident, now: datetime) -> "Ongoing":
        """Go on after a restart, from what the state kept."""
        span = Span(incident.first, incident.last, incident.count, Severity.REPORT)
        mentioned = incident.subject_count, incident.count
        tally = dict.fromkeys(incident.subjects, span)
        return cls(incident=incident, heard=now, tally=tally, mentioned=mentioned)

    def subjects(self, least: Severity) -> tuple[Subject, ...]:
        """The subjects some finding called at least as bad as ``least``, in the order met.

        After a restart that is known again once they are found again.
        """
        return tuple(subject for subject, span in self.tally.items() if span.severity >= least)


class Notice(msgspec.Struct, frozen=True):
    """Something a person should be told."""

    event: Event
    incident: Incident


class Folded(msgspec.Struct, frozen=True):
    """What a fold gives: the incidents that changed, what to tell, and what to give the next fold."""

    incidents: tuple[Incident, ...]
    notices: tuple[Notice, ...]
    ongoing: tuple[Ongoing, ...]


def fold(
    ongoing: Sequence[Ongoing], findings: Iterable[Finding], now: datetime, rules: Rules | None = None
) -> Folded:
    """Put ``findings`` where they belong, and close what went quiet.

    There is at most one open incident a cause. A notice comes when an incident opens and whenever
    its severity rises, so once per incident and severity; growth alone tells nobody. Counts never
    shrink, severity never falls. Ids depend on cause, first record and ``now`` only.
    """
    rules = rules or Rules()
    desk = _Desk([_File(item, rules) for item in ongoing], now, rules)
    for finding in sorted(findings, key=lambda f: (f.first, f.last)):
        desk.take(finding)
    for file in desk.files:
        file.settle(now)
    changed = [file for file in desk.files if file.changed]
    notices = tuple(notice for file in changed for notice in file.notices())
    kept = tuple(file.frozen() for file in desk.files if not file.over(now))
    return Folded(tuple(file.incident() for file in changed), notices, kept)


def noted(incident: Incident, now: datetime, text: str, *, keep: int = 200) -> Incident:
    """``incident`` with one more line in its timeline; the oldest after the first half make room."""
    lines = (*incident.timeline, (now, text))
    if len(lines) > keep:
        lines = (*lines[: keep // 2], *lines[len(lines) - keep + keep // 2 :])
    return msgspec.structs.replace(incident, timeline=lines)


class _Desk:
    """All incidents in hand during one fold."""

    def __init__(self, files: list["_File"], now: datetime, rules: Rules) -> None:
        self.files, self.now, self.rules = files, now, rules
        self.by_cause: dict[str, list[_File]] = {}
        for file in files:
            self.by_cause.setdefault(file.start.cause, []).append(file)

    def take(self, finding: Finding) -> None:
        near = self._near(finding)
        if near is None and self._crowded(finding):
            finding = msgspec.structs.replace(finding, cause=f"{finding.detector}:*")
            near = self._near(finding)
        if near is None:
            near = self._opened(finding)
        near.add(finding, self.now)
        self._one_open(self.by_cause[finding.cause])

    def _near(self, finding: Finding) -> "_File | None":
        """The incident of the same cause whose records are close enough."""
        same = self.by_cause.get(finding.cause, [])
        near = min(same, key=lambda file: file.gap(finding), default=None)
        return near if near is not None and near.gap(finding) <= self.rules.again else None

    def _crowded(self, finding: Finding) -> bool:
        """Has the detector as many incidents open around that time as it may?"""
        same = (f for f in self.files if f.status == "open" and f.start.detector == finding.detector)
        return sum(1 for f in same if f.gap(finding) <= self.rules.again) >= self.rules.causes

    def _opened(self, finding: Finding) -> "_File":
        fresh = _File(_opening(finding, self.now), self.rules)
        fresh.event = "opened"
        self.files.append(fresh)
        self.by_cause.setdefault(finding.cause, []).append(fresh)
        return fresh

    def _one_open(self, same: list["_File"]) -> None:
        """Of one cause only the incident with the latest record is open."""
        newest = max(same, key=lambda file: file.last)
        newest.reopen(self.now)
        for file in same:
            if file is not newest:
                file.close(self.now, "the same began again later")


class _File:
    """One incident while it is being written on. Never leaves ``fold``."""

    def __init__(self, item: Ongoing, rules: Rules) -> None:
        self.item, self.start = item, item.incident
        start = self.start
        self.rules, self.heard, self.tally, self.mentioned = rules, item.heard, item.tally, item.mentioned
        self.first, self.last, self.status = start.first, start.last, start.status
        self.severity, self.title, self.count = start.severity, start.title, start.count
        self.subject_count, self.own = start.subject_count, False
        self.subjects, self.timeline = list(start.subjects), list(start.timeline)
        self.countries, self.techniques = dict.fromkeys(start.countries), dict.fromkeys(start.techniques)
        self.evidence: dict[Query, None] = dict.fromkeys(start.evidence)
        self.event: Event | None = None
        self.changed = self.closing = False

    def gap(self, finding: Finding) -> timedelta:
        """How far the finding's records are from ours."""
        return max(timedelta(0), finding.first - self.last, self.first - finding.last)

    def add(self, finding: Finding, now: datetime) -> None:
        news = self._tally(finding) or finding.severity > self.severity
        if not news:
            return
        self.changed, self.heard = True, now
        self.first, self.last = min(self.first, finding.first), max(self.last, finding.last)
        self._raise(finding, now)
        self.techniques.update(dict.fromkeys(finding.techniques))
        if finding.country:
            self.countries[finding.country] = None
        if len(self.evidence) < self.rules.evidence:
            self.evidence[finding.evidence] = None

    def reopen(self, now: datetime) -> None:
        if self.status == "closed" and self.changed:
            self.status, self.closing = "open", False
            self.note(now, "appeared again")

    def close(self, now: datetime, why: str) -> None:
        if self.status == "closed":
            return
        self.status, self.changed, self.closing = "closed", True, True
        self.note(now, f"closed: {why}")

    def settle(self, now: datetime) -> None:
        """What is said once a fold: growth, and the end."""
        subjects, records = self.mentioned
        if self.event != "opened" and (self.subject_count >= 2 * subjects or self.count >= 2 * records):
            self.note(
                now, f"grew to {_number(self.subject_count, 'subject')} and {_number(self.count, 'record')}"
            )
            self.mentioned = self.subject_count, self.count
        if self.event == "opened":
            self.mentioned = self.subject_count, self.count
        if now - self.heard >= self.rules.quiet:
            self.close(now, f"quiet for {self.rules.quiet}")

    def over(self, now: datetime) -> bool:
        """Closed for so long that nothing can open it again."""
        return self.status == "closed" and now - self.heard > self.rules.quiet + self.rules.again

    def note(self, now: datetime, text: str) -> None:
        self.timeline.append((now, text))
        self.changed = True

    def notices(self) -> Iterable[Notice]:
        incident = self.incident()
        if self.event:
            yield Notice(self.event, incident)
        if self.closing and self.status == "closed":
            yield Notice("closed", incident)

    def incident(self) -> Incident:
        keep, lines = self.rules.timeline, self.timeline
        if len(lines) > keep:
            lines = [*lines[: keep // 2], *lines[len(lines) - keep + keep // 2 :]]
        return msgspec.structs.replace(
            self.start,
            first=self.first,
            last=self.last,
            status=self.status,
            severity=self.severity,
            title=self.title,
            count=self.count,
            subjects=tuple(self.subjects),
            subject_count=self.subject_count,
            countries=tuple(self.countries),
            techniques=tuple(self.techniques),
            evidence=tuple(self.evidence),
            timeline=tuple(lines),
        )

    def frozen(self) -> Ongoing:
        if not self.changed:
            return self.item
        return Ongoing(incident=self.incident(), heard=self.heard, tally=self.tally, mentioned=self.mentioned)

    def _tally(self, finding: Finding) -> bool:
        """Count the finding; does it say anything new?"""
        if not self.own:
            self.tally, self.own = dict(self.tally), True
        seen = self.tally.get(finding.subject)
        if seen is None and len(self.tally) >= self.rules.tally:
            drop("alert", "subject_not_told_apart")
            return finding.last > self.last
        new = self.tally[finding.subject] = counted(seen, finding)
        self.count += new.records - (seen.records if seen else 0)
        if seen is not None:
            return new != seen
        self.subject_count += 1
        if len(self.subjects) < self.rules.subjects:
            self.subjects.append(finding.subject)
        return True

    def _raise(self, finding: Finding, now: datetime) -> None:
        if finding.severity <= self.severity:
            return
        was, self.severity, self.title = self.severity, finding.severity, finding.summary
        self.event = self.event or "raised"
        self.note(now, f"severity rose from {was.name.lower()} to {self.severity.name.lower()}")


def counted(seen: Span | None, finding: Finding) -> Span:
    """The span of one subject with ``finding`` in it: only what lies outside ``seen`` is added.

    Spans are whole seconds, both ends included, as detectors give them.
    """
    if seen is None:
        return Span(finding.first, finding.last, finding.count, finding.severity)
    before = (seen.first - finding.first).total_seconds()
    after = (finding.last - seen.last).total_seconds()
    apart = finding.first > seen.last or finding.last < seen.first
    length = (finding.last - finding.first).total_seconds() + 1
    share = 1.0 if apart else (max(before, 0.0) + max(after, 0.0)) / length
    return Span(
        min(seen.first, finding.first),
        max(seen.last, finding.last),
        max(seen.records + round(finding.count * share), finding.count),
        max(seen.severity, finding.severity),
    )


def _number(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _opening(finding: Finding, now: datetime) -> Ongoing:
    delay = max(0.0, (now - finding.first).total_seconds())
    incident = Incident(
        id=stable_id(now.timestamp(), finding.cause, repr(finding.first.timestamp())),
        cause=finding.cause,
        detector=finding.detector,
        title=finding.summary,
        severity=finding.severity,
        first=finding.first,
        last=finding.last,
        opened=now,
        timeline=(
            (finding.first.astimezone(UTC), "first record"),
            (now, f"found by {finding.detector}, {delay:.1f} s after the first record"),
        ),
    )
    return Ongoing(incident=incident, heard=now, tally={}, mentioned=(0, 0))
