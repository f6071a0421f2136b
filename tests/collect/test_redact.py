"""No secret is ever stored, by whatever way it comes in."""

import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from deepmoat.collect.settings import CollectSettings
from deepmoat.edge.records import LlmRecord, encoded
from deepmoat.model import LOGSTORES
from deepmoat.store.logs.database import Database
from tests.collect.conftest import Intake

# The secret, and a text that gives it away.
SECRETS = [
    ("sk-Abcdefghijklmnop1234", "key sk-Abcdefghijklmnop1234 leaked"),
    ("sk-proj-abc_def-ghijklmnopqrstuv", "sk-proj-abc_def-ghijklmnopqrstuv"),
    ("AKIAIOSFODNN7EXAMPLE", "aws AKIAIOSFODNN7EXAMPLE"),
    ("LTAI5tAbCdEfGhIjKlMn", "id=LTAI5tAbCdEfGhIjKlMn"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("xoxb-123456789012-abcdef", "slack xoxb-123456789012-abcdef"),
    (
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP",
        "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP",
    ),
    ("hunter2hunter2", "password=hunter2hunter2&x=1"),
    ("hunter2hunter2", "user=a&passwd=hunter2hunter2"),
    ("hunter2hunter2", "PASSWORD: hunter2hunter2"),
    ("hunter2hunter2", "x_api_key=hunter2hunter2"),
    ("hunter2hunter2", "api-key: hunter2hunter2"),
    ("hunter2hunter2", "access_token=hunter2hunter2"),
    ("hunter2hunter2", "client_secret=>hunter2hunter2"),
    ("hunter2hunter2", "Authorization: Bearer hunter2hunter2"),
    ("hunter2hunter2", "bearer hunter2hunter2"),
    ("aHVudGVyMjpodW50ZXIy", "authorization: Basic aHVudGVyMjpodW50ZXIy"),
    ("hunter two with spaces", "password='hunter two with spaces'"),
    ("hunter2hunter2", "Cookie: a=b; session=hunter2hunter2"),
    ("hunter2hunter2", "password%3Dhunter2hunter2"),
    ("ann.lee+x@mail.example.org", "mail to ann.lee+x@mail.example.org now"),
    ("ann%40mail.example", "q=ann%40mail.example"),
    ("4111 1111 1111 1111", "card 4111 1111 1111 1111 ok"),
    ("4111-1111-1111-1111", "card 4111-1111-1111-1111"),
    ("5555555555554444", "card=5555555555554444;"),
    ("378282246310005", "amex 378282246310005"),
]
KEPT = [
    "input_tokens=12 output_tokens: 7",
    "the order 4111 1111 1111 1112 is no card number",
    "1735725600123456789 1735725600123",
    "forgot my password again",
    "Failed password for root from 192.0.2.1 port 22 ssh2",
    "@decorated(x) a @ b user@host",
    "0123456789abcdef0123456789abcdef",
    "task-force risk-averse-and-more-than-sixteen",
    "a token of basic kindness",
]


def ndjson(text: str) -> bytes:
    """The text in every kind of place an object has."""
    fields = {"body": text, "other": text, "nested": {"list": [text], "deep": {"x": text}}, f"k {text}": "v"}
    return json.dumps(
        fields | {"url_query": text, "http_referer": text, "host": text, "trace_id": text}
    ).encode()


def rows(text: str) -> bytes:
    """A row of our own."""
    row = {
        "time": 1735725600.0,
        "body": text,
        "url_path": text,
        "server_address": text,
        "attributes": {"a": text, text: ""},
    }
    return json.dumps(row).encode() + b"\n"


def call(text: str) -> bytes:
    """A model call as the edge writes it: the text in the prompt, and as JSON of messages in the answer."""
    answer = json.dumps([{"role": "assistant", "content": text, "note": {"deep": [text]}}])
    asked = ("POST", "api.example", "/v1/chat/completions", 200, "openai", "chat", 0.5, "e-1", "pass")
    record = LlmRecord(1735725600.0, "192.0.2.1", *asked, prompt=f"user: {text}", answer=answer)
    return b"".join(encoded([record]))


def otlp(text: str) -> bytes:
    """The text as body, as attribute, in a list, in a resource, as a logger's name and as a severity."""
    made = ExportLogsServiceRequest()
    group = made.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = text
    scope = group.scope_logs.add()
    scope.scope.name = text
    record = scope.log_records.add(time_unix_nano=1_735_725_600_000_000_000, severity_text=text)
    record.body.string_value = text
    record.attributes.add(key=text).value.string_value = text
    record.attributes.add(key="l").value.array_value.values.add().string_value = text
    return made.SerializeToString()


def combined(text: str) -> bytes:
    """The text in the target, the referer, the agent and what follows."""
    quoted, url = text.replace('"', '\\"'), text.replace(" ", "_").replace('"', "")
    del url
    return (
        f'192.0.2.7 - - [01/Jan/2025:10:00:00 +0200] "GET /x?{quoted} HTTP/1.1" 200 5 "{quoted}" "x" "{quoted}"\n'  # noqa: E501
        f'192.0.2.7 - - [01/Jan/2025:10:00:00 +0200] "{quoted}" 400 5 "-" "x"\n{text}\n'
    ).encode()


def sshd(text: str) -> bytes:
    """The text as a message, of sshd and of another program, and as a line of neither."""
    return f"Mar  3 06:55:46 w sshd[1]: {text}\nMar  3 06:55:46 w sudo: {text}\n{text}\n".encode()


def rejects(text: str) -> bytes:
    """The text in a record that was set aside, and in the reason."""
    reject = {"time": 1735725600.0, "receiver": "plain", "logstore": "app", "source": "s", "segment": "s"}
    return json.dumps(reject | {"reason": text, "body": text}).encode() + b"\n"


WAYS: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "ndjson": ("access", ndjson),
    "records": ("access", rows),
    "records of the edge": ("llm", call),
    "ndjson into app": ("app", ndjson),
    "otlp_protobuf": ("app", otlp),
    "combined": ("access", combined),
    "common": ("access", combined),
    "sshd": ("security", sshd),
    "plain": ("app", lambda text: text.encode()),
    "rejects": ("app", rejects),
}


def stored(intake: Intake) -> str:
    """Everything that can be read of every logstore."""
    found = []
    for logstore in LOGSTORES:
        found += [row.pop("s") for row in intake.rows(logstore, "toString(tuple(*)) AS s", "")]
    return "\n".join(found).replace("\\'", "'")


@pytest.mark.parametrize("name", WAYS)
def test_no_secret_is_stored_by_any_way_in(name: str, intake: Intake) -> None:
    logstore, write = WAYS[name]
    name = name.partition(" ")[0]
    bodies = [write(f"before {text}") for _, text in SECRETS]
    if name == "otlp_protobuf":
        for body in bodies:
            intake.put(name, logstore, body)
    else:
        intake.put(name, logstore, b"\n".join(body.rstrip(b"\n") for body in bodies) + b"\n")
    everything = stored(intake)
    assert everything.count("before") >= len(SECRETS) == 26
    assert everything.count("hmac:") >= len(SECRETS)
    for secret, text in SECRETS:
        assert secret not in everything, text


@pytest.mark.parametrize("logstore", LOGSTORES)
def test_no_text_column_of_any_logstore_keeps_a_secret(logstore: str, intake: Intake) -> None:
    kept = {"source", "client_country", "user_name", "user_agent_original"}  # the last two keep addresses
    columns = [c.name for c in LOGSTORES[logstore].columns if c.kind == "text" and c.name not in kept]
    texts = [f"before {text}" for _, text in SECRETS]
    rows = [{"time": 1735725600.0} | dict.fromkeys(columns, text) for text in texts]
    intake.put("records", logstore, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    assert intake.count(logstore) == len(SECRETS)
    everything = stored(intake)
    assert everything.count("hmac:") >= len(SECRETS) * len(columns)
    for secret, text in SECRETS:
        assert secret not in everything, text


def test_prompts_and_answers_that_hold_no_secret_are_kept_whole(intake: Intake) -> None:
    texts = [*KEPT, '{"messages": [{"role": "user", "content": "秘密 \\"x\\" \\n"}]}', "x" * 100_000]
    intake.put("records", "llm", b"".join(call(text) for text in texts))
    rows = intake.rows("llm", "prompt, answer", "")
    assert {row["prompt"] for row in rows} == {f"user: {text}" for text in texts}
    assert {json.loads(row["answer"])[0]["content"] for row in rows} == set(texts)


def test_what_is_no_secret_is_kept(intake: Intake) -> None:
    intake.put("plain", "app", "\n".join(KEPT).encode())
    assert {row["body"] for row in intake.rows("app")} == set(KEPT)


def test_equal_secrets_stay_equal_and_others_differ(intake: Intake) -> None:
    intake.put("plain", "app", b"token=abcdef\ntoken=abcdef\ntoken=abcdeg\n")
    bodies = sorted(row["body"] for row in intake.rows("app"))
    assert len(set(bodies)) == 2
    assert all(body.startswith("token=hmac:") and len(body) == 27 for body in bodies)


def test_values_of_sensitive_fields_are_hashed_whole(intake: Intake) -> None:
    fields = {"password": "a b", "user.api_key": "c", "db": {"secret": "d"}, "input_tokens": 5, "token": ""}
    intake.put("ndjson", "app", json.dumps(fields).encode())
    attributes = intake.rows("app")[0]["attributes"]
    assert [k for k, v in attributes.items() if v.startswith("hmac:")] == [
        "password",
        "user.api_key",
        "db.secret",
    ]
    assert (attributes["input_tokens"], attributes["token"]) == ("5", "")


def test_account_names_and_programs_keep_their_addresses(intake: Intake) -> None:
    row = {
        "user_name": "ann@example.org",
        "user_agent": "bot (mailto:b@example.org)",
        "body": "ann@example.org",
    }
    intake.put("ndjson", "access", json.dumps(row).encode())
    (found,) = intake.rows("access")
    assert (found["user_name"], found["user_agent_original"]) == (row["user_name"], row["user_agent"])
    assert found["body"].startswith("hmac:")


@pytest.mark.parametrize(("secrets", "personal", "want"), [
    (False, False, "token=abc ann@example.org"),
    (True, False, "token=hmac:3"),
    (False, True, "token=abc hmac:"),
])  # fmt: skip
def test_each_kind_can_be_turned_off(
    database: Database,
    countries: None,
    tmp_path,
    secrets: bool,
    personal: bool,
    want: str,  # type: ignore[no-untyped-def]
) -> None:
    intake = Intake(database, tmp_path, CollectSettings(redact_secrets=secrets, redact_personal=personal))
    intake.put("ndjson", "app", b'{"body": "token=abc ann@example.org"}')
    body = intake.rows("app")[0]["body"]
    assert body.startswith(want.rstrip("3"))
    assert ("ann@" in body) is not personal
    assert ("abc" in body) is not secrets
    intake.close()


def test_the_key_is_in_no_error(intake: Intake) -> None:
    broken = intake.readers.get("plain").loads
    del broken
    intake.put("records", "app", b'{"time": 1735725600.0, "nonsense": 1}\n{"time": 1735725601.0}\n')
    key = intake.readers.get("plain").context.key
    assert intake.count("app") >= 1
    assert key not in stored(intake)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.text(max_size=12), st.sampled_from(SECRETS), st.text(max_size=12)),
        min_size=1,
        max_size=15,
    )
)
def test_no_surroundings_save_a_key_with_a_known_form(
    intake: Intake, drawn: list[tuple[str, tuple[str, str], str]]
) -> None:
    intake.database.command("TRUNCATE TABLE app")
    drawn = [d for d in drawn if d[1][0].startswith(("sk-", "AKIA", "ghp_", "eyJ"))]
    texts = [f"{before} {secret} {after}" for before, (secret, _), after in drawn]
    intake.put("ndjson", "app", "\n".join(json.dumps({"body": text}) for text in texts).encode())
    everything = stored(intake)
    assert not any(secret in everything for _, (secret, _), _ in drawn)
