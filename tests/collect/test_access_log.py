"""nginx and Apache lines become access records; what is none of them is set aside with the reason."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmoat.kit.meters import dropped
from tests.collect.conftest import Intake
from tests.collect.conftest import given as said

HEAD = '192.0.2.7 - - [01/Jan/2025:10:00:00 +0200] "GET / HTTP/1.1"'
TAIL = '"-" "curl/8.5"'
# A line, and what of its record says something.
CASES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "a plain request",
        '192.0.2.7 - ann [01/Jan/2025:10:00:00 +0200] "GET /a/b?c=1&d HTTP/1.1" 200 12 "http://r/" "curl/8.5"',  # noqa: E501
        {
            "client_address": "192.0.2.7",
            "user_name": "ann",
            "http_request_method": "GET",
            "url_path": "/a/b",
            "url_query": "c=1&d",
            "network_protocol_version": "1.1",
            "http_response_status_code": 200,
            "http_response_body_size": 12,
            "http_request_referer": "http://r/",
            "user_agent_original": "curl/8.5",
        },
    ),
    ("an IPv6 client", f"2001:db8::1 {HEAD[10:]} 200 - {TAIL}", {"client_address": "2001:db8::1"}),
    ("a country", f"1.0.1.9 {HEAD[10:]} 200 - {TAIL}", {"client_country": "CN"}),
    (
        "escaped quotes of Apache",
        f'{HEAD} 200 1 "-" "a \\"b\\" \\\\ c"',
        {"user_agent_original": 'a "b" \\ c'},
    ),
    ("escaped bytes of nginx", f'{HEAD} 200 1 "-" "\\x22\\xC3\\xA9\\x22"', {"user_agent_original": '"é"'}),
    ("an escaped backslash before x41", f'{HEAD} 200 1 "-" "\\\\x41"', {"user_agent_original": "\\x41"}),
    ("a backslash before the closing quote", f'{HEAD} 200 1 "a\\\\" "b"', {"http_request_referer": "a\\"}),
    (
        "TLS on a plain port",
        f'192.0.2.7 - - [01/Jan/2025:10:00:00 +0200] "\\x16\\x03\\x01" 400 157 {TAIL}',
        {"http_request_method": "", "url_path": "", "http_response_status_code": 400},
    ),
    (
        "an empty request",
        f'192.0.2.7 - - [01/Jan/2025:10:00:00 +0200] "" 408 0 {TAIL}',
        {"http_request_method": "", "http_response_status_code": 408},
    ),
    (
        "a dash for a request",
        f'192.0.2.7 - - [01/Jan/2025:10:00:00 +0200] "-" 408 - {TAIL}',
        {"http_request_method": "", "http_response_status_code": 408},
    ),
    (
        "HTTP/0.9",
        f'192.0.2.7 - - [01/Jan/2025:10:00:00 +0200] "GET /old" 200 5 {TAIL}',
        {"http_request_method": "GET", "url_path": "/old", "network_protocol_version": ""},
    ),
    (
        "a space in the target",
        f'192.0.2.7 - - [01/Jan/2025:10:00:00 +0200] "GET /a b HTTP/1.1" 200 5 {TAIL}',
        {"url_path": "/a b", "network_protocol_version": "1.1"},
    ),
    (
        "a proxy request",
        f'192.0.2.7 - - [01/Jan/2025:10:00:00 +0200] "GET http://x.example/p?q=1 HTTP/1.1" 200 5 {TAIL}',
        {"server_address": "x.example", "url_path": "/p", "url_query": "q=1"},
    ),
    (
        "a tunnel request",
        f'192.0.2.7 - - [01/Jan/2025:10:00:00 +0200] "CONNECT x.example:443 HTTP/1.1" 405 5 {TAIL}',
        {"http_request_method": "CONNECT", "url_path": "x.example:443"},
    ),
    ("a request time", f"{HEAD} 200 5 {TAIL} 0.250", {"duration": 0.25, "attributes": {"extra": "0.250"}}),
    (
        "a forwarder's list",
        f'{HEAD} 200 5 {TAIL} "1.1.1.1, 2.2.2.2"',
        {"client_address": "192.0.2.7", "attributes": {"extra": '"1.1.1.1, 2.2.2.2"'}},
    ),
    ("a user with a space", f"192.0.2.7 - a b {HEAD[14:]} 200 5 {TAIL}", {"user_name": "a b"}),
    (
        "a host name for a client",
        f"h.example {HEAD[10:]} 200 5 {TAIL}",
        {"attributes": {"client": "h.example"}},
    ),
    ("a virtual host first", f"v.example:80 {HEAD} 200 5 {TAIL}", {"client_address": "192.0.2.7"}),
    (
        "a line cut in its agent",
        f'{HEAD} 200 5 "-" "Mozilla/5.0 (comp',
        {"user_agent_original": "Mozilla/5.0 (comp"},
    ),
    ("no status", f"{HEAD} - - {TAIL}", {"http_response_status_code": 0}),
    (
        "markup",
        f'{HEAD} 200 5 "-" "<script>alert(1)</script>"',
        {"user_agent_original": "<script>alert(1)</script>"},
    ),
]
REJECTED = [
    ("a status that would wrap", f"{HEAD} 70000 5 {TAIL}", "the status is out of range"),
    ("a negative status", f"{HEAD} -1 5 {TAIL}", "the status is out of range"),
    ("a size beyond 64 bits", f"{HEAD} 200 99999999999999999999 {TAIL}", "the size is out of range"),
    ("the year 2500", f"{HEAD.replace('2025', '2500')} 200 5 {TAIL}", "the time"),
    ("the year 1970", f"{HEAD.replace('2025', '1970')} 200 5 {TAIL}", "the time is out of range"),
    ("a 13th month", f"{HEAD.replace('Jan', 'Foo')} 200 5 {TAIL}", "the time cannot be read"),
    ("a 31st of February", f"{HEAD.replace('01/Jan', '31/Feb')} 200 5 {TAIL}", "the time cannot be read"),
    ("no line of this format", "hello", "not a line of this format"),
    ("quotes alone", '""""""""', "not a line of this format"),
    ("zero bytes", "\0\0\0", "not a line of this format"),
]


def test_lines_become_records(intake: Intake) -> None:
    lines = [line.replace("10:00:00", f"10:{n:02}:00") for n, (_, line, _) in enumerate(CASES)]
    intake.put("combined", "access", "\n".join(lines).encode())
    rows = intake.rows("access")
    assert len(rows) == len(CASES) == 22
    for row, (name, _, want) in zip(rows, CASES, strict=True):
        assert {k: row[k] for k in want} == want, name
    assert intake.count("rejected") == 0


def test_lines_that_are_none_are_set_aside_with_the_reason(intake: Intake) -> None:
    body = "\n".join(line for _, line, _ in REJECTED).encode()
    assert intake.put("combined", "access", body).records == len(REJECTED)
    assert intake.count("access") == 0
    found = {row["body"]: row for row in intake.rows("rejected")}
    for name, line, reason in REJECTED:
        assert found[line]["reason"].startswith(reason), name
        assert (found[line]["logstore"], found[line]["receiver"]) == ("access", "combined")
        assert found[line]["segment"].startswith("core/")
    assert len(found) == 10


def test_what_is_set_aside_is_counted_by_its_reason(intake: Intake) -> None:
    before = dropped("combined", "the_status_is_out_of_range")
    intake.put("combined", "access", "\n".join(line for _, line, _ in REJECTED).encode())
    assert dropped("combined", "the_status_is_out_of_range") == before + 2


def test_bad_lines_do_not_lose_their_good_neighbours(intake: Intake) -> None:
    lines = [f"{HEAD} 200 {n} {TAIL}" if n % 3 else REJECTED[n % len(REJECTED)][1] for n in range(60)]
    intake.put("combined", "access", "\r\n".join(lines).encode())
    assert (intake.count("access"), intake.count("rejected")) == (40, 20)


def test_a_common_line_has_no_agent(intake: Intake) -> None:
    intake.put("common", "access", f"{HEAD} 200 2326\n".encode())
    (row,) = intake.rows("access")
    assert (row["http_response_body_size"], row["user_agent_original"]) == (2326, "")


def test_logins_are_security_records(intake: Intake) -> None:
    at = "192.0.2.7 - - [01/Jan/2025:10:00:00 +0200]"
    lines = [f'{at} "POST /login HTTP/1.1" {status} 0 {TAIL}' for status in (401, 403, 200, 302, 500, 404)]
    lines += [f'{at} "GET /login HTTP/1.1" 200 0 {TAIL}', f'{at} "POST /log HTTP/1.1" 401 0 {TAIL}']
    intake.put("combined", "access", "\n".join(lines).encode())
    found = [
        (r["event_outcome"], r["event_reason"]) for r in intake.rows("security", tail="ORDER BY event_reason")
    ]
    assert found == [("success", "200"), ("success", "302"), ("failure", "401"), ("failure", "403")]
    assert {r["event_action"] for r in intake.rows("security")} == {"login"}
    assert intake.count("access") == len(lines)


PIECES = st.sampled_from(
    ['"', "\\", " ", "[", "]", "-", "\\x", "GET", "200", "70000", "\0", "é", "01/Jan/2025"]
)
LINE = st.lists(st.sampled_from([HEAD, TAIL, "200 5"]) | PIECES | st.text(max_size=4), max_size=9).map(
    " ".join
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, min_size=1, max_size=30))
def test_every_line_is_stored_somewhere(intake: Intake, lines: list[str]) -> None:
    for logstore in ("access", "rejected"):
        intake.database.command(f"TRUNCATE TABLE {logstore}")
    body = "\n".join(lines).encode("utf-8", "replace")
    checked = intake.put("combined", "access", body)
    assert intake.count("access") + intake.count("rejected") == checked.records


def test_a_record_says_only_what_its_line_said(intake: Intake) -> None:
    intake.put("combined", "access", f"{HEAD} 200 0 {TAIL}\n".encode())
    (row,) = intake.rows("access")
    assert set(said(row)) == {
        *("time", "client_address", "http_request_method", "url_path", "http_response_status_code"),
        *("network_protocol_version", "user_agent_original"),
    }
    assert row["time"].isoformat() == "2025-01-01T08:00:00+00:00"
