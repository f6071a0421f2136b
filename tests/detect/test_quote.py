"""Any text from a log stays exactly one literal."""

from typing import Any

import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from deepmoat.detect.detector import evidence, when
from deepmoat.detect.detectors.login_bruteforce import LOGINS
from deepmoat.detect.quote import fill, quote
from deepmoat.query.door import Door

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
HOSTILE = (
    "o'neil",
    "' or 1=1 --",
    "'' or ''='",
    "\\' or 1=1 --",
    "\\",
    "'; drop table access; --",
    "a | select 1",
    '"quoted" | "bars"',
    "{service} {subject}",
    "${jndi:ldap://x}",
    "line\nbreak\ttab",
    "/* comment */ -- and",
    "名前 🦊 é",
    "%s %d {} {0}",
    "{x:String}",
    "`tick` $1 \\1",
)


@given(TEXT)
def test_a_quoted_text_is_one_literal_that_says_the_text(text: str) -> None:
    tree = sqlglot.parse_one(f"select 1 where a = {quote(text)}", read="presto")
    assert [node.this for node in tree.find_all(exp.Literal) if node.is_string] == [text]


@given(TEXT, TEXT)
def test_evidence_holds_each_value_as_one_literal(service: str, name: str) -> None:
    query = evidence(LOGINS["user_name"], "security", when(0), when(9), service=service, subject=name)
    tree = sqlglot.parse_one(query.text.split("|", 1)[1], read="presto")
    literals = sorted(node.this for node in tree.find_all(exp.Literal) if node.is_string)
    assert literals == sorted(["login", service, name])


@given(st.text())
def test_no_text_makes_a_query_the_door_refuses(text: str) -> None:
    door = Door(lambda sql, parameters: (_ for _ in ()).throw(AssertionError("nothing runs here")))
    query = evidence(LOGINS["user_name"], "security", when(0), when(9), service="web", subject=text)
    assert door.compile(query, when(9)).sql.startswith("SELECT")


def test_evidence_about_a_hostile_name_finds_its_records_and_no_other(door: Door, put: Any) -> None:
    put(
        {
            "logstore": "security",
            "time": 1_763_805_600.0 + n,
            "client_address": "192.0.2.1",
            "event_action": "login",
            "event_outcome": "failure",
            "service_name": "web",
            "user_name": name,
        }
        for n, name in enumerate(HOSTILE)
    )
    for name in HOSTILE:
        times = when(1_763_805_600), when(1_763_805_700)
        query = evidence(LOGINS["user_name"], "security", *times, service="web", subject=name)
        assert [row["user_name"] for row in door.ask(query, times[1]).dicts()] == [name]
    assert len(HOSTILE) == 16


def test_places_are_filled_in_one_pass() -> None:
    assert fill("{a} {b} {c} {0,3}", a="{b}", b=2) == "'{b}' 2 {c} {0,3}"
