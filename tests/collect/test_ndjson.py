"""Anybody's JSON lines become rows; what cannot is refused by its line number."""

import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deepmoat.model import LOGSTORES
from tests.collect.conftest import NOW, Intake
from tests.collect.conftest import given as said

TIME = "2025-01-01T10:00:00Z"
# What is sent to which logstore, and what its record says besides the time.
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("access", {"http_response_status_code": 404}, {"http_response_status_code": 404}),
    ("access", {"status": "404", "method": "GET"}, {"http_response_status_code": 404, "http_request_method": "GET"}),  # noqa: E501
    ("access", {"http.response.status_code": 200.0}, {"http_response_status_code": 200}),
    ("access", {"real_client_ip": "::ffff:192.0.2.1"}, {"client_address": "192.0.2.1"}),
    ("access", {"client.address": "1.0.1.1"}, {"client_address": "1.0.1.1", "client_country": "CN"}),
    ("access", {"remote_addr": "unix:"}, {"attributes": {"remote_addr": "unix:"}}),
    ("access", {"client_address": "nonsense"}, {"attributes": {"client_address": "nonsense"}}),
    ("access", {"Host": "a.example", "cc_action": "none"}, {"server_address": "a.example", "verdict": "none"}),  # noqa: E501
    ("access", {"request_time_msec": 250}, {"duration": 0.25, "attributes": {"request_time_msec": "250"}}),
    ("access", {"status": 200, "http_response_status_code": 201}, {"http_response_status_code": 200, "attributes": {"http_response_status_code": "201"}}),  # noqa: E501
    ("access", {"body_bytes_sent": "-", "status": None}, {}),
    ("app", {"status": "open"}, {"attributes": {"status": "open"}}),
    ("app", {"level": "WARN", "message": "hello"}, {"severity_text": "WARN", "body": "hello"}),
    ("app", {"a": {"b": [1, {"c": None}], "d": {}}}, {"attributes": {"a.b": '[1,{"c":null}]', "a.d": "{}"}}),
    ("app", {"n": 1, "f": 1.5, "t": True, "z": None}, {"attributes": {"n": "1", "f": "1.5", "t": "true"}}),
    ("app", {"message": {"deep": "é\u0000\u2028"}}, {"body": '{"deep":"é\\u0000\u2028"}'}),
    ("app", {"attributes": {"x": "y"}, "x": "z"}, {"attributes": {"x": "y", "x_": "z"}}),
    ("app", {"source": "me"}, {"attributes": {"source": "me"}}),
    ("llm", {"model": "m", "input_tokens": 7, "stream": True}, {"gen_ai_request_model": "m", "gen_ai_usage_input_tokens": 7, "attributes": {"stream": "true"}}),  # noqa: E501
    ("llm", {"gen_ai.request.model": "m"}, {"gen_ai_request_model": "m"}),
    ("llm", {"question": "why?", "answer": "because", "consumer": "ann", "llm_first_token_duration": "309"}, {"prompt": "why?", "answer": "because", "user_name": "ann", "time_to_first_token": 0.309, "attributes": {"llm_first_token_duration": "309"}}),  # noqa: E501
    ("llm", {"gen_ai.input.messages": [{"role": "user"}], "is_sse": "1", "gen_ai.session.id": "s"}, {"prompt": '[{"role":"user"}]', "streamed": 1, "gen_ai_conversation_id": "s"}),  # noqa: E501
    ("llm", {"gen_ai.response.finish_reasons": '["tool_calls","stop"]', "gen_ai.response.duration": "3548"}, {"gen_ai_response_finish_reason": "tool_calls,stop", "duration": 3.548, "attributes": {"gen_ai.response.duration": "3548"}}),  # noqa: E501
    ("llm", {"finish_reasons": ["stop"], "streamed": True, "client_left": False}, {"gen_ai_response_finish_reason": "stop", "streamed": 1}),  # noqa: E501
    ("llm", {"finish_reason": "[stop", "gen_ai.usage.cache_read.input_tokens": "5"}, {"gen_ai_response_finish_reason": "[stop", "gen_ai_usage_cache_read_input_tokens": 5}),  # noqa: E501
    ("access", {"request_uri": "/a?b=c?d", "remote_port": "55732"}, {"url_path": "/a", "url_query": "b=c?d", "client_port": 55732}),  # noqa: E501
    ("access", {"querystring": "x=1", "request_uri": "/a"}, {"url_path": "/a", "url_query": "x=1"}),
    ("access", {"querystring": "x=1", "request_uri": "/a?y=2"}, {"url_query": "x=1", "attributes": {"request_uri": "/a?y=2"}}),  # noqa: E501
    ("access", {"request_path": "/a", "request_uri": "/b"}, {"url_path": "/a", "attributes": {"request_uri": "/b"}}),  # noqa: E501
    ("access", {"ssl_protocol": "TLSv1.3", "ssl_cipher": "ECDHE", "trace.id": "7"}, {"tls_protocol_version": "TLSv1.3", "tls_cipher": "ECDHE", "trace_id": "7"}),  # noqa: E501
    ("ddos", {"cc_action": "challenge", "cc_phase": "gfcc", "cc_blocks": "1", "last_result": "failed", "matched_host": "a"}, {"verdict": "challenge", "cc_phase": "gfcc", "cc_blocks": 1, "last_result": "failed", "server_address": "a"}),  # noqa: E501
    ("security", {"user": "ann", "outcome": "failure"}, {"user_name": "ann", "event_outcome": "failure"}),
]  # fmt: skip
# A line, and why it is refused.
REFUSED = [
    (
        b'{"time": "%s", "status": 70000}' % TIME.encode(),
        "status: 70000 is not a whole number from 0 to 65535",
    ),
    (b'{"http_response_status_code": -1}', "not a whole number"),
    (b'{"status": 200.5}', "not a whole number"),
    (b'{"status": "many"}', "'many' is not a number"),
    (b'{"status": 1e999}', "not a JSON object"),
    (b'{"body_bytes_sent": 99999999999999999999}', "not a whole number"),
    (b'{"time": "2500-01-01T00:00:00Z"}', "the time 2500"),
    (b'{"time": 0}', "the time 0 is out of range"),
    (b'{"time": 5}', "the time 5 is out of range"),
    (b'{"time": "1970-01-01"}', "the time 1970-01-01 is out of range"),
    (b'{"time": "yesterday"}', "the time is neither ISO 8601 nor a number"),
    (b'{"time": [1]}', "the time is neither text nor a number"),
    (b'{"time": 1e30}', "the time is out of range"),
    (b"hello", "not a JSON object"),
    (b"[1, 2]", "not a JSON object"),
    (b'{"a": "\xff"}', "not UTF-8"),
    (b'{"a": "\\ud800"}', "not a JSON object"),
    (b'{"a": ', "not a JSON object"),
    (b'{"a": 1} {"a": 2}', "not a JSON object"),
    (b'{"a":' * 100_000, "not a JSON object"),
]


def test_fields_find_their_columns(intake: Intake) -> None:
    for logstore in {logstore for logstore, _, _ in CASES}:
        lines = [
            json.dumps({"time": 1_735_725_600 + n} | sent)
            for n, (s, sent, _) in enumerate(CASES)
            if s == logstore
        ]
        checked = intake.put("ndjson", logstore, "\n".join(lines).encode())
        assert not checked.refused
        wants = [(sent, want) for s, sent, want in CASES if s == logstore]
        for row, (sent, want) in zip(intake.rows(logstore), wants, strict=True):
            assert {k: v for k, v in said(row).items() if k != "time"} == want, sent
    assert sum(map(intake.count, LOGSTORES)) == len(CASES) == 32


def test_bad_lines_are_refused_by_number_and_their_neighbours_are_kept(intake: Intake) -> None:
    good = b'{"time": "%s", "status": 200, "x": 1}' % TIME.encode()
    body = b"\n".join(part for line, _ in REFUSED for part in (line, good))
    checked = intake.put("ndjson", "access", body)
    assert [r.position for r in checked.refused] == [2 * n + 1 for n in range(len(REFUSED))]
    for refusal, (line, reason) in zip(checked.refused, REFUSED, strict=True):
        assert reason in refusal.reason, line
        assert len(refusal.reason) < 300
    assert intake.count("access") == checked.records == len(REFUSED) == 20


def test_a_line_over_the_limit_is_refused(intake: Intake) -> None:
    long = b'{"body": "%s"}' % (b"x" * 10_000_000)
    checked = intake.put("ndjson", "app", b'{"body": "a"}\n' + long + b'\n{"body": "b"}')
    assert [(r.position, r.reason) for r in checked.refused] == [(2, "longer than 1048576 bytes")]
    assert [r["body"] for r in intake.rows("app", tail="ORDER BY body")] == ["a", "b"]


def test_times_are_read_in_every_common_form(intake: Intake) -> None:
    forms = ["2025-01-01T10:00:00.123456Z", "2025-01-01T18:00:00.123456+08:00", "2025-01-01 10:00:00.123456"]
    forms += [1735725600.123456, "1735725600.123456", 1735725600123456, 1735725600123456000]
    forms += [1735725600.123456]
    keys = ["time", "timestamp", "@timestamp", "ts", "time", "time", "time", "gen_ai.request.timestamp"]
    body = "\n".join(json.dumps({key: form, "n": 1}) for key, form in zip(keys, forms, strict=True))
    assert intake.put("ndjson", "app", body.encode()).refused == ()
    times = {row["time"].isoformat() for row in intake.rows("app")}
    assert times == {"2025-01-01T10:00:00.123456+00:00"}
    assert intake.count("app") == 8


def test_nanoseconds_survive_both_ways(intake: Intake) -> None:
    fast = b'{"time": "2025-01-01T10:00:00.123456789Z"}\n'
    slow = b'{"time": 1735725600123456789, "x": 1}\n'
    intake.put("ndjson", "app", fast)
    intake.put("ndjson", "app", slow)
    assert {r["t"] for r in intake.rows("app", "toString(time) AS t", "")} == {
        "2025-01-01 10:00:00.123456789"
    }


def test_a_missing_time_is_now(intake: Intake) -> None:
    intake.put("ndjson", "app", b'{"body": "x"}')
    assert intake.rows("app")[0]["time"].timestamp() == NOW


def test_a_list_of_objects_is_taken_too(intake: Intake) -> None:
    assert intake.put("ndjson", "app", b'[{"body": "a"},\n {"body": "b"}]').records == 2


def test_logins_are_found_however_the_path_is_escaped(intake: Intake) -> None:
    for path in (b"/login", b"\\/login", b"\\u002flogin"):
        line = b'{"time":1735725600,"http_request_method":"POST","url_path":"%s","http_response_status_code":401}\n'  # noqa: E501
        intake.put("ndjson", "access", line % path)
    assert [r["event_outcome"] for r in intake.rows("security")] == ["failure"] * 3


def test_a_login_the_edge_refused_says_nothing_about_the_account(intake: Intake) -> None:
    row = {"time": 1735725600.0, "http_request_method": "POST", "url_path": "/login"}
    body = [json.dumps(row | {"http_response_status_code": 403, "verdict": v}) for v in ("block", "pass", "")]
    intake.put("records", "access", "\n".join(body).encode() + b"\n")
    assert (intake.count("access"), intake.count("security")) == (3, 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KNOWN = st.sampled_from([c.name for c in LOGSTORES["access"].columns] + list(LOGSTORES["access"].aliases))
GOOD_TIME = st.sampled_from(
    [TIME, 1735725600, 1735725600.25, "2025-01-01T10:00:00.5-03:30", "20250101T100000Z"]
)
OBJECT = st.dictionaries(KNOWN | st.text(max_size=6), JSON, max_size=6)
TIMED = st.builds(lambda fields, time: fields | {"time": time}, OBJECT, GOOD_TIME)
LINES = st.lists(
    (TIMED | OBJECT).map(json.dumps).map(str.encode) | st.binary(max_size=12), min_size=1, max_size=20
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES)
@example([b"\xef\xbb\xbf"])
def test_what_passes_is_stored_and_the_rest_is_refused(intake: Intake, lines: list[bytes]) -> None:
    for logstore in ("access", "rejected"):
        intake.database.command(f"TRUNCATE TABLE {logstore}")
    lines = [line.replace(b"\n", b" ") for line in lines]
    checked = intake.put("ndjson", "access", b"\n".join(lines))
    text = b"\n".join(lines).removeprefix(b"\xef\xbb\xbf")
    sent = sum(bool(line.strip()) for line in text.split(b"\n"))
    one_list = text.lstrip()[:1] == b"["
    assert one_list or checked.records + len(checked.refused) == sent
    assert (intake.count("access"), intake.count("rejected")) == (checked.records, 0)


STRICT = st.fixed_dictionaries(
    {"time": st.datetimes().map(str) | st.floats(0, 2e9) | GOOD_TIME},
    optional={
        "client_address": st.text(max_size=9) | st.ip_addresses().map(str),
        "http_response_status_code": st.integers(0, 65535),
        "http_response_body_size": st.integers(0, 2**63 - 1),
        "duration": st.floats(allow_nan=False, allow_infinity=False),
        "url_path": st.text(max_size=9),
        "attributes": st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3),
    },
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STRICT, min_size=1, max_size=20), st.booleans())
def test_rows_that_pass_unread_are_stored_as_they_are(
    intake: Intake, rows: list[dict[str, Any]], ascii_only: bool
) -> None:
    for logstore in ("access", "rejected"):
        intake.database.command(f"TRUNCATE TABLE {logstore}")
    body = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows).encode("utf-8", "replace")
    checked = intake.put("ndjson", "access", body)
    assert checked.records + len(checked.refused) == len(rows)
    assert (intake.count("access"), intake.count("rejected")) == (checked.records, 0)
