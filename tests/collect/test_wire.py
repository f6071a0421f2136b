from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from deepmoat.collect.wire import at_most

SHAPE = st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=4)


@given(SHAPE)
def test_records_are_counted_as_the_library_counts_them(shape: list[list[int]]) -> None:
    request = ExportLogsServiceRequest()
    for scopes in shape:
        resource = request.resource_logs.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "shop"
        for count in scopes:
            scope = resource.scope_logs.add()
            scope.scope.name = "s" * 200
            for n in range(count):
                record = scope.log_records.add(time_unix_nano=n + 1, severity_number=9)
                record.body.string_value = "x" * n * 50
    total = sum(map(sum, shape))
    body = request.SerializeToString()
    assert at_most(body, total)
    assert total == 0 or not at_most(body, total - 1)


@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_bytes_are_counted_to_an_end(body: bytes, most: int) -> None:
    assert at_most(body, most) in (True, False)


def test_millions_of_empty_records_are_not_all_counted() -> None:
    records = b"\x12\x00" * 2_000_000
    scope = b"\x12" + _varint(len(records)) + records
    body = b"\x0a" + _varint(len(scope)) + scope
    assert not at_most(body, 1000)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
