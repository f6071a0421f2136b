"""Folding: by cases, and by invariants that hypothesis attacks."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmoat.alert.incidents import Notice, Ongoing, Rules, counted, fold, noted
from deepmoat.model import Finding, Incident, Query, Severity

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
RULES = Rules(quiet=timedelta(minutes=10), again=timedelta(minutes=60))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def finding(
    subject: str = "192.0.2.1",
    first: float = 0,
    last: float | None = None,
    count: int = 60,
    severity: Severity = Severity.HIGH,
    cause: str = "request_burst:shop",
    country: str = "",
) -> Finding:
    return Finding(
        detector="request_burst",
        cause=cause,
        subject=("client_address", subject),
        severity=severity,
        first=at(first),
        last=at(first if last is None else last),
        count=count,
        summary=f"{subject} sent {count} requests",
        evidence=Query(f"client_address: {subject}"),
        country=country,
        techniques=("T1498",),
    )


def lines(incident: Incident) -> list[str]:
    return [text for _, text in incident.timeline]


def events(notices: Sequence[Notice]) -> list[str]:
    return [n.event for n in notices]


def test_findings_of_one_cause_are_one_incident_and_one_notice() -> None:
    found = [finding(f"192.0.2.{n}", first=1, last=2, country="US") for n in range(40)]
    folded = fold((), found, at(3), RULES)
    (incident,) = folded.incidents
    assert events(folded.notices) == ["opened"] and folded.notices[0].incident == incident
    assert (incident.subject_count, len(incident.subjects), incident.count) == (40, 40, 2400)
    assert (incident.first, incident.last, incident.opened) == (at(1), at(2), at(3))
    assert incident.countries == ("US",) and incident.techniques == ("T1498",)
    assert len(incident.evidence) == RULES.evidence
    assert lines(incident) == ["first record", "found by request_burst, 2.0 s after the first record"]


def test_findings_of_two_causes_are_two_incidents_with_two_ids() -> None:
    folded = fold((), [finding(cause="a"), finding(cause="b")], at(1), RULES)
    assert len({i.id for i in folded.incidents}) == 2 and events(folded.notices) == ["opened", "opened"]


def test_a_repeated_finding_changes_nothing_and_tells_nobody() -> None:
    one = fold((), [finding(last=5)], at(6), RULES)
    two = fold(one.ongoing, [finding(last=5)], at(7), RULES)
    assert (two.incidents, two.notices) == ((), ())
    assert two.ongoing == one.ongoing


def test_a_live_detectors_repetitions_do_not_keep_an_incident_open() -> None:
    folded = fold((), [finding()], at(1), RULES)
    for minute in range(1, 10):
        folded = fold(folded.ongoing, [finding()], at(60 * minute), RULES)
    folded = fold(folded.ongoing, [finding()], at(601), RULES)
    assert folded.incidents[0].status == "closed"


def test_growth_is_told_in_the_timeline_at_each_doubling_and_to_nobody() -> None:
    folded = fold((), [finding("192.0.2.1", count=1)], at(1), RULES)
    for n in range(2, 17):
        folded = fold(folded.ongoing, [finding(f"192.0.2.{n}", count=1)], at(n), RULES)
        assert not folded.notices
    grown = [line for line in lines(folded.incidents[0]) if line.startswith("grew")]
    assert grown == [f"grew to {n} subjects and {n} records" for n in (2, 4, 8, 16)]


def test_severity_only_rises_and_each_rise_is_told_once() -> None:
    folded = fold((), [finding(severity=Severity.MEDIUM)], at(1), RULES)
    seen = []
    for n, severity in enumerate([Severity.HIGH, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL]):
        folded = fold(folded.ongoing, [finding(f"192.0.2.{n}", severity=severity)], at(2 + n), RULES)
        seen.append((events(folded.notices), folded.ongoing[0].incident.severity))
    assert seen == [
        (["raised"], Severity.HIGH),
        ([], Severity.HIGH),
        ([], Severity.HIGH),
        (["raised"], Severity.CRITICAL),
    ]
    assert "severity rose from medium to high" in lines(folded.incidents[0])


def test_an_incident_opened_and_raised_in_one_fold_is_told_once_at_its_worst() -> None:
    low, bad = finding(severity=Severity.LOW), finding("192.0.2.2", first=1, severity=Severity.CRITICAL)
    folded = fold((), [low, bad], at(2), RULES)
    assert [(n.event, n.incident.severity) for n in folded.notices] == [("opened", Severity.CRITICAL)]


def test_a_quiet_incident_is_closed_and_one_attack_that_comes_back_is_one_page() -> None:
    folded = fold((), [finding()], at(1), RULES)
    identity = folded.incidents[0].id
    folded = fold(folded.ongoing, (), at(602), RULES)
    assert folded.incidents[0].status == "closed" and events(folded.notices) == ["closed"]
    folded = fold(folded.ongoing, [finding(first=1800, last=1801)], at(1802), RULES)
    (incident,) = folded.incidents
    assert (incident.id, incident.status, folded.notices) == (identity, "open", ())
    assert "appeared again" in lines(incident) and "closed: quiet for 0:10:00" in lines(incident)


def test_what_comes_back_much_later_is_another_incident() -> None:
    folded = fold((), [finding(), finding(first=90_000)], at(90_001), RULES)
    first, second = folded.incidents
    assert first.id != second.id and (first.status, second.status) == ("closed", "open")


def test_of_one_cause_only_the_newest_is_open_even_when_old_records_come_late() -> None:
    folded = fold((), [finding(first=90_000)], at(90_001), RULES)
    folded = fold(folded.ongoing, [finding()], at(90_002), RULES)
    folded = fold(folded.ongoing, [finding("192.0.2.9")], at(90_003), RULES)
    statuses = [o.incident.status for o in folded.ongoing]
    assert statuses == ["open", "closed"]


def test_causes_that_a_client_makes_up_do_not_page_without_end() -> None:
    rules = Rules(causes=5)
    found = [finding(f"192.0.2.{n}", cause=f"request_burst:host-{n}") for n in range(100)]
    folded = fold((), found, at(1), rules)
    assert len(folded.notices) == 6
    rest = [i for i in folded.incidents if i.cause == "request_burst:*"]
    assert len(rest) == 1 and rest[0].subject_count == 95
    again = fold(folded.ongoing, [finding(cause="request_burst:host-99", first=5)], at(6), rules)
    assert not again.notices


def test_causes_far_apart_in_a_file_do_not_crowd_each_other() -> None:
    found = [finding(cause=f"request_burst:host-{n}", first=n * 10_000) for n in range(30)]
    assert len(fold((), found, at(300_000), Rules(causes=5)).incidents) == 30


def test_what_is_long_closed_is_forgotten() -> None:
    folded = fold((), [finding()], at(1), RULES)
    folded = fold(folded.ongoing, (), at(700), RULES)
    assert len(folded.ongoing) == 1
    assert not fold(folded.ongoing, (), at(5000), RULES).ongoing


def test_subjects_are_capped_and_all_counted() -> None:
    rules = Rules(subjects=10, tally=50)
    folded = fold((), [finding(f"10.0.0.{n}", count=1) for n in range(60)], at(1), rules)
    assert len(folded.incidents[0].subjects) == 10 and folded.incidents[0].subject_count == 50


def test_subjects_are_as_bad_as_their_own_findings_not_as_their_incident() -> None:
    found = [finding("192.0.2.1", severity=Severity.MEDIUM), finding("192.0.2.2", severity=Severity.HIGH)]
    (ongoing,) = fold((), found, at(1), RULES).ongoing
    assert ongoing.subjects(Severity.HIGH) == (("client_address", "192.0.2.2"),)


def test_after_a_restart_the_same_incident_goes_on() -> None:
    folded = fold((), [finding(last=5), finding("192.0.2.2", last=5)], at(6), RULES)
    back = [Ongoing.restored(i, at(8)) for i in folded.incidents]
    same = fold(back, [finding(last=5)], at(9), RULES)
    assert not same.notices and same.ongoing[0].incident.count == folded.incidents[0].count
    more = fold(back, [finding("192.0.2.3", first=8, last=9)], at(10), RULES)
    assert more.incidents[0].id == folded.incidents[0].id and more.incidents[0].subject_count == 3


def test_the_timeline_keeps_its_beginning_and_its_end() -> None:
    incident = fold((), [finding()], at(1), RULES).incidents[0]
    for n in range(50):
        incident = noted(incident, at(n), f"line {n}", keep=10)
    assert len(incident.timeline) == 10 and lines(incident)[0] == "first record"
    assert lines(incident)[-1] == "line 49"


COUNTED = [
    ("the first is counted whole", None, (0, 4, 50), 50),
    ("a repetition adds nothing", (0, 4, 50), (0, 4, 50), 50),
    ("a grown one counts as it is", (0, 4, 50), (0, 4, 70), 70),
    ("a disjoint one adds up", (0, 4, 50), (6, 9, 40), 90),
    ("an older disjoint one adds up, too", (6, 9, 40), (0, 4, 50), 90),
    ("of one that goes on, the new seconds are added", (0, 4, 50), (0, 9, 100), 100),
    ("of one whose window moved, the new seconds are added", (0, 9, 100), (5, 14, 100), 150),
    ("a cut one does not shrink it", (0, 9, 100), (5, 9, 50), 100),
]


def test_counting_cases() -> None:
    done = 0
    for name, seen, (first, last, count), wanted in COUNTED:
        span = None if seen is None else counted(None, finding(first=seen[0], last=seen[1], count=seen[2]))
        assert counted(span, finding(first=first, last=last, count=count)).records == wanted, name
        done += 1
    assert done == len(COUNTED) == 8


FINDINGS = st.lists(
    st.builds(
        lambda who, first, length, count, severity, cause: finding(
            who, first, first + length, count, severity, cause
        ),
        st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
        st.integers(0, 20_000),
        st.integers(0, 30),
        st.integers(1, 500),
        st.sampled_from(list(Severity)),
        st.sampled_from(["a", "b"]),
    ),
    max_size=12,
).map(lambda found: sorted(found, key=lambda f: (f.first, f.last)))


@settings(deadline=None)
@given(FINDINGS, st.lists(st.integers(0, 12), max_size=3).map(sorted))
def test_any_batch_split_gives_the_same_incidents(found: list[Finding], cuts: list[int]) -> None:
    whole = fold((), found, at(21_000), RULES)
    ongoing: Sequence[Ongoing] = ()
    for start, end in zip([0, *cuts], [*cuts, len(found)], strict=True):
        ongoing = fold(ongoing, found[start:end], at(21_000), RULES).ongoing
    assert _essence(ongoing) == _essence(whole.ongoing)


def _essence(ongoing: Sequence[Ongoing]) -> set[tuple[object, ...]]:
    return {
        (
            i.id,
            i.cause,
            i.first,
            i.last,
            i.severity,
            i.status,
            i.count,
            i.subjects,
            i.subject_count,
            i.evidence,
        )
        for i in (o.incident for o in ongoing)
    }


@settings(deadline=None)
@given(st.lists(FINDINGS, max_size=6))
def test_counts_never_shrink_and_one_severity_is_told_once(batches: list[list[Finding]]) -> None:
    ongoing: Sequence[Ongoing] = ()
    told: list[tuple[str, Severity]] = []
    known: dict[str, tuple[int, int, Severity]] = {}
    for n, batch in enumerate(batches):
        folded = fold(ongoing, batch, at(21_000 + n), RULES)
        ongoing = folded.ongoing
        told += [(n.incident.id, n.incident.severity) for n in folded.notices if n.event != "closed"]
        for incident in (o.incident for o in ongoing):
            now = (incident.count, incident.subject_count, incident.severity)
            before = known.get(incident.id, (0, 0, Severity.REPORT))
            assert all(new >= old for new, old in zip(now, before, strict=True))
            known[incident.id] = now
        open_causes = [o.incident.cause for o in ongoing if o.incident.status == "open"]
        assert len(open_causes) == len(set(open_causes))
    assert len(told) == len(set(told))
    assert {i for i, _ in told} == known.keys()


@pytest.mark.parametrize("size", [3000])
def test_a_large_batch_is_folded_in_one_pass(size: int) -> None:
    found = [finding(f"10.{n // 256}.{n % 256}.1", count=1) for n in range(size)]
    assert fold((), found, at(1), RULES).incidents[0].subject_count == size
