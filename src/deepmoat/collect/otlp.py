"""OTLP logs: requests checked, appended length-delimited, and read by ClickHouse's own Protobuf format.

ClickHouse cannot read a message that contains itself, as lists and maps in AnyValue do. So ``check`` makes
JSON text of those, in the few requests that have any. Whether a request has some is found without a walk
over its attributes: it is parsed by a copy of the schema without lists and maps, what was unknown is thrown
away, and if it still encodes to the same bytes there was nothing.

Source: https://opentelemetry.io/docs/specs/otlp/,
https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from deepmoat.collect.foreign import LISTED
from deepmoat.collect.logins import plan as login_plan
from deepmoat.collect.plan import Plan
from deepmoat.collect.receiver import Checked, Receiver, Refusal
from deepmoat.kit.spool import Stream
from deepmoat.model import LOGSTORES
from deepmoat.store.logs.load import Load

_NANO = 1_000_000_000
_DEPTH = 16
_ANY = (
    "Tuple(value Enum8('none' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, "
    "'double_value' = 4, 'bytes_value' = 7), string_value String, bool_value Bool, int_value Int64, "
    "double_value Float64, bytes_value String)"
)
_PAIRS = f"Array(Tuple(key String, value {_ANY}))"
STRUCTURE = (
    f"resource_logs Array(Tuple(resource Tuple(attributes {_PAIRS}), scope_logs Array(Tuple("
    "scope Tuple(name String), log_records Array(Tuple(time_unix_nano UInt64, "
    "observed_time_unix_nano UInt64, severity_number Int32, severity_text String, event_name String, "
    f"body {_ANY}, attributes {_PAIRS}, "
    "trace_id String, span_id String))))))"
)
SETTINGS: dict[str, str | int] = {
    # By its path: a schema given as text is written to a folder in the working directory.
    "format_schema": f"{files('deepmoat.collect').joinpath('logs.proto')}:Request",
    "input_format_protobuf_oneof_presence": 1,
}


class Otlp(Receiver):
    """What both encodings of OTLP share; each of them says how a body becomes a request."""

    @abstractmethod
    def request(self, body: bytes) -> tuple[Any, bytes]:
        """The request in ``body`` without lists and maps, and its bytes.

        Raises DecodeError or ValueError where there is none.
        """

    def check(self, body: bytes, now: float, logstore: str = "app") -> Checked:
        try:
            request, data = self.request(body)
        except (DecodeError, ValueError, RecursionError) as exc:
            return Checked(b"", 0, (Refusal(1, f"not an OTLP logs request: {str(exc)[:200]}"),))
        latest = now + self.settings.future_seconds
        records, refused, same = timed(request, self.settings.earliest_seconds(), latest, now)
        if not records:
            return Checked(b"", 0, refused)
        data = data if same else request.SerializeToString()
        return Checked(_varint(len(data)) + data, records, refused)

    def loads(self, stream: Stream) -> Sequence[Load]:
        load = plan(stream.logstore).load(self.context, stream)
        if stream.logstore != "access":
            return (load,)
        columns = ", ".join(f"{e} AS {n}" for n, e in _columns("access").items())
        found = login_plan(self.context, f"(SELECT {columns} FROM {_table('access')})", "Protobuf", STRUCTURE)  # noqa: S608
        return (load, msgspec.structs.replace(found, settings=SETTINGS).load(self.context, stream))

    def split(self, data: bytes) -> list[bytes]:
        places = [0, *_ends(data)]
        tail = [data[places[-1] :]] if places[-1] < len(data) else []
        return [data[a:b] for a, b in pairwise(places)] + tail

    def whole(self, data: bytes) -> int:
        return max(_ends(data), default=0)


def timed(request: Any, earliest: float, latest: float, now: float) -> tuple[int, tuple[Refusal, ...], bool]:
    """Take records with absurd times out of ``request`` and give those without one the time ``now``.

    How many records stay, the refused ones by their place in the request, and whether it is unchanged.
    """
    low, high, place, total = int(earliest * _NANO), int(latest * _NANO), 0, 0
    refused: list[Refusal] = []
    filled = False
    for scope in (s for r in request.resource_logs for s in r.scope_logs):
        bad = []
        for index, record in enumerate(scope.log_records):
            time = record.time_unix_nano or record.observed_time_unix_nano
            if not time:
                record.observed_time_unix_nano = int(now * _NANO)
                filled = True
            elif not low <= time <= high:
                bad.append(index)
                refused.append(Refusal(place + index + 1, f"the time {time} (nanoseconds) is out of range"))
        place += len(scope.log_records)
        for index in reversed(bad):
            del scope.log_records[index]
        total += len(scope.log_records)
    return total, tuple(refused), not (refused or filled)


def plain(body: bytes) -> tuple[Any, bytes]:
    """A protobuf body as a request without lists and maps, and its bytes; DecodeError where it is none."""
    request = _plain_type().FromString(body)
    request.DiscardUnknownFields()
    if request.SerializeToString() == body:
        return request, body
    full = ExportLogsServiceRequest.FromString(body)
    full.DiscardUnknownFields()  # also known numbers of a wrong wire type, which ClickHouse would read
    return flat(full)


def flat(request: ExportLogsServiceRequest) -> tuple[ExportLogsServiceRequest, bytes]:
    """``request`` with JSON text for every list and map, and its bytes."""
    for resource in request.resource_logs:
        for pair in resource.resource.attributes:
            _as_text(pair.value)
        for record in (record for scope in resource.scope_logs for record in scope.log_records):
            _as_text(record.body)
            for pair in record.attributes:
                _as_text(pair.value)
    return request, request.SerializeToString()


def _as_text(value: AnyValue) -> None:
    if value.WhichOneof("value") in {"array_value", "kvlist_value"}:
        value.string_value = msgspec.json.encode(_value(value)).decode()


def _value(value: AnyValue, depth: int = 0) -> object:
    """An AnyValue as a JSON value; what lies deeper than 16 levels is left out."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(v, depth + 1) for v in value.array_value.values] if depth < _DEPTH else None
    if kind == "kvlist_value":
        pairs = value.kvlist_value.values if depth < _DEPTH else ()
        return {pair.key: _value(pair.value, depth + 1) for pair in pairs}
    found = getattr(value, kind) if kind else None
    return found.hex() if isinstance(found, bytes) else found


@cache
def _plain_type() -> Any:
    """The request's class in a schema of its own, whose AnyValue has no lists and maps."""
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, logs_pb2, logs_service_pb2):
        proto = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        for message in (m for m in proto.message_type if m.name == "AnyValue"):
            kept = [f for f in message.field if f.name not in {"array_value", "kvlist_value"}]
            del message.field[:]
            message.field.extend(kept)
        pool.Add(proto)
    name = "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest"
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _varint(number: int) -> bytes:
    """``number`` as protobuf writes lengths.

    >>> _varint(300)
    b'\\xac\\x02'
    """
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _ends(data: bytes) -> list[int]:
    """Where each length-delimited message ends; a cut last one has no end."""
    ends: list[int] = []
    place = 0
    while place < len(data):
        size = shift = 0
        while place < len(data) and shift < 64:
            byte = data[place]
            size |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
            if byte < 128:
                break
        place += size
        if place <= len(data) and shift:
            ends.append(place)
    return ends


def plan(logstore: str) -> Plan:
    """How requests become rows of ``logstore``."""
    columns, table = _columns(logstore), _table(logstore)
    return Plan(logstore, "Protobuf", STRUCTURE, columns, table, settings=SETTINGS, fixed=frozenset(_IDS))


def _text(value: str) -> str:
    """An AnyValue expression as text."""
    others = (
        f"{value}.value = 'int_value', toString({value}.int_value), "
        f"{value}.value = 'bool_value', if({value}.bool_value, 'true', 'false'), "
        f"{value}.value = 'double_value', toString({value}.double_value), "
        f"{value}.value = 'bytes_value', lower(hex({value}.bytes_value)), ''"
    )
    return f"if({value}.value = 'string_value', {value}.string_value, multiIf({others}))"


def _table(logstore: str) -> str:
    """One row a record. What a resource says is made text once, before it is joined to its records."""
    shared = (
        "arrayFilter(x -> x.key NOT IN ('service.name', 'host.name'), said)" if logstore == "app" else "said"
    )
    resource = (
        f"r.scope_logs AS scopes, r.resource.attributes AS said, {shared} AS shared, "
        f"shared.key AS shared_names, arrayMap(x -> {_text('x.value')}, shared) AS shared_texts, "
        f"{_text(_FIRST.format('service.name'))} AS service, {_text(_FIRST.format('host.name'))} AS host"
    )
    resources = f"SELECT {resource} FROM (SELECT arrayJoin(resource_logs) AS r FROM {{file}})"  # noqa: S608
    record = (
        "s.scope.name AS scope, l.time_unix_nano AS at, l.observed_time_unix_nano AS seen, service, host, "
        "l.severity_number AS severity, l.severity_text AS severity_name, l.event_name AS event, "
        "l.body AS content, l.trace_id AS trace, l.span_id AS span, "
        "arrayConcat(l.attributes.key, shared_names, if(event = '', [], ['event.name'])) AS names, "
        f"arrayConcat(arrayMap(x -> {_text('x.value')}, l.attributes), shared_texts, "
        "if(event = '', [], [event])) AS texts"
    )
    return f"(SELECT {record} FROM ({resources}) ARRAY JOIN scopes AS s ARRAY JOIN s.log_records AS l)"  # noqa: S608


_FIRST = "arrayFirst(x -> x.key = '{}', said).value"
_LISTED = "arrayStringConcat(JSONExtract({}, 'Array(String)'), ',')"
_IDS = {"trace_id": "lower(hex(trace))", "span_id": "lower(hex(span))"}
_APP = {
    "severity_text": "severity_name",
    "severity_number": "if(severity BETWEEN 0 AND 24, severity, 0)",
    "service_name": "service",
    "host_name": "host",
    "scope_name": "scope",
    **_IDS,
}


def _columns(logstore: str) -> dict[str, str]:
    time = "fromUnixTimestamp64Nano(toInt64(if(at = 0, seen, at)), 'UTC')"
    columns = {"time": time, "body": _text("content"), "attributes": "mapFromArrays(names, texts)"}
    return columns | (_APP if logstore == "app" else _named(logstore))


def _named(logstore: str) -> dict[str, str]:
    """Columns of other logstores, from attributes by OpenTelemetry's names, and its older ones."""
    found = {}
    for column in LOGSTORES[logstore].columns:
        if column.name in {"time", "source", "client_country", "body", "attributes"}:
            continue
        value = _named_text(logstore, column.name)
        found[column.name] = value if column.kind == "text" else f"to{column.type}OrDefault({value})"
    return found | {name: ids for name, ids in _IDS.items() if name in found}


def _named_text(logstore: str, column: str) -> str:
    """The text of the first attribute that is called as the column or as one of its ``gen_ai.`` aliases."""
    aliases = LOGSTORES[logstore].aliases.items()
    names = [column, *(alias for alias, name in aliases if name == column and alias.startswith("gen_ai_"))]
    called = "arrayMap(name -> replaceAll(name, '.', '_'), names)"
    if names == [column]:
        return f"texts[indexOf({called}, '{column}')]"
    value = f"arrayFirst((text, name) -> name IN {tuple(names)}, texts, {called})"
    return f"if(startsWith({value}, '['), {_LISTED.format(value)}, {value})" if column in LISTED else value
