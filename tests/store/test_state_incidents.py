"""Incidents and actions in the state: exact, paged, safe for threads, durable."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmoat.model import Action, Incident, Query, Severity
from deepmoat.store.state.actions import Actions
from deepmoat.store.state.database import State, StateSettings
from deepmoat.store.state.incidents import Incidents

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FIRST, LAST = (datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (1970, 2500))
MOMENTS = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
WORDS = st.text(max_size=30)
INCIDENTS = st.builds(
    Incident,
    id=st.text("0123456789ABCDEF", min_size=1, max_size=26),
    cause=WORDS,
    detector=WORDS,
    title=WORDS,
    severity=st.sampled_from(list(Severity)),
    first=MOMENTS,
    last=MOMENTS,
    opened=MOMENTS,
    status=st.sampled_from(["open", "closed"]),
    count=st.integers(0, 2**53),
    subjects=st.lists(st.tuples(WORDS, WORDS), max_size=3).map(tuple),
    subject_count=st.integers(0, 10**9),
    countries=st.lists(WORDS, max_size=2).map(tuple),
    evidence=st.lists(st.builds(Query, WORDS, WORDS, MOMENTS, MOMENTS), max_size=2).map(tuple),
    timeline=st.lists(st.tuples(MOMENTS, WORDS), max_size=3).map(tuple),
)
ACTIONS = st.builds(
    Action,
    id=st.text("0123456789ABCDEF", min_size=1, max_size=26),
    kind=st.sampled_from(["block", "limit"]),
    targets=st.lists(st.lists(st.tuples(WORDS, WORDS), max_size=2).map(tuple), max_size=3).map(tuple),
    cause=WORDS,
    reason=WORDS,
    start=MOMENTS,
    end=MOMENTS,
    impact=st.integers(0, 10**9),
)


def test_the_state_is_its_owners_alone_in_a_folder_that_others_may_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "state.db").touch(0o644)  # as earlier versions left it
    state = State(StateSettings(), folder=tmp_path)
    Incidents(state)
    files = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    state.close()
    assert "state.db" in files and not any(files.values()), files


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    state = State(StateSettings(), folder=tmp_path_factory.mktemp("state"))
    yield state
    state.close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(StateSettings(), folder=tmp_path)
    yield state
    state.close()


def incident(
    name: str, first: float = 0, status: str = "open", severity: Severity = Severity.HIGH
) -> Incident:
    when = NOW + timedelta(seconds=first)
    return Incident(
        id=name,
        cause="c",
        detector="d",
        title="t",
        severity=severity,
        first=when,
        last=when,
        opened=when,
        status=status,  # type: ignore[arg-type]
    )


def action(name: str, seconds: float = 600, cause: str = "c") -> Action:
    target = (("client_address", "192.0.2.1"),)
    end = NOW + timedelta(seconds=seconds)
    return Action(id=name, kind="block", targets=(target,), cause=cause, reason="r", start=NOW, end=end)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(INCIDENTS)
def test_an_incident_comes_back_exactly_as_it_was(shared: State, incident: Incident) -> None:
    Incidents(shared).put(incident)
    assert Incidents(shared).get(incident.id) == incident


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTIONS)
def test_an_action_comes_back_exactly_as_it_was(shared: State, action: Action) -> None:
    actions = Actions(shared)
    actions.put(action)
    kept = actions.get(action.id)
    assert kept is not None and kept.action == action and kept.ended_by == ""


def test_incidents_are_listed_newest_first_by_status_and_time_in_pages(state: State) -> None:
    incidents = Incidents(state)
    incidents.put(*(incident(f"{n:03}", n, "closed" if n % 2 else "open") for n in range(10)))
    names = [i.id for i in incidents.list(limit=4)]
    assert names == ["009", "008", "007", "006"]
    assert [i.id for i in incidents.list(limit=4, before=names[-1])] == ["005", "004", "003", "002"]
    assert [i.id for i in incidents.list(status="open")] == ["008", "006", "004", "002", "000"]
    span = incidents.list(since=NOW + timedelta(seconds=3), until=NOW + timedelta(seconds=5))
    assert [i.id for i in span] == ["004", "003"]
    assert incidents.get("nosuch") is None


def test_a_second_put_replaces_and_a_failing_one_keeps_all_as_it_was(state: State) -> None:
    incidents = Incidents(state)
    incidents.put(incident("A"))
    incidents.put(incident("A", status="closed"), incident("B"))
    assert [(i.id, i.status) for i in incidents.list()] == [("B", "open"), ("A", "closed")]
    broken = msgspec.structs.replace(incident("C"), cause=None)
    with pytest.raises(Exception, match="NOT NULL"):
        incidents.put(incident("A"), broken)
    assert [(i.id, i.status) for i in incidents.list()] == [("B", "open"), ("A", "closed")]


def test_what_nobody_was_told_of_is_found_after_a_restart(state: State, tmp_path: Path) -> None:
    incidents = Incidents(state)
    incidents.put(incident("A"), incident("B"), incident("C", status="closed"))
    incidents.told("A", Severity.HIGH)
    incidents.told("A", Severity.LOW)
    again = State(StateSettings(), folder=tmp_path)
    assert [i.id for i in Incidents(again).untold()] == ["B"]
    Incidents(again).put(incident("A", severity=Severity.CRITICAL))
    assert [i.id for i in Incidents(again).untold()] == ["A", "B"]
    again.close()


def test_an_action_is_in_force_until_its_end(state: State) -> None:
    actions = Actions(state)
    actions.put(action("A", 10), action("B", 20))
    assert [a.id for a in actions.in_force(NOW + timedelta(seconds=9.999999))] == ["B", "A"]
    assert [a.id for a in actions.in_force(NOW + timedelta(seconds=10))] == ["B"]
    assert [k.action.id for k in actions.list(limit=1)] == ["B"]
    assert [k.action.id for k in actions.list(before="B")] == ["A"]
    assert [k.action.id for k in actions.of("c")] == ["B", "A"] and not actions.of("other")


def test_an_action_ended_by_a_person_is_not_brought_back(state: State) -> None:
    actions, moment = Actions(state), NOW + timedelta(seconds=5)
    actions.put(action("A"))
    ended = actions.end("A", moment, "anna")
    assert ended is not None and ended.end == moment
    actions.put(action("A", 9000))
    kept = actions.get("A")
    assert kept is not None and (kept.action.end, kept.ended_by) == (moment, "anna")
    assert not actions.in_force(moment)
    assert actions.end("A", moment, "ben") is None and actions.end("nosuch", moment, "ben") is None


def test_threads_may_write_the_same_and_different_rows_at_once(state: State) -> None:
    incidents, actions, failures = Incidents(state), Actions(state), []

    def work(n: int) -> None:
        try:
            for turn in range(10):
                incidents.put(incident("same", turn), incident(f"own-{n}-{turn}"))
                actions.put(action("same"), action(f"own-{n}-{turn}"))
                actions.in_force(NOW)
        except Exception as exc:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(incidents.list(limit=1000)) == 61 and len(actions.list(limit=1000)) == 61


def test_only_one_of_many_can_end_an_action(state: State) -> None:
    actions, ended = Actions(state), []
    actions.put(action("A"))
    threads = [
        threading.Thread(target=lambda n=n: ended.append(actions.end("A", NOW, f"user {n}")))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(e is not None for e in ended) == 1
