"""Rows: NDJSON whose keys are a logstore's columns. What our edges write, and what foreign JSON becomes.

ClickHouse reads it with JSONEachRow into typed columns. ``checker`` is the same shape for msgspec, which
reads two million such lines a CPU second and, unlike ClickHouse, refuses a number that does not fit.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

import msgspec

from deepmoat.collect.logins import mentioned
from deepmoat.collect.logins import plan as login_plan
from deepmoat.collect.plan import Plan
from deepmoat.collect.receiver import Context
from deepmoat.kit.spool import Stream
from deepmoat.model import LOGSTORES, Column
from deepmoat.store.logs.load import Load

_Map = dict[str, str]
_KINDS: dict[str, Any] = {
    "DateTime64(9, 'UTC')": float | datetime,
    "UInt8": Annotated[int, msgspec.Meta(ge=0, le=2**8 - 1)],
    "UInt16": Annotated[int, msgspec.Meta(ge=0, le=2**16 - 1)],
    "UInt32": Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)],
    "UInt64": Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)],
    "Float64": float,
}
_READ = {"IPv6": "String"}
_ADDED = frozenset({"source", "client_country"})
SETTINGS: dict[str, str | int] = {
    "date_time_input_format": "best_effort",
    "input_format_null_as_default": 1,
}


def field_type(column: Column) -> Any:
    """What a JSON value of the column must be."""
    if column.kind == "map":
        return _Map
    return _KINDS.get(column.type, str)


@cache
def checker(logstore: str) -> msgspec.json.Decoder[Any]:
    """A decoder of lines that refuses what ClickHouse would refuse or, worse, wrap."""
    columns = [c for c in LOGSTORES[logstore].columns if c.name not in {*_ADDED, "time"}]
    fields: list[Any] = [("time", field_type(LOGSTORES[logstore].columns[0]))]
    fields += [(c.name, field_type(c) | None, None) for c in columns]
    return msgspec.json.Decoder(msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False))


def checked_as_is(body: bytes, logstore: str, earliest: float, latest: float, longest: int) -> int:
    """How many rows ``body`` holds, when every line is one and may be loaded unread; else 0.

    Times are seconds since 1970, ``longest`` is in bytes.
    """
    if b"\\" in body and b"\\u" in body:
        return 0  # a login path must be found in the segment as it is
    try:
        rows = checker(logstore).decode_lines(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    times = [row.time if type(row.time) is float else _seconds(row.time) for row in rows]
    if not times or min(times) < earliest or max(times) > latest:
        return 0
    lines = body.count(b"\n") + (not body.endswith(b"\n"))
    if lines != len(rows):
        return 0
    if len(body) > longest and max(map(len, body.split(b"\n"))) > longest:
        return 0
    return lines


def _seconds(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def loads(context: Context, stream: Stream) -> Sequence[Load]:
    """The Loads of a segment of rows."""
    load = plan(stream.logstore).load(context, stream)
    if stream.logstore != "access":
        return (load,)
    return (load, logins(context).load(context, stream))


def plan(logstore: str) -> Plan:
    """How the rows are read."""
    columns = [c for c in LOGSTORES[logstore].columns if c.name not in _ADDED]
    structure = ", ".join(f"{c.name} {_READ.get(c.type, c.type)}" for c in columns)
    expressions = {c.name: c.name for c in columns}
    if "client_address" in expressions:
        expressions["client_address"] = "toIPv6OrDefault(client_address)"
        lost = "client_address != '' AND isNull(toIPv6OrNull(client_address))"
        kept = "mapConcat(attributes, map('client_address', client_address))"
        expressions["attributes"] = f"if({lost}, {kept}, attributes)"
    return Plan(logstore, "JSONEachRow", structure, expressions, settings=SETTINGS)


def logins(context: Context) -> Plan:
    """The second Load of access rows: a login that the edge itself refused says nothing about the account.

    Few lines name a login path, so they are read as lines, and only those are parsed.
    """
    fields = "\n".join(f"JSONExtract(line, '{name}', '{kind}') AS {name}," for name, kind in _LOGIN.items())
    time = (
        "parseDateTime64BestEffortOrZero(trim(BOTH '\"' FROM JSONExtractRaw(line, 'time')), 9, 'UTC') AS time"
    )
    address = "toIPv6OrDefault(JSONExtractString(line, 'client_address')) AS client_address"
    lines = f"SELECT line FROM {{file}} WHERE {mentioned(context, 'line')}"  # noqa: S608
    table = f"(SELECT {fields} {time}, {address} FROM ({lines}) WHERE verdict IN ('', 'pass'))"  # noqa: S608
    return login_plan(context, table, "LineAsString", "line String")


_LOGIN = {
    "http_request_method": "String",
    "server_address": "String",
    "url_path": "String",
    "http_response_status_code": "UInt16",
    "user_name": "String",
    "request_id": "String",
    "verdict": "String",
}
