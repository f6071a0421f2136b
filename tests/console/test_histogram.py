from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.console.histogram import BARS, STEPS, count_query, filled, span_of, span_query, step_of, zoomed
from deepmoat.kit.errors import QueryError
from deepmoat.model import Query, Result
from deepmoat.query.door import Door

EPOCH = datetime(2026, 1, 27, tzinfo=UTC)


@given(st.floats(0.001, 5e9))
def test_a_step_gives_a_screen_of_bars(seconds: float) -> None:
    step = step_of(seconds)
    assert step in STEPS
    assert seconds / step <= BARS or step == STEPS[-1]


@given(
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.dictionaries(st.integers(0, 10**6), st.integers(1, 100), max_size=10),
)
def test_every_record_is_in_a_bar_and_every_bar_is_there(
    since: int, length: int, counts: dict[int, int]
) -> None:
    step = step_of(length)
    rows = [(t // step * step, n) for t, n in counts.items() if since <= t < since + length]
    merged: dict[int, int] = {}
    for t, n in rows:
        merged[t] = merged.get(t, 0) + n
    buckets = filled(Result(("t", "n"), list(merged.items())), step, since, since + length)
    assert sum(buckets.counts) == sum(merged.values())
    assert list(buckets.times) == sorted(buckets.times)
    assert len(buckets.times) <= BARS + 2
    assert {b - a for a, b in zip(buckets.times, buckets.times[1:], strict=False)} <= {step}


def test_the_histogram_asks_the_search_and_leaves_out_the_analysis() -> None:
    query = Query('status:500 "a|b" | select count(*)', "access", EPOCH, None)
    asked = count_query(query, 60)
    assert asked.text.startswith('status:500 "a|b" | select __time__ - __time__ % 60')
    assert span_query(Query("", "access")).text.startswith("* | select min(__time__)")


@given(st.text(max_size=40))
def test_any_search_that_can_be_asked_has_a_histogram(text: str) -> None:
    door, query = Door(lambda *_: Result((), [])), Query(text, "access", EPOCH, None)
    try:
        door.compile(query, EPOCH)
    except QueryError:
        return
    assert door.compile(count_query(query, 60), EPOCH).sql
    assert door.compile(span_query(query), EPOCH).sql


def test_an_open_range_goes_from_the_first_record_to_the_last() -> None:
    found = Result(("first", "last", "n"), [(100, 200, 5)])
    assert span_of(Query("*"), found) == (100.0, 201.0)
    assert span_of(Query("*"), Result(("first", "last", "n"), [(0, 0, 0)])) is None
    both = Query("*", since=EPOCH, until=EPOCH + timedelta(hours=1))
    assert span_of(both, None) == (EPOCH.timestamp(), EPOCH.timestamp() + 3600)


def test_a_click_on_a_bar_is_its_time_range() -> None:
    start = int(EPOCH.timestamp())
    buckets = filled(Result(("t", "n"), [(start, 3)]), 60, start, start + 600)
    narrow = zoomed(Query("status:500", "llm"), buckets, 2)
    assert (narrow.text, narrow.logstore) == ("status:500", "llm")
    assert narrow.since == EPOCH + timedelta(seconds=120)
    assert narrow.until == EPOCH + timedelta(seconds=180)
