"""The challenge: whose work counts, whose does not, and that the page's script works."""

import json
import random
import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.guard.challenge import COOKIE, Challenge
from deepmoat.edge.guard.settings import ChallengeSettings
from deepmoat.model import Request

NOW = 1_700_000_000.5
SECRET = b"k" * 32
BROWSER = Request(
    "192.0.2.1", "GET", "/shop", headers={"accept": "text/html,*/*;q=0.8", "user-agent": "Mozilla/5.0"}
)
NODE = shutil.which("node")


def challenge(**settings: object) -> Challenge:
    return Challenge(ChallengeSettings(**{"difficulty": 8, **settings}), SECRET)  # type: ignore[arg-type]


def solved(asked: Challenge, request: Request = BROWSER, now: float = NOW) -> str:
    """The cookie that the page's script would set, from what the page says."""
    page = asked.page(request, now).decode()
    found = re.search(r'=(\d+)\."\+nonce\+"\.([0-9a-f]{32});path=/', page)
    bits = re.search(r'solve\("[0-9a-f]{32}",(\d+),', page)
    assert found and bits
    end, token = found.groups()
    number = next(n for n in range(10**7) if _zeros(sha256(f"{token}:{n}".encode()).digest()) >= int(bits[1]))
    return f"{end}.{number}.{token}"


def _zeros(digest: bytes) -> int:
    return 256 - int.from_bytes(digest).bit_length()


def carrying(cookie: str, request: Request = BROWSER, **changes: object) -> Request:
    headers = request.headers | {"cookie": f"a=b; {COOKIE}={cookie}; c=d"}
    return msgspec.structs.replace(request, **({"headers": headers} | changes))


def test_work_is_good_for_its_client_browser_and_time_and_for_nobody_else() -> None:
    asked = challenge()
    cookie = solved(asked)
    assert asked.passed(carrying(cookie), NOW)
    assert Challenge(asked.settings, SECRET).passed(carrying(cookie), NOW)  # another worker, a restart
    assert asked.passed(carrying(cookie), NOW + 3599)
    assert not asked.passed(carrying(cookie), NOW + 3600)
    assert not asked.passed(carrying(cookie), NOW - 60)  # made for a time that cannot have been given
    assert not asked.passed(carrying(cookie, client_address="192.0.2.2"), NOW)
    other = BROWSER.headers | {"user-agent": "curl", "cookie": f"{COOKIE}={cookie}"}
    assert not asked.passed(carrying(cookie, headers=other), NOW)
    assert not Challenge(asked.settings, b"other").passed(carrying(cookie), NOW)
    assert not challenge(difficulty=9).passed(carrying(cookie), NOW)


def test_cookies_that_were_not_earned_are_worth_nothing() -> None:
    asked = challenge()
    end, number, token = solved(asked).split(".")
    lazy = next(n for n in range(10**6) if _zeros(sha256(f"{token}:{n}".encode()).digest()) < 8)
    forged = (
        "",
        ".",
        "..",
        "...",
        end,
        f"{end}.{number}",
        f"{end}.{number}.",
        f"{end}.{number}.{token[:-1]}",
        f"{end}.{number}.{token[:-1]}é",
        f"{end}.{number}.{token.upper()}",
        f"{end}.{lazy}.{token}",
        f"{int(end) + 1}.{number}.{token}",
        f"{int(end) + 10**9}.{number}.{token}",
        f"-{end}.{number}.{token}",
        f"{end}.-{number}.{token}",
        f"{end}.{number}.{'0' * 32}",
        f"{end}.{number}.{token}.{token}",
        f"{end}.٣.{token}",
        f"{end}. {number}.{token}",
        "9" * 10_000,
        f"{end}.{number}.{token}" + "x" * 100_000,
        f"{end}.{'1' * 1000}.{token}",
    )
    for cookie in forged:
        assert not asked.passed(carrying(cookie), NOW), cookie[:80]
    assert len(forged) == 22


@given(st.text(max_size=120) | st.from_regex(r"[0-9]{1,12}\.[0-9]{1,12}\.[0-9a-f]{32}", fullmatch=True))
def test_no_text_of_a_cookie_is_an_error_or_a_pass(text: str) -> None:
    assert not challenge().passed(carrying(text), NOW)


def test_a_page_is_for_browsers_alone() -> None:
    asked = challenge()
    cases = (
        (BROWSER, ("challenge", 403, 0)),
        (msgspec.structs.replace(BROWSER, method="POST"), ("challenge", 403, 0)),
        (msgspec.structs.replace(BROWSER, key_hash="0123456789abcdef"), ("limit", 429, 30)),
        (msgspec.structs.replace(BROWSER, path="/v1/chat/completions"), ("limit", 429, 30)),
        (msgspec.structs.replace(BROWSER, headers={"accept": "application/json"}), ("limit", 429, 30)),
        (msgspec.structs.replace(BROWSER, headers={}), ("limit", 429, 30)),
    )
    for request, wanted in cases:
        verdict = asked.ask(request, NOW, "rate/login", "too many requests")
        assert verdict is not None and verdict.rule == "rate/login"
        assert (verdict.decision, verdict.status, verdict.retry_after) == wanted
    assert asked.ask(carrying(solved(asked)), NOW, "rate/login", "") is None


def test_always_asks_every_browser_where_it_is_meant_to() -> None:
    asked = challenge(always=True, hosts=("a.example",), paths=("/shop",), exempt_paths=("/shop/hook",))
    here = msgspec.structs.replace(BROWSER, host="a.example")
    verdict = asked.check(here, NOW)
    assert verdict is not None and (verdict.decision, verdict.rule) == ("challenge", "challenge/always")
    assert asked.check(carrying(solved(asked, here), here), NOW) is None
    elsewhere: tuple[dict[str, object], ...] = (
        {"host": "b.example"},
        {"path": "/"},
        {"path": "/shop/hook/1"},
        {"headers": {}},
    )
    for changes in elsewhere:
        assert asked.check(msgspec.structs.replace(here, **changes), NOW) is None
    assert challenge(always=True).check(BROWSER, NOW) is not None


def test_the_page_holds_nothing_of_the_request_and_allows_only_its_own_script() -> None:
    evil = msgspec.structs.replace(
        BROWSER,
        path="/</script>@TOKEN@",
        host="<b>",
        headers={"user-agent": "<i>@NONCE@", "accept": "text/html"},
    )
    page = challenge().page(evil, NOW).decode("ascii")
    assert "<i>" not in page and "<b>" not in page and page.count("</script>") == 1 and "@" not in page
    nonces = set(re.findall(r"nonce-([0-9a-f]{32})'", page)) | set(
        re.findall(r'nonce="([0-9a-f]{32})"', page)
    )
    assert len(nonces) == 1 and "default-src 'none'" in page
    assert len(page) < 4096
    assert nonces.isdisjoint(re.findall(r"nonce-([0-9a-f]{32})'", challenge().page(BROWSER, NOW).decode()))
    posted = challenge().page(msgspec.structs.replace(BROWSER, method="POST"), NOW).decode()
    assert "again=false" in posted and "again=true" in page


@pytest.mark.skipif(NODE is None, reason="node is not on this machine: the page's script was not run")
def test_the_script_hashes_as_sha256_does_and_finds_what_we_accept(tmp_path: Path) -> None:
    asked = challenge(difficulty=12)
    page = asked.page(BROWSER, NOW).decode()
    script = page[page.index("<script") :].partition(">")[2].partition("</script>")[0]
    chosen = random.Random(7)
    texts = ["".join(chr(chosen.randrange(32, 127)) for _ in range(n)) for n in [*range(130), 1000]]
    token = re.search(r"\.([0-9a-f]{32});path", page)
    assert token
    program = tmp_path / "page.js"
    program.write_text(
        script
        + f"\nvar texts={json.dumps(texts)};"
        + "console.log(JSON.stringify(texts.map(function(t){return sha256(t).map(function(w){"
        + "return ('0000000'+(w>>>0).toString(16)).slice(-8)}).join('')})));"
        + f"console.log(solve('{token[1]}',12,0,1e7));"
    )
    assert NODE is not None
    out = subprocess.run([NODE, str(program)], capture_output=True, check=True, timeout=60, text=True).stdout
    hashes, number = out.splitlines()
    assert json.loads(hashes) == [sha256(t.encode()).hexdigest() for t in texts]
    end = int(NOW) + 3600
    assert asked.passed(carrying(f"{end}.{number}.{token[1]}"), NOW)
