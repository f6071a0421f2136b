"""Signing in and out over HTTP, without a browser's help: what each forgery meets."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from web_rig import Rig

from deepmoat.api import errors
from deepmoat.api.headers import Headers
from deepmoat.console.pages.sign_in import routes
from deepmoat.console.settings import ConsoleSettings
from deepmoat.identity.secret import form_token
from deepmoat.store.logs.database import Database

pytestmark = pytest.mark.anyio
FORM = re.compile(r'name="(link|token)" value="([^"]*)"')
OURS = {"Origin": "http://moat"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(database, tmp_path)
    yield rig
    rig.close()


def client(rig: Rig, base: str = "http://moat") -> httpx.AsyncClient:
    app = FastAPI()
    errors.install(app)
    app.add_middleware(Headers)
    app.include_router(routes(rig.console_services()))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=("203.0.113.9", 1)), base_url=base)


async def form(browser: httpx.AsyncClient, link: str) -> dict[str, str]:
    return dict(FORM.findall((await browser.get("/sign-in", params={"link": link})).text))


async def test_a_look_at_the_link_does_not_use_it_up(rig: Rig) -> None:
    link = rig.identity.link("admin", rig.clock.now)
    async with client(rig) as preview:
        for path in (f"/sign-in?link={link}", f"/sign-in/{link}"):
            page = await preview.get(path)
            assert page.status_code == 200
            assert "moat_session" not in page.cookies
            assert (await preview.head(path)).status_code in (200, 405)
    async with client(rig) as browser:
        answer = await browser.post("/sign-in", data=await form(browser, link), headers=OURS)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(rig: Rig) -> None:
    async with client(rig) as browser:
        link = rig.identity.link("admin", rig.clock.now)
        answer = await browser.post("/sign-in", data=await form(browser, link), headers=OURS)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("moat_session=moatsession_")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie


async def test_over_https_the_cookie_is_secure_and_bound_to_the_host(rig: Rig) -> None:
    rig.console = ConsoleSettings(url="https://moat.example.com")
    async with client(rig, "https://moat") as browser:
        link = rig.identity.link("admin", rig.clock.now)
        data = await form(browser, link)
        answer = await browser.post("/sign-in", data=data, headers={"Origin": "https://moat.example.com"})
    assert answer.status_code == 303
    assert answer.headers["set-cookie"].startswith("__Host-moat_session=")
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_form_from_another_site_signs_nobody_in(rig: Rig) -> None:
    link = rig.identity.link("admin", rig.clock.now)
    async with client(rig) as browser:
        data = await form(browser, link)
        tried = [
            await browser.post("/sign-in", data=data),
            await browser.post("/sign-in", data=data, headers={"Origin": "null"}),
            await browser.post("/sign-in", data=data, headers={"Origin": "http://evil.example"}),
            await browser.post("/sign-in", data=data, headers={"Origin": "http://moat.evil.example"}),
            await browser.post("/sign-in", data={**data, "token": ""}, headers=OURS),
            await browser.post("/sign-in", data={**data, "token": "x"}, headers=OURS),
            await browser.post("/sign-in", data={"link": link}, headers=OURS),
        ]
        async with client(rig) as other:
            tried.append(await other.post("/sign-in", data=data, headers=OURS))
        assert [a.status_code for a in tried] == [403] * 8
        assert not any("moat_session" in a.headers.get("set-cookie", "") for a in tried)
        assert (await browser.post("/sign-in", data=data, headers=OURS)).status_code == 303, "none used it up"


async def test_wrong_links_are_refused_and_then_limited_and_the_audit_knows(rig: Rig) -> None:
    async with client(rig) as browser:
        data = await form(browser, "moatlink_nonsense")
        codes = [(await browser.post("/sign-in", data=data, headers=OURS)).status_code for _ in range(8)]
        right = {**data, "link": rig.identity.link("admin", rig.clock.now)}
        shut = await browser.post("/sign-in", data=right, headers=OURS)
        rig.clock.now += 60
        again = await browser.post("/sign-in", data=right, headers=OURS)
    assert codes == [403] * 5 + [429] * 3
    assert (shut.status_code, again.status_code) == (429, 303)
    audit = [line for stream, line in rig.committer.taken if stream.logstore == "audit"]
    assert [b"failure" in line for line in audit] == [True] * 5 + [False]


async def test_a_hostile_link_is_text_on_the_page(rig: Rig) -> None:
    async with client(rig) as browser:
        page = await browser.get("/sign-in", params={"link": '"><script>alert(1)</script>'})
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_signing_out_wants_our_form_and_ends_the_session(rig: Rig) -> None:
    now = rig.clock.now
    secret, _ = rig.identity.sign_in(rig.identity.link("admin", now), "203.0.113.9", now)
    async with client(rig) as browser:
        browser.cookies.set("moat_session", secret)
        token = {"token": form_token(secret)}
        forged = await browser.post("/sign-out", data=token, headers={"Origin": "http://evil.example"})
        blind = await browser.post("/sign-out", data={"token": "x"}, headers=OURS)
        assert rig.identity.session(secret, now) is not None
        done = await browser.post("/sign-out", data=token, headers=OURS)
    assert [a.status_code for a in (forged, blind, done)] == [403, 403, 303]
    assert rig.identity.session(secret, now) is None


async def test_a_large_form_and_an_unknown_file_are_refused(rig: Rig) -> None:
    async with client(rig) as browser:
        large = await browser.post("/sign-in", content=b"x" * 10_000, headers=OURS)
        many = await browser.post("/sign-in", content=b"a=1&" * 2000, headers=OURS)
        files = [
            await browser.get(f"/assets/{name}")
            for name in ("console.css", "mark.svg", "server.py", "..%2fgate.py")
        ]
    assert large.status_code == 413
    assert many.status_code == 400
    assert [a.status_code for a in files] == [200, 200, 404, 404]
