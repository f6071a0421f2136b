"""The impact of a block, asked of real records through the real door."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from deepmoat.kit.errors import QueryError, TransientError
from deepmoat.model import Incident, Query, Result, Severity
from deepmoat.query.door import Door
from deepmoat.respond.decide import TRIES, Decider
from deepmoat.respond.impact import MOST, good, impact
from deepmoat.respond.settings import Allowed, RespondSettings
from deepmoat.store.logs.database import Database

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
INCIDENT = Incident(
    id="01INCIDENT",
    cause="c",
    detector="request_burst",
    title="t",
    severity=Severity.HIGH,
    first=NOW - timedelta(seconds=5),
    last=NOW,
    opened=NOW,
)


def write(database: Database, rows: Sequence[tuple[datetime, str, int, int]]) -> None:
    """(time, address, status, how many) into ``access``."""
    for when, address, status, many in rows:
        database.command(
            "INSERT INTO access (time, client_address, http_response_status_code) "
            "SELECT {when:DateTime64(9, 'UTC')}, toIPv6({address:String}), {status:UInt16} "
            "FROM numbers({n:UInt64})",
            {"when": when.replace(tzinfo=None), "address": address, "status": status, "n": many},
        )


def with_subjects(*addresses: str) -> Incident:
    return msgspec.structs.replace(INCIDENT, subjects=tuple(("client_address", a) for a in addresses))


def test_only_good_requests_of_the_day_before_the_first_record_count(database: Database) -> None:
    hour = timedelta(hours=1)
    write(
        database,
        [
            (NOW - hour, "192.0.2.1", 200, 7),
            (NOW - hour, "192.0.2.1", 404, 50),
            (NOW - hour, "192.0.2.1", 0, 3),
            (NOW - 30 * hour, "192.0.2.1", 200, 60),
            (NOW - timedelta(seconds=2), "192.0.2.1", 200, 70),
            (NOW - timedelta(seconds=20), "192.0.2.1", 200, 90),
            (NOW - hour, "2001:db8::1", 302, 5),
            (NOW - hour, "192.0.2.99", 200, 80),
        ],
    )
    query = impact(INCIDENT, ["192.0.2.1", "2001:db8::1", "192.0.2.3"], NOW)
    assert good(Door(database.query).ask(query, NOW)) == {"192.0.2.1": 7, "2001:db8::1": 5}


def test_an_attack_that_was_let_through_does_not_make_a_good_client(database: Database) -> None:
    then = NOW - timedelta(hours=3)
    write(database, [(then, "192.0.2.1", 200, 500), (then, "192.0.2.2", 200, 30)])
    write(database, [(then - timedelta(hours=1), "192.0.2.1", 200, 4)])
    attack = msgspec.structs.replace(with_subjects("192.0.2.1", "x' or 1=1"), first=then, last=then)
    query = impact(INCIDENT, ["192.0.2.1", "192.0.2.2"], NOW, [attack] * 30)
    assert good(Door(database.query).ask(query, NOW)) == {"192.0.2.1": 4, "192.0.2.2": 30}
    assert "or 1=1" not in query.text


def test_a_thousand_long_targets_and_their_earlier_attacks_are_one_query(database: Database) -> None:
    targets = [f"2001:db8:1111:2222:3333:4444:{n + 4096:x}:8888" for n in range(MOST)]
    write(database, [(NOW - timedelta(hours=1), address, 200, 2) for address in targets[:3]])
    attack = with_subjects(*targets[3:])
    query = impact(INCIDENT, targets, NOW, [attack] * 15 + [with_subjects(*targets)] * 15)
    assert sum(good(Door(database.query).ask(query, NOW)).values()) == 6


@pytest.mark.parametrize(
    "addresses",
    [[], ["192.0.2.1"] * (MOST + 1), ["x' or 1=1 --"], ["::ffff:192.0.2.1"], ["192.0.2.0/24"], ["*"]],
)
def test_anything_but_canonical_addresses_is_refused(addresses: list[str]) -> None:
    with pytest.raises(ValueError, match="canonical"):
        impact(INCIDENT, addresses, NOW)


def test_the_decider_blocks_after_asking_and_leaves_good_clients_to_a_person(database: Database) -> None:
    write(database, [(NOW - timedelta(hours=2), "192.0.2.2", 200, 1500)])
    write(database, [(NOW - timedelta(hours=2), "192.0.2.1", 200, 20)])
    decider = Decider(Door(database.query).ask, RespondSettings(), Allowed(()))
    order = decider.decide(with_subjects("192.0.2.1", "192.0.2.2", "192.0.2.3"), None, NOW)
    assert order.action is not None and order.added == ("192.0.2.3", "192.0.2.1")
    assert order.action.impact == 20 and "1 clients made 1500 good requests" in order.held


def test_an_impact_that_cannot_be_counted_blocks_nobody_and_asks_a_person_in_the_end() -> None:
    def fail(query: Query, now: datetime) -> Result:
        raise TransientError("busy")

    decider = Decider(fail, RespondSettings(), Allowed(()))
    incident = with_subjects("192.0.2.1")
    orders = [decider.decide(incident, None, NOW) for _ in range(TRIES)]
    assert [o.action for o in orders] == [None] * TRIES
    assert [bool(o.held) for o in orders] == [False, False, True] and "busy" in orders[-1].held
    assert not decider.unsure


def test_a_passing_failure_only_delays_the_block(database: Database) -> None:
    door, failures = Door(database.query), [QueryError("limit")]

    def ask(query: Query, now: datetime) -> Result:
        if failures:
            raise failures.pop()
        return door.ask(query, now)

    decider = Decider(ask, RespondSettings(), Allowed(()))
    incident = with_subjects("192.0.2.1")
    assert decider.decide(incident, None, NOW).action is None and incident.id in decider.unsure
    assert decider.decide(incident, None, NOW).action is not None and not decider.unsure


def test_nothing_is_asked_when_there_is_nobody_to_block() -> None:
    def never(query: Query, now: datetime) -> Result:
        raise AssertionError

    decider = Decider(never, RespondSettings(automatic=False), Allowed(()))
    assert decider.decide(with_subjects("192.0.2.1"), None, NOW).held == "automatic actions are off"
