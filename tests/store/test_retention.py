from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.store.logs.database import Database
from deepmoat.store.logs.retention import Keep, Part, RetentionSettings, _drop, _parts, enforce, surplus

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
PARTS = st.lists(
    st.builds(
        Part,
        st.just("access"),
        st.text(min_size=1, max_size=3),
        st.dates(date(2026, 4, 1), date(2026, 5, 10)),
        st.integers(0, 1000),
        st.integers(0, 100),
        st.integers(0, 9),
    ),
    max_size=30,
)


@given(PARTS, st.integers(1, 60), st.integers(0, 1500))
def test_what_stays_fits_and_is_younger_than_what_goes(parts: list[Part], days: int, size: int) -> None:
    doomed = [p for p, _ in surplus(parts, days, size, NOW)]
    stays = list(parts)
    for part in doomed:
        stays.remove(part)
    assert sum(p.bytes for p in stays) <= size
    assert all((NOW.date() - p.day).days <= days for p in stays)
    if doomed and stays:
        assert max((p.day, p.block) for p in doomed) <= min((p.day, p.block) for p in stays)


def test_no_record_younger_than_the_days_asked_for_goes_by_age() -> None:
    midnight = datetime(2026, 5, 10, 0, 0, 1, tzinfo=UTC)
    parts = [Part("access", str(day), date(2026, 5, day), day, 1, 1) for day in (8, 9, 10)]
    assert [p.name for p, _ in surplus(parts, 1, 1 << 40, midnight)] == ["8"]
    assert [p.name for p, _ in surplus(parts, 2, 1 << 40, midnight)] == []


def test_a_part_that_is_gone_keeps_no_other_from_going(database: Database) -> None:
    fill(database, "2026-03-01", 10)
    fill(database, "2026-03-02", 10)
    parts = [p for p in _parts(database) if p.logstore == "access"]
    merged = Part("access", "20260301_9_9_9", date(2026, 3, 1), 9, 1, 1)
    doomed = [(part, "size") for part in (merged, *parts)]
    assert _drop(database, doomed) == 20
    assert database.scalar("SELECT count() FROM access") == 0


def fill(database: Database, day: str, rows: int) -> None:
    database.command(
        f"INSERT INTO access (time, body) SELECT toDateTime64('{day} 01:00:00', 9, 'UTC'), "
        f"randomPrintableASCII(1000) FROM numbers({rows})"
    )


def test_old_days_go_by_age_and_the_newest_day_shrinks_by_size(database: Database) -> None:
    for day in ("2026-03-01", "2026-05-09", "2026-05-10", "2026-05-10", "2026-05-10"):
        fill(database, day, 1000)
    settings = RetentionSettings(logstores={"access": Keep(days=30, bytes=2_500_000)})
    assert enforce(database, settings, NOW) == 3000
    left = database.query(
        "SELECT toDate(time) AS day, count() AS n FROM access GROUP BY day ORDER BY day"
    ).rows
    assert left == [(date(2026, 5, 10), 2000)]


def test_other_logstores_are_left_alone(database: Database) -> None:
    fill(database, "2026-05-10", 10)
    assert enforce(database, RetentionSettings(logstores={"waf": Keep(days=1, bytes=0)}), NOW) == 0
    assert database.scalar("SELECT count() FROM access") == 10


def test_many_old_days_go_with_one_statement_each(database: Database) -> None:
    database.command(
        "INSERT INTO access (time) SELECT toDateTime64('2026-01-01', 9, 'UTC') + INTERVAL number DAY "
        "FROM numbers(90) SETTINGS max_partitions_per_insert_block = 0"
    )
    assert enforce(database, RetentionSettings(every=Keep(days=30, bytes=1 << 40)), NOW) == 90
    assert database.scalar("SELECT count() FROM access") == 0


def test_a_logstore_may_take_a_tenth_of_the_disk_when_nothing_is_said(database: Database) -> None:
    fill(database, "2026-05-10", 10)
    assert enforce(database, RetentionSettings(), NOW) == 0
