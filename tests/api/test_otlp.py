"""OTLP/HTTP as its senders see it: bodies of the protocol, and what makes them retry or give up."""

import gzip
import json

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from web_rig import NOW, Rig

from deepmoat.api.settings import ApiSettings
from deepmoat.kit.errors import TransientError

pytestmark = pytest.mark.anyio

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


def request(*bodies: str, seconds: float = NOW - 1) -> ExportLogsServiceRequest:
    message = ExportLogsServiceRequest()
    scope = message.resource_logs.add().scope_logs.add()
    for body in bodies:
        record = scope.log_records.add()
        record.time_unix_nano = int(seconds * 1e9)
        record.body.string_value = body
    return message


async def bodies(rig: Rig) -> list[str]:
    async with rig.client("analyst") as client:
        answer = await client.post(
            "/api/query", json={"text": "* | select body order by body", "logstore": "app"}
        )
    return [row["body"] for row in answer.json()["rows"]]


async def test_protobuf_plain_and_gzip_is_stored_when_the_empty_answer_comes(rig: Rig) -> None:
    async with rig.client("ingest") as client:
        plain = await client.post("/v1/logs", content=request("one").SerializeToString(), headers=PROTOBUF)
        packed = await client.post(
            "/v1/logs",
            content=gzip.compress(request("two").SerializeToString()),
            headers=PROTOBUF | {"Content-Encoding": "gzip"},
        )
    for answer in (plain, packed):
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == "application/x-protobuf"
    assert await bodies(rig) == ["one", "two"]


async def test_json_is_stored_and_answered_in_json(rig: Rig) -> None:
    record = {"timeUnixNano": str(int((NOW - 1) * 1e9)), "body": {"stringValue": "three"}}
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    async with rig.client("ingest") as client:
        answer = await client.post("/v1/logs", content=json.dumps(body), headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {})
    assert await bodies(rig) == ["three"]


async def test_refused_records_are_a_partial_success_and_the_others_are_kept(rig: Rig) -> None:
    message = request("good", "late")
    message.resource_logs[0].scope_logs[0].log_records[1].time_unix_nano = 16_725_225_600 * 10**9
    async with rig.client("ingest") as client:
        answer = await client.post("/v1/logs", content=message.SerializeToString(), headers=PROTOBUF)
    assert answer.status_code == 200
    partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_log_records == 1
    assert "record 2" in partial.error_message
    assert await bodies(rig) == ["good"]


@pytest.mark.parametrize(
    "body", [b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", b"hello", request("x").SerializeToString()[:-3]]
)
async def test_what_is_no_protobuf_is_a_status_the_sender_does_not_retry(rig: Rig, body: bytes) -> None:
    async with rig.client("ingest") as client:
        answer = await client.post("/v1/logs", content=body, headers=PROTOBUF)
    assert answer.status_code == 400
    status = Status.FromString(answer.content)
    assert (status.code, bool(status.message)) == (3, True)
    assert rig.committer.taken == []


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"resourceLogs": 7}', b"\xff"])
async def test_what_is_no_otlp_json_is_a_status_in_json(rig: Rig, body: bytes) -> None:
    async with rig.client("ingest") as client:
        answer = await client.post("/v1/logs", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert answer.json()["message"]


async def test_a_full_disk_makes_the_sender_try_again(rig: Rig) -> None:
    rig.committer.trouble = TransientError("cannot write: No space left on device", status=507)
    async with rig.client("ingest") as client:
        answer = await client.post("/v1/logs", content=request("x").SerializeToString(), headers=PROTOBUF)
    assert answer.status_code == 503, "OTLP senders throw away what is answered 507"
    assert answer.headers["retry-after"]
    assert "No space left" in Status.FromString(answer.content).message


async def test_the_other_refusals_speak_the_protocol_too(rig: Rig) -> None:
    rig.api = ApiSettings(body_bytes=1000)
    good = request("x").SerializeToString()
    async with rig.client("ingest") as client:
        large = await client.post(
            "/v1/logs", content=request("x" * 2000).SerializeToString(), headers=PROTOBUF
        )
        cut = await client.post(
            "/v1/logs", content=gzip.compress(good)[:-3], headers=PROTOBUF | {"Content-Encoding": "gzip"}
        )
        text = await client.post("/v1/logs", content=good, headers={"Content-Type": "text/plain"})
    async with rig.client() as stranger:
        nobody = await stranger.post("/v1/logs", content=good, headers=PROTOBUF)
    async with rig.client("analyst") as analyst:
        other = await analyst.post("/v1/logs", content=good, headers=PROTOBUF)
    found = [(a.status_code, Status.FromString(a.content).code) for a in (large, cut, nobody, other)]
    assert found == [(413, 8), (400, 3), (401, 16), (403, 7)]
    assert nobody.headers["www-authenticate"]
    assert (text.status_code, text.json()["error"]["code"]) == (415, "wrong_type")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\n\x84\x89z\x12\x80\x89z" + b"\x12\x00" * 1_000_000, PROTOBUF),
        (b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[' + b"{}," * 3_000_000 + b"{}]}]}]}", JSON),
    ],
)
async def test_millions_of_empty_records_are_refused_before_any_is_built(
    rig: Rig, body: bytes, headers: dict[str, str]
) -> None:
    async with rig.client("ingest") as client:
        answer = await client.post("/v1/logs", content=body, headers=headers)
    assert answer.status_code == 413
    text = answer.json()["message"] if headers is JSON else Status.FromString(answer.content).message
    assert "more than 250000 records" in text
    assert await bodies(rig) == []
