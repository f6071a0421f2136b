"""``otlp_protobuf``: OpenTelemetry logs as ``POST /v1/logs`` sends them with ``application/x-protobuf``."""

from typing import Any

from deepmoat.collect.otlp import Otlp, plain


class OtlpProtobuf(Otlp):
    """An ExportLogsServiceRequest; most pass as they came."""

    # One record: service.name=shop, "paid", severity 9, at 2025-01-01T10:00:00Z.
    SAMPLE = bytes.fromhex(
        "0a310a180a160a0c736572766963652e6e616d6512060a0473686f70121512130900408da73c89161810092a060a0470616964"
    )

    def request(self, body: bytes) -> tuple[Any, bytes]:
        return plain(body)
