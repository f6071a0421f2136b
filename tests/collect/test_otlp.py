"""OpenTelemetry logs, as protobuf and as JSON, from requests made by hand and by the real SDK."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from tests.collect.conftest import NOW, Intake
from tests.collect.conftest import given as said

AT = 1_735_725_600_123_456_789


def request(*records: LogRecord, **resource: str) -> ExportLogsServiceRequest:
    """A request with one resource and one scope."""
    made = ExportLogsServiceRequest()
    group = made.resource_logs.add()
    for key, value in resource.items():
        group.resource.attributes.add(key=key.replace("_", ".")).value.string_value = value
    scope = group.scope_logs.add()
    scope.scope.name = "shop.cart"
    scope.log_records.extend(records)
    return made


def full() -> LogRecord:
    """A record with every kind of value."""
    record = LogRecord(time_unix_nano=AT, severity_number=17, severity_text="ERROR", event_name="paid")
    record.body.string_value = "no money"
    record.trace_id, record.span_id = bytes(range(16)), bytes(range(8))
    for key, field, value in (
        ("s", "string_value", "text"),
        ("i", "int_value", -7),
        ("d", "double_value", 0.5),
        ("b", "bool_value", False),
        ("x", "bytes_value", b"\x00\xff"),
    ):
        setattr(record.attributes.add(key=key).value, field, value)
    record.attributes.add(key="nothing")
    listed = record.attributes.add(key="list").value.array_value.values
    listed.add().int_value = 1
    listed.add().kvlist_value.values.add(key="k").value.string_value = 'é"'
    return record


WANT = {
    "severity_text": "ERROR",
    "severity_number": 17,
    "service_name": "shop",
    "host_name": "web-1",
    "scope_name": "shop.cart",
    "trace_id": "000102030405060708090a0b0c0d0e0f",
    "span_id": "0001020304050607",
    "body": "no money",
    "attributes": {
        **{"s": "text", "i": "-7", "d": "0.5", "b": "false", "x": "00ff", "nothing": ""},
        **{"list": '[1,{"k":"é\\""}]', "telemetry.sdk": "py", "event.name": "paid"},
    },
}


def as_json(made: ExportLogsServiceRequest) -> bytes:
    """A request in OTLP's JSON, ids in hex."""
    found = json_format.MessageToDict(made)
    for record in (r for g in found["resourceLogs"] for s in g["scopeLogs"] for r in s["logRecords"]):
        if "traceId" in record:
            record |= {"traceId": bytes(range(16)).hex(), "spanId": bytes(range(8)).hex()}
    return json.dumps(found, indent=1).encode()


ENCODINGS: list[tuple[str, Callable[[ExportLogsServiceRequest], bytes]]] = [
    ("otlp_protobuf", ExportLogsServiceRequest.SerializeToString),
    ("otlp_json", as_json),
]


@pytest.mark.parametrize(("name", "encode"), ENCODINGS)
def test_a_record_keeps_all_it_says(intake: Intake, name: str, encode: Callable[..., bytes]) -> None:
    made = request(full(), service_name="shop", host_name="web-1", telemetry_sdk="py")
    assert intake.put(name, "app", encode(made)).records == 1
    (row,) = intake.rows("app", "*, toString(time) AS at")
    assert row["at"] == "2025-01-01 10:00:00.123456789"
    assert {k: row[k] for k in WANT} == WANT


@pytest.mark.parametrize(("name", "encode"), ENCODINGS)
def test_absurd_times_are_refused_by_place_and_the_others_stored(
    intake: Intake, name: str, encode: Callable[..., bytes]
) -> None:
    times = [AT, 1, AT + 1, 16_725_225_600_000_000_000, 0]
    checked = intake.put(name, "app", encode(request(*(LogRecord(time_unix_nano=t) for t in times))))
    assert [r.position for r in checked.refused] == [2, 4]
    assert checked.records == intake.count("app") == 3
    assert intake.rows("app")[-1]["time"].timestamp() == NOW  # the one without a time


def test_observed_time_stands_in_for_a_missing_one(intake: Intake) -> None:
    intake.put("otlp_protobuf", "app", request(LogRecord(observed_time_unix_nano=AT)).SerializeToString())
    assert intake.rows("app")[0]["time"].timestamp() == pytest.approx(AT / 1e9)


def test_many_requests_in_one_segment_are_all_read(intake: Intake) -> None:
    for count in (1, 127, 128, 300):
        body = request(*[full()] * count, service_name="shop").SerializeToString()
        intake.put("otlp_protobuf", "app", body)
    assert intake.count("app") == 556


def test_attributes_of_conventional_names_become_columns_of_other_logstores(intake: Intake) -> None:
    record = LogRecord(time_unix_nano=AT)
    for key, value in (
        ("http.request.method", "POST"),
        ("url.path", "/login"),
        ("client.address", "1.0.1.1"),
    ):
        record.attributes.add(key=key).value.string_value = value
    record.attributes.add(key="http.response.status_code").value.int_value = 401
    wrapping = LogRecord(time_unix_nano=AT + 1)
    wrapping.attributes.add(key="http.response.status_code").value.int_value = 70000
    intake.put("otlp_protobuf", "access", request(record, wrapping).SerializeToString())
    first, second = intake.rows("access")
    assert (first["http_response_status_code"], first["client_country"]) == (401, "CN")
    assert second["http_response_status_code"] == 0
    assert second["attributes"]["http.response.status_code"] == "70000"
    assert [r["event_outcome"] for r in intake.rows("security")] == ["failure"]


def test_a_model_call_finds_its_columns_under_names_new_and_old(intake: Intake) -> None:
    record = LogRecord(time_unix_nano=AT, trace_id=bytes(range(16)), span_id=bytes(range(8)))
    said = {
        "gen_ai.system": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.usage.cache_read.input_tokens": "5",
        "gen_ai.usage.reasoning.output_tokens": "3",
        "gen_ai.prompt": "token=abcdef",
        "gen_ai.output.messages": "because",
        "trace_id": "not ours",
    }
    for key, value in said.items():
        record.attributes.add(key=key).value.string_value = value
    reasons = record.attributes.add(key="gen_ai.response.finish_reasons").value.array_value.values
    reasons.add().string_value, reasons.add().string_value = "tool_calls", "stop"
    intake.put("otlp_protobuf", "llm", request(record, LogRecord(time_unix_nano=AT + 1)).SerializeToString())
    row, empty = intake.rows("llm")
    assert row["prompt"].startswith("token=hmac:") and row["answer"] == "because"
    assert (row["gen_ai_provider_name"], row["gen_ai_response_finish_reason"]) == (
        "openai",
        "tool_calls,stop",
    )
    assert row["gen_ai_usage_cache_read_input_tokens"] == 5
    assert row["gen_ai_usage_reasoning_output_tokens"] == 3
    assert row["trace_id"] == "000102030405060708090a0b0c0d0e0f"
    assert row["attributes"]["trace_id"] == "not ours"
    assert (empty["prompt"], empty["trace_id"], empty["gen_ai_response_finish_reason"]) == ("", "", "")


def test_what_the_real_sdk_sends_is_read(intake: Intake) -> None:
    kept = InMemoryLogRecordExporter()
    provider = LoggerProvider(resource=Resource.create({"service.name": "checkout"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    logger = provider.get_logger("sdk.logger")
    for place in range(3):
        logger.emit(timestamp=AT + place, body={"step": place}, attributes={"n": place, "tags": ["a", "b"]})
    body = encode_logs(kept.get_finished_logs()).SerializeToString()
    provider.shutdown()
    assert intake.put("otlp_protobuf", "app", body).records == 3
    rows = intake.rows("app")
    assert [r["body"] for r in rows] == ['{"step":0}', '{"step":1}', '{"step":2}']
    assert {r["service_name"] for r in rows} == {"checkout"}
    assert [r["attributes"]["tags"] for r in rows] == ['["a","b"]'] * 3


@pytest.mark.parametrize("body", [b"\xff\xff", b'{"resourceLogs": 7}', b"[" * 5000, b'{"a', b"\x0a\x05abc"])
@pytest.mark.parametrize("name", ["otlp_protobuf", "otlp_json"])
def test_what_is_no_request_is_refused_whole(intake: Intake, name: str, body: bytes) -> None:
    checked = intake.put(name, "app", body)
    assert (checked.good, checked.records) == (b"", 0)
    assert checked.refused[0].reason.startswith("not an OTLP logs request")


def test_an_empty_request_is_no_error(intake: Intake) -> None:
    assert intake.put("otlp_protobuf", "app", b"") == intake.put("otlp_json", "app", b"{}")


def test_a_known_field_of_a_wrong_wire_type_is_not_handed_on(intake: Intake) -> None:
    body = request(full(), service_name="shop").SerializeToString()
    value = b"\x12\x06\x0a\x04shop"  # AnyValue: field 1, a string
    wrong = b"\x12\x08\x08\x01\x0a\x04shop"  # the same with field 1 as a number before it
    at = body.index(value)
    longer = body[:at] + wrong + body[at + len(value) :]
    longer = longer.replace(b"\x0a\x16\x0a\x0cservice", b"\x0a\x18\x0a\x0cservice")
    outer = ExportLogsServiceRequest()
    outer.resource_logs.add().resource.attributes.add().key = "x"
    for mutated in (longer, outer.SerializeToString() + body):
        checked = intake.put("otlp_protobuf", "app", mutated)
        assert intake.count("rejected") == 0
        assert checked.records in (0, 1)


VALUES = st.recursive(
    st.text(max_size=5)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.booleans()
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def fill(value: Any, given: Any) -> None:
    """Put a Python value into an AnyValue."""
    if isinstance(given, list):
        value.array_value.SetInParent()
        for inner in given:
            fill(value.array_value.values.add(), inner)
    elif isinstance(given, dict):
        value.kvlist_value.SetInParent()
        for key, inner in given.items():
            fill(value.kvlist_value.values.add(key=key).value, inner)
    else:
        kinds = {bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
        setattr(value, kinds.get(type(given), "string_value"), given)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(VALUES, st.dictionaries(st.text(max_size=4), VALUES, max_size=3)), max_size=5))
def test_whatever_passes_is_stored(intake: Intake, drawn: list[tuple[Any, dict[str, Any]]]) -> None:
    intake.database.command("TRUNCATE TABLE app")
    records = []
    for place, (body, attributes) in enumerate(drawn):
        record = LogRecord(time_unix_nano=AT + place)
        fill(record.body, body)
        for key, value in attributes.items():
            fill(record.attributes.add(key=key).value, value)
        records.append(record)
    checked = intake.put("otlp_protobuf", "app", request(*records).SerializeToString())
    rows = intake.rows("app")
    assert checked.records == len(drawn) == len(rows)
    for row, (body, attributes) in zip(rows, drawn, strict=True):
        assert set(row["attributes"]) == set(attributes)
        if isinstance(body, str) and body:
            assert said(row)["body"] == body


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_request_is_refused_or_stored(intake: Intake, data: st.DataObject) -> None:
    for logstore in ("app", "rejected"):
        intake.database.command(f"TRUNCATE TABLE {logstore}")
    body = bytearray(request(full(), full(), service_name="shop").SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    checked = intake.put("otlp_protobuf", "app", bytes(body))
    assert intake.count("app") == checked.records
    assert intake.count("rejected") == 0
