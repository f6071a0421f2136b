"""Foreign JSON: anybody's objects as rows of a logstore.

Names of columns, the aliases that users of other products know, and OpenTelemetry's dotted names find
their column; the rest is flattened into ``attributes``, nothing is dropped. Values that cannot be what
their column holds are an error that names them.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import msgspec

from deepmoat.collect.times import decimal, nanoseconds
from deepmoat.kit.addresses import canonical
from deepmoat.model import LOGSTORES, Column

_TIMES = (
    *("time", "timestamp", "@timestamp", "ts", "__time__", "datetime", "time_unix_nano", "timeunixnano"),
    "gen_ai.request.timestamp",
)
_MAX = {"UInt8": 2**8 - 1, "UInt16": 2**16 - 1, "UInt32": 2**32 - 1, "UInt64": 2**63 - 1}
_DEPTH = 8
# Names that carry their unit, and what makes seconds of them.
_SECONDS = {
    "request_time_msec": ("duration", 1e-3),
    "duration_ms": ("duration", 1e-3),
    "latency_ms": ("duration", 1e-3),
    "duration_us": ("duration", 1e-6),
    "duration_ns": ("duration", 1e-9),
    "time_to_first_token_ms": ("time_to_first_token", 1e-3),
    # Milliseconds: Higress's plugin ai-statistics, LoongCollector's input_agentsight.
    "llm_service_duration": ("duration", 1e-3),
    "llm_first_token_duration": ("time_to_first_token", 1e-3),
    "gen_ai_response_duration": ("duration", 1e-3),
}
LISTED = frozenset({"gen_ai_response_finish_reason"})
"""Columns of one word of which senders give a list of words."""

_WORDS = msgspec.json.Decoder(list[str])
Row = dict[str, Any]


class Shape:
    """How one logstore's foreign objects become rows."""

    def __init__(self, logstore: str) -> None:
        store = LOGSTORES[logstore]
        ours = {"source", "client_country", "time", "attributes"}
        self._columns = {c.name: c for c in store.columns if c.name not in ours}
        aliases = {a: self._columns[n] for a, n in store.aliases.items() if n in self._columns}
        self._names: dict[str, Column] = aliases | self._columns
        self._scales = {k: v for k, v in _SECONDS.items() if v[0] in self._columns}

    def row(self, fields: Mapping[str, Any], earliest: float, latest: float, now: float) -> Row:
        """The row; ValueError with the reason where there is none. Times are seconds since 1970."""
        row: Row = {"time": decimal(_time(fields, earliest, latest, now))}
        rest: dict[str, str] = {}
        for key, value in fields.items():
            if value is None or key in _TIMES:
                continue
            name = key.lower().replace(".", "_")
            column = self._names.get(name)
            if name in self._scales:
                _scaled(row, rest, key, value, *self._scales[name])
            elif name == "request_uri" and isinstance(value, str) and "url_query" in self._columns:
                _target(row, rest, key, value)
            elif column is None or column.name in row or not _put(row, column, key, value):
                flatten("" if key == "attributes" and isinstance(value, dict) else key, value, rest)
        if rest:
            row["attributes"] = rest
        return row


@cache
def shape(logstore: str) -> Shape:
    """The shape of ``logstore``."""
    return Shape(logstore)


def flatten(key: str, value: Any, into: dict[str, str], depth: int = 0) -> None:
    """``value`` as text under ``key``; objects under dotted keys, lists as JSON.

    >>> found = {}
    >>> flatten("a", {"b": 1, "c": {"d": True}}, found)
    >>> found
    {'a.b': '1', 'a.c.d': 'true'}
    """
    if isinstance(value, dict) and value and depth < _DEPTH:
        for name, inner in value.items():
            flatten(f"{key}.{name}" if key else name, inner, into, depth + 1)
    elif value is not None:
        into[key if key not in into else f"{key}_"] = text(value)


def text(value: Any) -> str:
    """A JSON value as text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _time(fields: Mapping[str, Any], earliest: float, latest: float, now: float) -> int:
    given = next((fields[name] for name in _TIMES if fields.get(name) is not None), now)
    nano = nanoseconds(given)
    if not earliest <= nano / 1e9 <= latest:
        raise ValueError(f"the time {str(given)[:40]} is out of range")
    return nano


def _target(row: Row, rest: dict[str, str], key: str, value: str) -> None:
    """A request's target: path and query go apart, where their columns are still free."""
    path, mark, query = value.partition("?")
    if "url_path" in row or (mark and "url_query" in row):
        flatten(key, value, rest)
        return
    row["url_path"] = path
    if mark:
        row["url_query"] = query


def _put(row: Row, column: Column, key: str, value: Any) -> bool:
    """Put ``value`` into its column; False where it belongs with the attributes."""
    return _KINDS[column.kind](row, column, key, value)


def _text(row: Row, column: Column, key: str, value: Any) -> bool:
    row[column.name] = _words(value) if column.name in LISTED else text(value)
    return True


def _words(value: Any) -> str:
    """A list of words, or its JSON text, as words with commas between them; else the value as text.

    >>> _words('["tool_calls", "stop"]'), _words(["stop"]), _words("stop")
    ('tool_calls,stop', 'stop', 'stop')
    """
    if isinstance(value, str) and value.startswith("["):
        with suppress(msgspec.DecodeError):
            return ",".join(_WORDS.decode(value))
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return ",".join(value)
    return text(value)


def _integer(row: Row, column: Column, key: str, value: Any) -> bool:
    if value in ("", "-"):
        return True
    if column.type == "UInt8" and isinstance(value, bool):
        row[column.name] = int(value)
        return True
    number = _number_of(key, value)
    if number != int(number) or not 0 <= number <= _MAX[column.type]:
        raise ValueError(f"{key[:60]}: {str(value)[:40]} is not a whole number from 0 to {_MAX[column.type]}")
    row[column.name] = int(value) if not isinstance(value, float) else int(number)
    return True


def _number(row: Row, column: Column, key: str, value: Any) -> bool:
    if value not in ("", "-"):
        row[column.name] = _number_of(key, value)
    return True


def _number_of(key: str, value: Any) -> float:
    if isinstance(value, bool | list | dict):
        raise ValueError(f"{key[:60]}: {text(value)[:40]} is not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{key[:60]}: {str(value)[:40]!r} is not a number") from None
    if not -1e300 < number < 1e300:
        raise ValueError(f"{key[:60]}: {str(value)[:40]} is out of range")
    return number


def _address(row: Row, column: Column, key: str, value: Any) -> bool:
    address = canonical(value) if isinstance(value, str) else None
    if address is not None:
        row[column.name] = address
    return address is not None


_KINDS: dict[str, Callable[[Row, Column, str, Any], bool]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "address": _address,
}


def _scaled(row: Row, rest: dict[str, str], key: str, value: Any, column: str, factor: float) -> None:
    rest[key] = text(value)
    if column not in row and value not in ("", "-"):
        row[column] = _number_of(key, value) * factor
