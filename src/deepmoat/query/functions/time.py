"""Dates and times, in the query's time zone. Whole seconds since 1970 are times too."""

import re
from collections.abc import Callable, Sequence
from typing import ClassVar

from deepmoat.kit.errors import QueryError
from deepmoat.query import tree
from deepmoat.query.context import Context
from deepmoat.query.function import Example, Function, Functions
from deepmoat.query.kinds import INTEGER, NUMBER, TEXT, TIME
from deepmoat.query.tree import Node, call
from deepmoat.query.values import Value, convert, unix_time

_STARTS = {
    "second": "toStartOfSecond",
    "minute": "toStartOfMinute",
    "hour": "toStartOfHour",
    "day": "toStartOfDay",
    "week": "toMonday",
    "month": "toStartOfMonth",
    "quarter": "toStartOfQuarter",
    "year": "toStartOfYear",
}
_ADDS = {
    "millisecond": "addMilliseconds",
    "second": "addSeconds",
    "minute": "addMinutes",
    "hour": "addHours",
    "day": "addDays",
    "week": "addWeeks",
    "month": "addMonths",
    "quarter": "addQuarters",
    "year": "addYears",
}
# MySQL's codes (Presto date_format) as ClickHouse's formatDateTime writes them.
_CODES = {
    "a": "%a",
    "b": "%b",
    "c": "%c",
    "d": "%d",
    "e": "%e",
    "f": "%f",
    "H": "%H",
    "h": "%h",
    "I": "%I",
    "i": "%i",
    "j": "%j",
    "k": "%k",
    "l": "%l",
    "M": "%M",
    "m": "%m",
    "p": "%p",
    "r": "%h:%i:%S %p",
    "S": "%S",
    "s": "%S",
    "T": "%T",
    "v": "%V",
    "W": "%W",
    "w": "%w",
    "Y": "%Y",
    "y": "%y",
    "%": "%%",
}


def _format(value: Value) -> Node:
    """The format, code by code; QueryError for a code that has no counterpart."""
    if value.literal is None:
        raise QueryError("the format must be written out", hint="such as '%Y-%m-%d %H:%i'")
    unknown = [c for c in re.findall(r"%(.?)", value.literal) if c not in _CODES]
    if unknown:
        raise QueryError(f"no such format code: %{unknown[0]}", hint="codes: %" + " %".join(_CODES))
    return tree.text(re.sub(r"%(.)", lambda m: _CODES[m[1]], value.literal))


def _unit(value: Value, units: dict[str, str]) -> str:
    name = (value.literal or "").lower()
    if name not in units:
        raise QueryError(f"no such unit: {name[:20]!r}", hint="units: " + ", ".join(units))
    return name


def _exact(node: Node, context: Context, digits: int = 3) -> Node:
    return call("toDateTime64", node, tree.number(digits), tree.text(context.zone))


def _truncated(values: Sequence[Value], context: Context) -> Value:
    unit = _unit(values[0], _STARTS)
    moment = convert(values[1], TIME, context)
    zone = [] if unit == "second" else [tree.text(context.zone)]
    moment = _exact(moment, context) if unit == "second" else moment
    return Value(_exact(call(_STARTS[unit], moment, *zone), context), TIME)


def _formatted(values: Sequence[Value], context: Context) -> Value:
    moment = _exact(convert(values[0], TIME, context), context, 6)
    return Value(call("formatDateTime", moment, _format(values[1]), tree.text(context.zone)), TEXT)


def _parsed(values: Sequence[Value], context: Context) -> Value:
    words = convert(values[0], TEXT, context)
    moment = call("parseDateTimeOrNull", words, _format(values[1]), tree.text(context.zone))
    return Value(_exact(moment, context), TIME)


def _from_unixtime(values: Sequence[Value], context: Context) -> Value:
    seconds = convert(values[0], NUMBER, context)
    zone = context.zone
    if len(values) > 1:
        zone = Context(context.now, values[1].literal or "").zone
    return Value(call("toDateTime64", seconds, tree.number(3), tree.text(zone)), TIME)


def _added(values: Sequence[Value], context: Context) -> Value:
    unit = _unit(values[0], _ADDS)
    moment = _exact(convert(values[2], TIME, context), context)
    return Value(call(_ADDS[unit], moment, convert(values[1], INTEGER, context)), TIME)


def _difference(values: Sequence[Value], context: Context) -> Value:
    unit = _unit(values[0], _ADDS)
    ends = (convert(v, TIME, context) for v in values[1:])
    return Value(call("age", tree.text(unit), *ends, tree.text(context.zone)), INTEGER)


def _now(context: Context) -> Node:
    return tree.moment(context.now, context.zone)


def _field(build: str, *more: int) -> Callable[..., Node]:
    def lower(moment: Node, context: Context) -> Node:
        return call(build, moment, *map(tree.number, more), tree.text(context.zone))

    return lower


def _part(name: str, build: str, value: int, *more: int) -> Function:
    query = f"{name}(timestamp '2021-01-12 03:04:05')"
    return Function(
        name=name,
        takes=(TIME,),
        gives=INTEGER,
        build=_field(build, *more),
        zoned=True,
        example=Example(query, value),
    )


class Times(Functions):
    """Dates and times."""

    ABOUT = "Dates and times, in the query's time zone. Whole seconds since 1970 are times too."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        Function(
            name="date_trunc",
            takes=(TEXT, TIME),
            gives=TIME,
            raw=_truncated,
            example=Example(
                "date_format(date_trunc('hour', timestamp '2021-01-12 03:04:05'), '%H:%i')", "03:00"
            ),
        ),
        Function(
            name="date_format",
            takes=(TIME, TEXT),
            gives=TEXT,
            raw=_formatted,
            example=Example("date_format(1600000000, '%Y-%m-%d %H:%i:%s')", "2020-09-13 12:26:40"),
        ),
        Function(
            name="date_parse",
            takes=(TEXT, TEXT),
            gives=TIME,
            raw=_parsed,
            example=Example(
                "to_unixtime(date_parse('2020-09-13 12:26:40', '%Y-%m-%d %H:%i:%s'))", 1600000000.0
            ),
        ),
        Function(
            name="date_add",
            takes=(TEXT, INTEGER, TIME),
            gives=TIME,
            raw=_added,
            example=Example(
                "date_format(date_add('day', -7, '2018-08-09 00:00:00'), '%Y-%m-%d')", "2018-08-02"
            ),
        ),
        Function(
            name="date_diff",
            takes=(TEXT, TIME, TIME),
            gives=INTEGER,
            raw=_difference,
            example=Example("date_diff('minute', '2021-01-01 00:00:00', '2021-01-01 01:30:30')", 90),
        ),
        Function(
            name="from_unixtime",
            takes=(NUMBER, TEXT),
            optional=1,
            gives=TIME,
            raw=_from_unixtime,
            example=Example("cast(from_unixtime(1494985275) as varchar)", "2017-05-17 01:41:15.000"),
        ),
        Function(
            name="to_unixtime",
            takes=(TIME,),
            gives=NUMBER,
            build=unix_time,
            example=Example("to_unixtime('2017-05-17 09:45:00.848 Asia/Shanghai')", 1494985500.848),
        ),
        Function(
            name="now",
            takes=(),
            gives=TIME,
            build=_now,
            zoned=True,
            example=Example("to_unixtime(now()) > 1600000000", True),
        ),
        Function(
            name="from_iso8601_timestamp",
            takes=(TEXT,),
            gives=TIME,
            raw=lambda values, context: Value(convert(values[0], TIME, context), TIME),
            example=Example("to_unixtime(from_iso8601_timestamp('2020-09-13T12:26:40Z'))", 1600000000.0),
        ),
        Function(
            name="current_timezone",
            takes=(),
            gives=TEXT,
            build=lambda context: tree.text(context.zone),
            zoned=True,
            example=Example("current_timezone()", "UTC"),
        ),
        _part("year", "toYear", 2021),
        _part("quarter", "toQuarter", 1),
        _part("month", "toMonth", 1),
        _part("week", "toISOWeek", 2),
        _part("day", "toDayOfMonth", 12),
        _part("day_of_month", "toDayOfMonth", 12),
        _part("day_of_week", "toDayOfWeek", 2, 0),
        _part("day_of_year", "toDayOfYear", 12),
        _part("hour", "toHour", 3),
        _part("minute", "toMinute", 4),
        _part("second", "toSecond", 5),
    )
