"""``otlp_json``: OpenTelemetry logs as ``POST /v1/logs`` sends them with ``application/json``."""

from base64 import b64encode
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from deepmoat.collect.otlp import Otlp, flat

_DEPTH = 64


class OtlpJson(Otlp):
    """An ExportLogsServiceRequest in OTLP's JSON; segments hold protobuf.

    OTLP writes ids in hex where protobuf's JSON has base64; 32 hex digits are valid base64 of 24 bytes, so
    the digits are had back by encoding those again.
    """

    SAMPLE = (
        b'{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},'
        b'"scopeLogs":[{"logRecords":[{"timeUnixNano":"1735725600000000000","severityNumber":9,'
        b'"traceId":"0123456789abcdef0123456789abcdef","spanId":"0123456789abcdef",'
        b'"body":{"stringValue":"paid"},"attributes":[{"key":"n","value":{"intValue":"7"}}]}]}]}]}'
    )

    def request(self, body: bytes) -> tuple[Any, bytes]:
        request = ExportLogsServiceRequest()
        try:
            json_format.Parse(body, request, ignore_unknown_fields=True, max_recursion_depth=_DEPTH)
        except json_format.ParseError as exc:
            raise ValueError(str(exc)) from exc
        for resource in request.resource_logs:
            for record in (record for scope in resource.scope_logs for record in scope.log_records):
                record.trace_id = _id(record.trace_id, 16)
                record.span_id = _id(record.span_id, 8)
        return flat(request)


def _id(read: bytes, size: int) -> bytes:
    """An id of ``size`` bytes, written in hex (as OTLP says) or in base64."""
    if len(read) == size * 3 // 2:
        return bytes.fromhex(b64encode(read).decode())
    return read
