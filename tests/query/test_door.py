"""The door: limits, time range, errors, and hostile text of every kind."""

import math
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmoat.kit.errors import MoatError, QueryError, TransientError
from deepmoat.model import LOGSTORES, Query, Result
from deepmoat.query.door import Compiled, Door
from deepmoat.store.logs.database import Database

Ask = Callable[..., Result]
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def compiled(text: str, now: datetime, **fields: Any) -> Compiled:
    door = Door(lambda sql, parameters: Result((), []), max_rows=9_999)
    return door.compile(Query(text, **fields), now)


def test_without_select_whole_records_come_newest_first(ask: Ask) -> None:
    answer = ask("*")
    assert answer.columns == tuple(c.name for c in LOGSTORES["access"].columns)
    paths = [row["url_path"] for row in answer.dicts()]
    assert paths == ["/v1/chat", "/login", "/login", "/"]
    assert next(answer.dicts())["client_address"] == "2001:db8::1"
    assert answer.limited == ""


def test_since_is_included_and_until_is_not(ask: Ask) -> None:
    start, end = (datetime(2026, 1, 31, 8, m, s, tzinfo=UTC) for m, s in ((0, 30), (1, 10)))
    count = "* | select count(*)"
    assert ask(count, since=start, until=end).rows == [(1,)]
    assert ask(count, since=start).rows == [(3,)]
    assert ask(count, until=end).rows == [(2,)]
    assert ask(count, since=end, until=start).rows == [(0,)]
    assert ask(count, since=end, until=end + timedelta(microseconds=1)).rows == [(1,)]
    assert ask("*", since=start, until=end).rows[0][0] == start


def test_a_range_past_all_time_is_a_range(ask: Ask) -> None:
    count = "* | select count(*)"
    first, last = (end.replace(tzinfo=None) for end in (FIRST, LAST))  # without a zone: UTC
    assert ask(count, since=first, until=last).rows == [(4,)]
    assert ask(count, since=LAST).rows == [(0,)]
    assert ask(count, until=datetime(1969, 7, 20, tzinfo=UTC)).rows == [(0,)]
    assert ask(
        count, since=datetime(1969, 7, 20, tzinfo=UTC), until=datetime(2200, 1, 1, tzinfo=UTC)
    ).rows == [(4,)]


def test_other_logstores_take_the_time_range_but_not_the_search(ask: Ask) -> None:
    since = datetime(2026, 1, 31, 8, 1, tzinfo=UTC)
    text = "method:GET | select count(*), (select count(*) from access), (select count(*) from security)"
    assert ask(text, since=since).rows == [(0, 0, 0)]
    assert ask("x | select (select count(*) from access), count(*)", logstore="security").rows == [(4, 0)]


def test_the_default_limit_is_said_when_it_cut(ask: Ask) -> None:
    assert ask("*", limit=4).limited == ""
    cut = ask("*", limit=3)
    assert (len(cut.rows), cut.limited) == (3, "limit")
    grouped = ask("* | select url_path, count(*) group by url_path", limit=2)
    assert (len(grouped.rows), grouped.limited) == (2, "limit")


def test_a_limit_of_the_text_is_not_a_cut_and_huge_ones_are_capped(now: datetime, ask: Ask) -> None:
    assert ask("* | select status limit 2", limit=1).limited == ""
    assert len(ask("* | select status limit 2", limit=1).rows) == 2
    assert compiled("* | select status limit 123456789", now).sql.endswith("LIMIT 10000")
    assert compiled("* | select status limit 123456789", now).cut == "max_rows"
    assert compiled("* | select status", now, limit=10**9).sql.endswith("LIMIT 10000")
    assert compiled("*", now, limit=7).sql.endswith("LIMIT 8")
    assert ask("* | select status limit 0").rows == []


def test_a_subquery_keeps_its_own_limit(ask: Ask) -> None:
    text = "* | select count(*) from (select status from log order by time limit 3)"
    assert ask(text).rows == [(3,)]


def test_every_logstore_can_be_read(ask: Ask) -> None:
    for name in LOGSTORES:
        assert ask("* | select count(*) as n", logstore=name).columns == ("n",)
        assert ask(f"* | select count(*) from {name}").columns == ("_col0",)


def test_many_threads_ask_at_once(ask: Ask) -> None:
    texts = [f"status:{s} | select count(*), {i}" for i, s in enumerate((200, 401, 403, 500) * 6)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: ask(text).rows, texts))
    assert answers == [[(n, i)] for i, n in enumerate((2, 1, 1, 0) * 6)]


def test_limits_of_the_engine_are_named(engine: Database, now: datetime, door: Door) -> None:
    rows = " ".join(f"join access t{i} on true" for i in range(7))
    careless = Door(engine.query, max_rows=10**9)
    with pytest.raises(QueryError, match="limit of result rows or bytes"):
        careless.ask(Query(f"* | select log.status from log {rows} limit 99999"), now)
    assert len(door.ask(Query(f"* | select log.status from log {rows} limit 99999"), now).rows) == 9_999


def test_what_fails_on_data_is_a_query_error_without_generated_sql(door: Door, now: datetime) -> None:
    with pytest.raises(QueryError) as failed:
        door.ask(Query("* | select regexp_like(url_path, '(')"), now)
    assert "SELECT" not in str(failed.value)
    assert "t0" not in str(failed.value)


def test_busy_and_full_stay_transient(now: datetime) -> None:
    def busy(sql: str, parameters: Mapping[str, Any]) -> Result:
        raise TransientError("busy")

    def strange(sql: str, parameters: Mapping[str, Any]) -> Result:
        raise MoatError("cannot: In scope SELECT secret")

    with pytest.raises(TransientError):
        Door(busy).ask(Query("*"), now)
    with pytest.raises(QueryError, match="^cannot$"):
        Door(strange).ask(Query("*"), now)


def test_time_and_address_conditions_use_the_sort_key(engine: Database, door: Door, now: datetime) -> None:
    query = Query("client_address:192.0.2.1 | select count(*)", since=datetime(2026, 1, 31, 8, tzinfo=UTC))
    plan = str(engine.query("EXPLAIN indexes = 1 " + door.compile(query, now).sql).rows)
    keys = plan.split("PrimaryKey")[1].split("Condition")[0]
    assert "toStartOfTenMinutes(time)" in keys
    assert "client_address" in keys
    assert "toDate(time)" in plan.split("Partition")[1].split("Condition")[0]


def test_newest_records_are_read_in_order(engine: Database, door: Door, now: datetime) -> None:
    plan = str(engine.query("EXPLAIN actions = 1 " + door.compile(Query("*"), now).sql).rows)
    assert "Read type: InReverseOrder" in plan


def test_words_on_low_cardinality_columns_stay_native(door: Door, now: datetime) -> None:
    sql = door.compile(Query("method:GET verdict:block | select count(*) where country = 'CN'"), now).sql
    assert "match(http_request_method," in sql
    assert "t0.client_country = 'CN'" in sql


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000 + ")" * 100_000,
        "not " * 20_000,
        "(not " * 5_000,
        "* | select " + "(" * 100_000 + "1" + ")" * 100_000,
        "* | select " + "(" * 40_000 + "1" + ")" * 40_000,
        "* | select " + "not " * 9_000 + "true",
        "* | select " + "- " * 9_000 + "1",
        "* | select " + "abs(" * 9_000 + "1" + ")" * 9_000,
        "* | select " + "case when " * 3_000 + "true" + " then 1 end" * 3_000,
        "* | select " + "[" * 9_000 + "]" * 9_000,
        "* | select * from " + "(select * from " * 2_000 + "log" + ")" * 2_000,
        "* | select " + "1 + " * 4_000 + "1",
        "* | select 1" + " union all select 1" * 2_000,
        "* | select " + "x -> " * 3_000 + "1",
        "* | select a" + ".a" * 4_000,
        "* | select a" + "[1]" * 3_000,
        "* | select a" + "::int" * 4_000,
        "a " * 5_000,
        "* | select '" + "x" * 99_000,
    ],
    ids=lambda t: t[:40],
)
def test_what_is_nested_or_long_without_end_is_refused(text: str, now: datetime) -> None:
    with pytest.raises(QueryError):
        compiled(text, now)


def test_ctes_that_double_are_refused(now: datetime) -> None:
    doubling = ", ".join(
        f"a{i} as (select x.status from a{i - 1} x join a{i - 1} y on true)" for i in range(1, 18)
    )
    with pytest.raises(QueryError, match="too large|nest"):
        compiled(f"* | with a0 as (select status from log), {doubling} select status from a17", now)


def test_long_chains_of_and_and_or_are_no_depth(ask: Ask) -> None:
    ors = " or ".join(f"status = {i}" for i in range(1_000))
    ands = " and ".join(f"url_path != 'x{i}'" for i in range(1_000))
    assert ask(f"* | select count(*) where ({ors}) and {ands}").rows == [(4,)]
    assert ask(" or ".join(f"status:{i}" for i in range(200, 400)) + " | select count(*)").rows == [(2,)]


VOCABULARY = """
    select from where group by order limit and or not in like between is null case when then else
    end count(*) sum( max( ) ( , | : * ? [ ] = > < >= + - / % || -> ; -- /* */ log access system.
    file( status url_path client_address time __time__ attributes 1 2.5 # union join on as with
    distinct having array[ cast( as varchar true interval timestamp filter over unnest exists any
    values � % { } @ $ ` ~ ^ & !
"""
WORDS = st.sampled_from(
    [
        *VOCABULARY.split(),
        "'",
        '"',
        "'x'",
        '"y"',
        '#"',
        "\\",
        "date_trunc('hour',",
        "\x00",
        "é",
        "中",
        "\n",
        "\t",
    ]
)
TEXTS = st.lists(WORDS, max_size=14).map(" ".join) | st.text(max_size=40)


@settings(max_examples=150, deadline=None, suppress_health_check=QUIET)
@given(search=TEXTS, analysis=TEXTS, sql=st.booleans())
def test_any_text_is_answered_or_refused(
    door: Door, now: datetime, search: str, analysis: str, sql: bool
) -> None:
    text = f"* | select {analysis}" if sql else f"{search} | {analysis}"
    try:
        answer = door.ask(Query(text, limit=3), now)
    except QueryError:
        return
    assert len(answer.rows) <= 9_999


@settings(max_examples=80, deadline=None, suppress_health_check=QUIET)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_any_text_as_a_literal_comes_back_as_it_was(ask: Ask, value: str) -> None:
    written = "'" + value.replace("'", "''") + "'"
    assert ask(f"* | select {written} as v, 'end' limit 1").rows == [(value, "end")]
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert ask(f"url_path:#{quoted} | select count(*)").rows[0][0] in range(5)
    assert ask(f"{quoted}:{quoted} | select count(*)").columns == ("_col0",)


@settings(max_examples=50, deadline=None, suppress_health_check=QUIET)
@given(
    st.text(
        alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
    )
)
def test_any_text_as_a_name_is_an_attribute_or_an_alias(ask: Ask, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    answer = ask(f"* | select 1 as {quoted} limit 1")
    assert answer.columns == (name,)
    assert answer.rows == [(1,)]
    assert len(ask(f"* | select {quoted} limit 1").rows) == 1


NUMBERS = st.integers(0, 9).map(str)
SUMS = st.recursive(
    NUMBERS,
    lambda inner: st.tuples(
        inner,
        st.sampled_from(["{} + {}", "{} - {}", "{} * {}", "({} - {})", "-({}) * {}", "({}) % 7 - {}"]),
        inner,
    ).map(lambda t: t[1].format(t[0], t[2])),
    max_leaves=8,
)
TESTS = st.tuples(SUMS, st.sampled_from(["<", ">=", "="]), SUMS).map(" ".join)
TRUTHS = st.recursive(
    TESTS,
    lambda inner: st.tuples(
        inner,
        st.sampled_from(["{} and {}", "{} or {}", "({} or {})", "not {} and {}", "not ({} or {})"]),
        inner,
    ).map(lambda t: t[1].format(t[0], t[2])),
    max_leaves=6,
)


def as_python(text: str) -> str:
    """The same words in Python, where % has the sign of the divisor instead of the dividend's."""
    return text.replace(" = ", " == ").replace(">==", ">=").replace(") % 7", ") @ Seven")


class Number(int):
    """An integer whose remainder is SQL's."""

    def __add__(self, other: int) -> "Number":
        return Number(int(self) + int(other))

    def __sub__(self, other: int) -> "Number":
        return Number(int(self) - int(other))

    def __mul__(self, other: int) -> "Number":
        return Number(int(self) * int(other))

    def __neg__(self) -> "Number":
        return Number(-int(self))

    def __matmul__(self, other: int) -> "Number":
        return Number(math.fmod(int(self), int(other)))


@settings(max_examples=80, deadline=None, suppress_health_check=QUIET)
@given(st.lists(TRUTHS, min_size=1, max_size=4), st.lists(SUMS, min_size=1, max_size=4))
def test_operators_bind_as_they_do_in_sql(ask: Ask, truths: list[str], sums: list[str]) -> None:
    def value(text: str) -> Any:
        words = re.sub(r"(\d+)", r"Number(\1)", as_python(text).replace("Seven", "7"))
        return eval(words, {"Number": Number})

    answer = ask("* | select " + ", ".join([*truths, *sums]) + " limit 1").rows[0]
    assert list(answer) == [value(t) for t in (*truths, *sums)]
