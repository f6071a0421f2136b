"""auth.log: one attempt is one login, whatever the attacker calls itself."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmoat.collect.settings import CollectSettings
from deepmoat.store.logs.database import Database
from tests.collect.conftest import Intake

AT = "Mar  3 06:55:46 web1 sshd[24200]: "
LOGIN = {"event_action": "login", "service_name": "sshd", "server_address": "web1"}
CASES: list[tuple[str, dict[str, Any]]] = [
    (
        "Failed password for root from 192.0.2.9 port 38926 ssh2",
        LOGIN | {"user_name": "root", "client_address": "192.0.2.9", "event_outcome": "failure"},
    ),
    (
        "Failed password for invalid user bob from 2001:db8::9 port 1 ssh2",
        LOGIN | {"user_name": "bob", "client_address": "2001:db8::9", "event_reason": "invalid user"},
    ),
    ("Failed none for invalid user  from 192.0.2.9 port 1 ssh2", LOGIN | {"user_name": "", "event_outcome": "failure"}),  # noqa: E501
    (
        "Accepted publickey for ann from 192.0.2.8 port 52100 ssh2: RSA SHA256:abc",
        LOGIN | {"user_name": "ann", "event_outcome": "success", "attributes": {"method": "publickey"}},
    ),
    ("Accepted password for ann from 192.0.2.8 port 5 ssh2", LOGIN | {"event_outcome": "success"}),
    (
        "Failed password for invalid user x from 9.9.9.9 port 1 ssh2: y from 192.0.2.9 port 5 ssh2",
        LOGIN | {"user_name": "x from 9.9.9.9 port 1 ssh2: y", "client_address": "192.0.2.9"},
    ),
    (
        "Failed password for invalid user Accepted password for root from 192.0.2.9 port 5 ssh2",
        LOGIN | {"user_name": "Accepted password for root", "event_outcome": "failure"},
    ),
    (
        "Invalid user webmaster from 192.0.2.9",
        {"event_action": "invalid_user", "user_name": "webmaster", "client_address": "192.0.2.9"},
    ),
    (
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.9  user=root",  # noqa: E501
        {"event_action": "authentication", "event_outcome": "failure", "user_name": "root", "client_address": "192.0.2.9"},  # noqa: E501
    ),
    ("Received disconnect from 192.0.2.9: 11: Bye Bye [preauth]", {"event_action": "disconnect"}),
    ("Connection closed by 192.0.2.9 [preauth]", {"event_action": "disconnect", "client_address": "192.0.2.9"}),  # noqa: E501
    ("pam_unix(sshd:session): session opened for user ann by (uid=0)", {"event_action": "session", "user_name": "ann"}),  # noqa: E501
    ("Did not receive identification string from 192.0.2.9", {"event_action": "notice", "client_address": "192.0.2.9"}),  # noqa: E501
    ("something nobody ever wrote", {"event_action": "notice", "event_outcome": "unknown"}),
]  # fmt: skip


def test_lines_become_security_records(intake: Intake) -> None:
    lines = [AT.replace("55:46", f"{n:02}:46") + text for n, (text, _) in enumerate(CASES)]
    assert not intake.put("sshd", "security", "\n".join(lines).encode()).refused
    rows = intake.rows("security")
    assert len(rows) == len(CASES) == 14
    for row, (text, want) in zip(rows, CASES, strict=True):
        assert {k: row[k] for k in want} == want, text
        assert row["body"] == text


def test_a_repeated_message_is_as_many_records(intake: Intake) -> None:
    line = AT + "message repeated 5 times: [ Failed password for root from 192.0.2.9 port 22 ssh2]"
    intake.put("sshd", "security", line.encode())
    rows = intake.rows("security")
    assert len(rows) == 5
    assert {(r["event_action"], r["user_name"], r["client_address"]) for r in rows} == {
        ("login", "root", "192.0.2.9")
    }


def test_other_programs_are_app_records_and_the_rest_is_set_aside(intake: Intake) -> None:
    body = b"Mar  3 06:56:00 web1 CRON[1]: pam_unix(cron:session): session opened\nhello\n\n"
    assert intake.put("sshd", "security", body).records == 2
    (row,) = intake.rows("app")
    assert (row["service_name"], row["host_name"]) == ("CRON", "web1")
    assert [r["reason"] for r in intake.rows("rejected")] == ["not a line of this format"]


@pytest.mark.parametrize(
    ("stamp", "want"),
    [
        ("Dec 31 23:00:00", "2025-12-31T23:00:00+00:00"),
        ("Jan  1 12:00:00", "2026-01-01T12:00:00+00:00"),  # within a day of now: this year
        ("Jan  3 00:00:00", "2025-01-03T00:00:00+00:00"),
        ("Feb 29 10:00:00", "2024-02-29T10:00:00+00:00"),
        ("2025-03-03T06:55:47.123456+01:00", "2025-03-03T05:55:47.123456+00:00"),
        ("2025-03-03T06:55:47Z", "2025-03-03T06:55:47+00:00"),
    ],
)
def test_a_time_without_a_year_is_never_in_the_future(intake: Intake, stamp: str, want: str) -> None:
    intake.put("sshd", "security", f"{stamp} web1 sshd[1]: x\n".encode())
    assert [r["time"].isoformat() for r in intake.rows("security")] == [want]


@pytest.mark.parametrize(
    "stamp", ["Feb 30 10:00:00", "2500-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "Foo  1 10:00:00"]
)
def test_absurd_times_are_set_aside(intake: Intake, stamp: str) -> None:
    intake.put(
        "sshd",
        "security",
        f"{stamp} web1 sshd[1]: Failed password for a from 192.0.2.1 port 1 ssh2\n".encode(),
    )
    assert (intake.count("security"), intake.count("rejected")) == (0, 1)


def test_year_and_zone_can_be_said(database: Database, countries: None, tmp_path: Any) -> None:
    intake = Intake(database, tmp_path, CollectSettings(zone="Asia/Shanghai"), year=2015)
    intake.put("sshd", "security", b"Dec 10 06:55:46 web1 sshd[1]: x\n")
    assert intake.rows("security")[0]["time"].isoformat() == "2015-12-09T22:55:46+00:00"
    intake.close()


NAME = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=40)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAME | st.just("a from 1.1.1.1 port 2 ssh2"), min_size=1, max_size=20))
def test_the_address_is_sshds_own_whatever_the_name(intake: Intake, names: list[str]) -> None:
    intake.database.command("TRUNCATE TABLE security")
    lines = [f"{AT}Failed password for invalid user {name} from 192.0.2.9 port 5 ssh2" for name in names]
    intake.put("sshd", "security", "\n".join(lines).encode())
    rows = intake.rows("security")
    assert len(rows) == len(names)
    assert {(r["client_address"], r["event_outcome"]) for r in rows} == {("192.0.2.9", "failure")}
