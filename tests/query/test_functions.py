"""Every function of every family gives what its EXAMPLE says, in ClickHouse."""

from collections.abc import Callable
from datetime import datetime

import pytest

from deepmoat.model import Query, Result
from deepmoat.query import check
from deepmoat.query.door import Door
from deepmoat.query.function import FAMILIES, Function, find, known

Ask = Callable[..., Result]
ALL = sorted(known().values(), key=lambda f: f.name)


def test_the_families_were_read() -> None:
    assert len(ALL) >= 120
    assert len(ALL) == sum(len(family.FUNCTIONS) for _, family in FAMILIES)  # no name twice


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.name)
def test_the_example_is_true(ask: Ask, function: Function) -> None:
    assert function.name in function.example.query
    answer = ask(f"* | select {function.example.query} as value limit 1")
    value = answer.rows[0][0]
    want = function.example.value
    assert value == (pytest.approx(want) if isinstance(want, float) else want)
    assert type(value) is type(want) or {type(value), type(want)} <= {int, float}


def test_every_function_the_wall_allows_is_used_by_something(now: datetime) -> None:
    door = Door(lambda sql, parameters: pytest.fail("nothing runs here"))
    used = set[str]()
    for text in [f"* | select {f.example.query}" for f in ALL] + OTHERS:
        sql = door.compile(Query(text, zone="Asia/Tokyo"), now).sql
        used |= {n for n in check.FUNCTIONS | check.AGGREGATES | check.PARAMETRIC if f"{n}(" in sql}
    assert (check.FUNCTIONS | check.AGGREGATES | check.PARAMETRIC) - used == set()


# What lowering itself uses, and the choices inside functions that no example takes.
OTHERS = [
    "attempt:* remote_user:x tag:\"\" word and status in [1 2] | select __time__, attributes['x'], time",
    "time > 1 | select cast('1' as boolean), cast(status as bigint), cast('1' as double), -1, now()",
    "* | select sum(distinct status), avg(distinct status), count(distinct status)",
    "* | select (status = 200) is true",
    "* | select cast(status as double), cast(duration as bigint), cast(url_path as bigint)",
    "* | select a % 2, a % b, 1.0 / 2, 1.0 / a, 7 / 2, 7 / status",
    "* | select approx_percentile(duration, array[0.5, 0.9]), array_agg(status)",
    "* | select cast(url_path as timestamp), a || b, array[1][1], concat(array[1], array[2])",
    "* | select json_array_contains(body, 'x'), cast(status as bigint), a is null, ip_to_country(a)",
    "* | select cast(true as bigint)",
    "status:200",
    *(
        f"* | select date_trunc('{u}', time)"
        for u in ["second", "minute", "hour", "day", "week", "month", "quarter", "year"]
    ),
    *(
        f"* | select date_add('{u}', 1, time)"
        for u in ["millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year"]
    ),
]


def test_names_are_found_in_any_case() -> None:
    assert find("Count_IF").name == "count_if"
