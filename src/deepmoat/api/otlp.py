"""POST /v1/logs: OpenTelemetry logs over HTTP, protobuf or JSON, gzip.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp . An error's body is a google.rpc.Status in the
request's own encoding. Senders throw a batch away on any status but 429, 502, 503 and 504, so a full disk
is told as 503 here, where /ingest says 507.
"""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from deepmoat.api.body import Budget, read
from deepmoat.api.errors import headers_of, status_of
from deepmoat.api.guard import guard
from deepmoat.api.ingest import check, content_type, keep
from deepmoat.api.services import Checked, Services
from deepmoat.collect.wire import at_most
from deepmoat.kit.errors import MoatError, PeerError
from deepmoat.kit.meters import drop
from deepmoat.kit.spool import Stream

Encoding = Literal["otlp_protobuf", "otlp_json"]
_ENCODINGS: dict[str, Encoding] = {
    "application/x-protobuf": "otlp_protobuf",
    "application/json": "otlp_json",
}
_SMALL, _OBJECTS = 1 << 20, 8
_MEDIA: dict[Encoding, str] = {v: k for k, v in _ENCODINGS.items()}

# Codes of google.rpc.Code by HTTP status.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 413: 8, 415: 3, 429: 8, 503: 14, 507: 8}


def routes(services: Services, budget: Budget) -> APIRouter:
    """The router of this protocol."""
    router = APIRouter(tags=["ingest"])
    allowed = guard(services, "ingest")

    async def take(request: Request, encoding: Encoding) -> Checked:
        visitor = await allowed(request)
        with budget.hold() as held:
            body = await read(request, services.settings, held)
            _few(encoding, body, services.settings.lines)
            checked = await check(services.readers.get(encoding), body, services.now())
            await keep(services, Stream(encoding, "app", visitor.name), checked)
        return checked

    @router.post("/v1/logs", summary="Send OpenTelemetry logs", openapi_extra=_BODY, responses=_ANSWERS)
    async def logs(request: Request, encoding: Annotated[Encoding, Depends(_encoding)]) -> Response:
        """The OTLP/HTTP endpoint for logs. Accepted records are safe on disk when the answer comes."""
        try:
            checked = await take(request, encoding)
        except MoatError as exc:
            return _status(encoding, exc)
        if checked.refused and not checked.records:
            return _status(encoding, PeerError(checked.refused[0].reason))
        return _taken(encoding, checked)

    return router


def _few(encoding: Encoding, body: bytes, most: int) -> None:
    """PeerError 413 for a body of more than ``most`` records, before any is built.

    A small body holds few anyway; in JSON each record and each attribute is an object or two.
    """
    if len(body) < _SMALL:
        return
    few = at_most(body, most) if encoding == "otlp_protobuf" else body.count(b"{") <= most * _OBJECTS
    if not few:
        drop("otlp", "too_many_records")
        raise PeerError(f"the body has more than {most} records", status=413, hint="send smaller batches")


def _encoding(request: Request) -> Encoding:
    found = _ENCODINGS.get(content_type(request))
    if found is None:
        drop("otlp", "content_type")
        raise PeerError(
            f"cannot read {content_type(request)[:60]!r}",
            status=415,
            where="Content-Type",
            hint="send application/x-protobuf or application/json",
        )
    return found


def _taken(encoding: Encoding, checked: Checked) -> Response:
    """ExportLogsServiceResponse: empty, or with what was refused."""
    if not checked.refused:
        return Response(b"{}" if encoding == "otlp_json" else b"", media_type=_MEDIA[encoding])
    lost, why = len(checked.refused), _reasons(checked)
    if encoding == "otlp_json":
        partial = {"rejectedLogRecords": str(lost), "errorMessage": why}
        return Response(msgspec.json.encode({"partialSuccess": partial}), media_type=_MEDIA[encoding])
    inner = b"\x08" + _varint(lost) + _text(2, why)
    return Response(b"\x0a" + _varint(len(inner)) + inner, media_type=_MEDIA[encoding])


def _status(encoding: Encoding, error: MoatError) -> Response:
    """google.rpc.Status, with the HTTP status that makes a sender do the right thing."""
    status = status_of(error)
    code = _CODES.get(status, 13)
    status = 503 if status == 507 else status
    if encoding == "otlp_json":
        body = msgspec.json.encode({"code": code, "message": str(error)})
    else:
        body = b"\x08" + _varint(code) + _text(2, str(error))
    return Response(body, status, headers_of(status), media_type=_MEDIA[encoding])


def _reasons(checked: Checked) -> str:
    first = "; ".join(f"record {r.position}: {r.reason}" for r in checked.refused[:10])
    return first + ("; …" if len(checked.refused) > 10 else "")


def _text(field: int, text: str) -> bytes:
    """A protobuf string field."""
    data = text.encode("utf-8", "replace")
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """A protobuf base-128 number.

    >>> _varint(300)
    b'\\xac\\x02'
    """
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "ExportLogsServiceRequest",
        "content": {"application/x-protobuf": _BINARY, "application/json": {"schema": {"type": "object"}}},
    }
}
_ANSWERS: dict[int | str, dict[str, object]] = {
    200: {"description": "ExportLogsServiceResponse; partial success names what was refused"},
    400: {"description": "google.rpc.Status: nothing of it could be read"},
    401: {"description": "google.rpc.Status: no valid API key"},
    413: {"description": "google.rpc.Status: the body is too large"},
    415: {"description": "neither protobuf nor JSON"},
    429: {"description": "google.rpc.Status: try again after Retry-After seconds"},
    503: {"description": "google.rpc.Status: the disk is full or the server is stopping; try again"},
}
