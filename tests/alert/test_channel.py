"""Every channel: what it sends, to the byte, and that log content stays text."""

import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import apprise
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmoat.alert.channel import CHANNELS, Message, Post, Push, channel, headline, plain, text
from deepmoat.alert.incidents import Event, Notice
from deepmoat.alert.settings import AlertSettings
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import load
from deepmoat.model import Action, Incident, Query, Severity

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLES: dict[str, dict[str, Any]] = {
    "webhook": {"kind": "webhook", "url": "https://hook.example/in"},
    "dingtalk": {"kind": "dingtalk", "token": "t", "phones": ["13800000000"], "keyword": "moat"},
    "email": {"kind": "email", "host": "mail.example", "sender": "a@x.example", "to": ["b@y.example"]},
    "apprise": {"kind": "apprise", "url": "json://127.0.0.1:9/x"},
}


def incident(title: str = "192.0.2.1 sent 60 requests", subjects: int = 7) -> Incident:
    return Incident(
        id="01KDVDNB00CAUSE0000000000A",
        cause="request_burst:shop",
        detector="request_burst",
        title=title,
        severity=Severity.HIGH,
        first=NOW,
        last=NOW + timedelta(seconds=2),
        opened=NOW + timedelta(seconds=3),
        count=420,
        subjects=tuple(("client_address", f"192.0.2.{n}") for n in range(1, subjects + 1)),
        subject_count=subjects,
        countries=("US", "NL"),
        techniques=("T1498",),
        evidence=(Query("client_address: 192.0.2.1", "access", NOW, NOW + timedelta(seconds=3)),),
        timeline=((NOW, "first record"), (NOW + timedelta(seconds=3), "found")),
    )


def message(event: Event = "opened", title: str = "192.0.2.1 sent 60 requests") -> Message:
    action = Action(
        id="01KDVDNB00ACT00000000000A",
        kind="block",
        targets=((("client_address", "192.0.2.1"),), (("client_address", "192.0.2.2"),)),
        cause="01KDVDNB00CAUSE0000000000A",
        reason="burst",
        start=NOW,
        end=NOW + timedelta(minutes=10),
        impact=3,
    )
    link = "https://moat.example/incidents/01KDVDNB00CAUSE0000000000A"
    return Message(Notice(event, incident(title)), (action,), link)


def test_every_channel_says_what_the_golden_file_says() -> None:
    done = 0
    for name in CHANNELS.names():
        call = channel(TABLES[name]).call(message(), NOW)
        shown = {f: getattr(call, f) for f in call.__struct_fields__}
        if isinstance(call, Post):
            shown["body"] = json.loads(call.body)
        golden = GOLDEN / f"{name}.json"
        assert shown == json.loads(golden.read_text()), name
        done += 1
    assert done == len(TABLES) == 4


@pytest.mark.parametrize("name", CHANNELS.names())
@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=300))
def test_no_log_content_breaks_a_channel_or_its_one_line(name: str, text: str) -> None:
    call = channel(TABLES[name]).call(message(title=text), NOW)
    title = call.title if isinstance(call, Push) else headline(message(title=text))
    assert "\n" not in title and "://" not in title and len(title) < 250
    if isinstance(call, Post):
        json.loads(call.body)


@given(st.text())
def test_plain_text_is_one_short_line_without_control_or_direction_marks(raw: str) -> None:
    line = plain(raw, 80)
    assert len(line) <= 80 and line.isprintable() and "://" not in line
    assert plain(line, 80) == line


def test_the_message_names_the_clients_the_block_and_where_to_read_on() -> None:
    assert text(message()).splitlines() == [
        "[HIGH] 192.0.2.1 sent 60 requests (and 6 more)",
        "7 client address, 420 records, 2026-01-01 00:00:00 to 2026-01-01 00:00:02 UTC",
        "Countries: US, NL",
        "Who: 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5 and 2 more",
        "Blocked: 2 targets until 2026-01-01 00:10:00 UTC; they made 3 good requests in the day before",
        "Evidence: client_address: 192.0.2.1",
        "Incident 01KDVDNB00CAUSE0000000000A: https://moat.example/incidents/01KDVDNB00CAUSE0000000000A",
    ]


def test_a_person_is_told_why_nothing_was_blocked() -> None:
    held = Message(Notice("opened", incident()), (), "", "automatic actions are off")
    assert "Not blocked: automatic actions are off" in text(held)
    assert "No action was taken." in text(Message(Notice("opened", incident())))


def test_the_webhook_signs_its_body() -> None:
    call = channel(TABLES["webhook"] | {"secret": "s", "headers": {"Authorization": "Bearer x"}}).call(
        message(), NOW
    )
    assert isinstance(call, Post)
    wanted = hmac.new(b"s", call.body, "sha256").hexdigest()
    assert call.headers["X-Deepmoat-Signature"] == f"sha256={wanted}"
    assert call.headers["Authorization"] == "Bearer x"


def test_dingtalk_signs_time_and_secret_and_encodes_the_signature_once() -> None:
    call = channel(TABLES["dingtalk"] | {"secret": "SECabc"}).call(message(), NOW)
    assert isinstance(call, Post)
    query = parse_qs(urlsplit(call.url).query)
    assert query == {
        "access_token": ["t"],
        "timestamp": ["1767225600000"],
        "sign": ["Tns+q9xy3ZrHUPnf0YouCf2mHINUhrfNLY8ohhAIgfw="],
    }


OUTCOMES = [
    ("webhook", 200, b"", "sent"),
    ("webhook", 204, b"", "sent"),
    ("webhook", 302, b"", "refused"),
    ("webhook", 404, b"", "refused"),
    ("webhook", 429, b"", "again"),
    ("webhook", 503, b"", "again"),
    ("dingtalk", 200, b'{"errcode":0,"errmsg":"ok"}', "sent"),
    ("dingtalk", 200, b'{"errcode":310000,"errmsg":"sign not match"}', "refused"),
    ("dingtalk", 200, b'{"errcode":130101,"errmsg":"send too fast"}', "again"),
    ("dingtalk", 200, b'{"errcode":-1}', "again"),
    ("dingtalk", 200, b"<html>", "refused"),
    ("dingtalk", 200, b"{}", "refused"),
    ("dingtalk", 502, b"", "again"),
]


def test_what_an_answer_means() -> None:
    done = 0
    for name, status, answer, outcome in OUTCOMES:
        assert channel(TABLES[name]).outcome(status, answer) == outcome, (name, status, answer)
        done += 1
    assert done == len(OUTCOMES) == 13


def test_a_long_dingtalk_message_stays_below_its_limit() -> None:
    long = Message(Notice("opened", incident("界" * 5000, 1000)), (), "x" * 30_000)
    call = channel(TABLES["dingtalk"]).call(long, NOW)
    assert isinstance(call, Post) and len(call.body) < 20_000


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # apprise imports imghdr
@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
def test_the_mail_address_is_one_that_apprise_reads(security: str) -> None:
    table = TABLES["email"] | {"security": security, "user": "me@x.example", "password": "p/@:?&"}
    call = channel(table).call(message(), NOW)
    assert isinstance(call, Push)
    mail = apprise.Apprise.instantiate(call.url, suppress_exceptions=False)
    wanted = {"starttls": ("starttls", 587), "tls": ("ssl", 465), "none": ("insecure", 25)}[security]
    assert (mail.secure_mode, mail.port) == wanted
    assert (mail.smtp_host, mail.user, mail.password) == ("mail.example", "me@x.example", "p/@:?&")
    assert mail.from_addr[1] == "a@x.example" and [to for _, to in mail.targets] == ["b@y.example"]


WANTS = [
    ("opened", Severity.HIGH, {}, True),
    ("opened", Severity.MEDIUM, {}, True),
    ("opened", Severity.LOW, {}, False),
    ("raised", Severity.HIGH, {"minimum_severity": "high"}, True),
    ("opened", Severity.MEDIUM, {"minimum_severity": "high"}, False),
    ("closed", Severity.HIGH, {}, False),
    ("closed", Severity.HIGH, {"closed": True}, True),
    ("test", Severity.REPORT, {"minimum_severity": "critical"}, True),
]


def test_each_channel_is_told_what_it_asked_for() -> None:
    done = 0
    for event, severity, more, wanted in WANTS:
        assert channel(TABLES["webhook"] | more).settings.wants(event, severity) is wanted
        done += 1
    assert done == len(WANTS) == 8


WRONG = [
    ('channels = [{kind = "webhok", url = "http://x"}]', "did you mean 'webhook'"),
    ('channels = [{url = "http://x"}]', "a channel needs a kind"),
    ('channels = [{kind = "webhook", url = "file:///etc/passwd"}]', "must begin with http"),
    ('channels = [{kind = "webhook", ulr = "http://x"}]', "it has no key `ulr`.*known keys: kind, name"),
    ('channels = [{kind = "dingtalk"}]', "missing required field `token`"),
    ('channels = [{kind = "email", host = "h", sender = "a@b", to = []}]', "mail addresses"),
    (
        'channels = [{kind = "webhook", url = "http://x"}, {kind = "webhook", url = "http://y"}]',
        "two channels",
    ),
    ('channels = [{kind = "webhook", url = "http://x", attempts = 0}]', "attempts"),
    ("quiet_minutes = 0", "> 0.0"),
    ("quiet_minute = 1", "did you mean 'quiet_minutes'"),
]


def test_wrong_settings_name_what_is_wrong() -> None:
    done = 0
    for toml, wanted in WRONG:
        with pytest.raises(ConfigError, match=wanted) as caught:
            load(AlertSettings, toml, where="moat.toml")
        assert str(caught.value).startswith("moat.toml")
        done += 1
    assert done == len(WRONG) == 10


def test_links_lead_to_the_console_where_its_address_is_known() -> None:
    assert AlertSettings(console_url="https://moat.example/").link("X") == "https://moat.example/incidents/X"
    assert AlertSettings().link("X") == ""
