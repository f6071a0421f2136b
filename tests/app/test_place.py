"""Where the lines of a file go."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.app.scan.place import known, logstore
from deepmoat.kit.errors import ConfigError
from deepmoat.model import LOGSTORES

REQUESTS = (
    {"client_ip": "192.0.2.1", "status": 404, "path": "/"},
    {"remote_addr": "192.0.2.1", "status": "404", "request_time": 0.1},
    {"client.address": "192.0.2.1", "http.response.status_code": 404},
    {"Real_Client_IP": "192.0.2.1", "Status": 404},
)
OTHERS = (
    {"message": "started", "level": "INFO"},
    {"status": "ok", "service": "shop"},
    {"client_ip": "192.0.2.1", "message": "hello"},
)


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.mark.parametrize("record", REQUESTS, ids=str)
def test_json_lines_that_say_who_got_which_status_are_requests(record: object) -> None:
    assert logstore("ndjson", lines(record, record) + b'{"cut') == "access"


@pytest.mark.parametrize("record", OTHERS, ids=str)
def test_other_json_lines_are_of_an_application(record: object) -> None:
    assert logstore("ndjson", lines(record, record, REQUESTS[0])) == "app"


def test_a_format_has_its_logstore() -> None:
    assert (logstore("combined", b""), logstore("sshd", b""), logstore("plain", b"")) == (
        "access",
        "security",
        "app",
    )


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything(sample: bytes) -> None:
    assert logstore("ndjson", sample) in LOGSTORES


def test_a_parser_nobody_knows_is_refused_with_those_there_are() -> None:
    known(None)
    known("combined")
    with pytest.raises(ConfigError, match="no such parser: 'zz'.*known: ndjson, combined"):
        known("zz")
