"""The gate by itself: what it lets in, what it adds to pages, and how a websocket ends with its session."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import HTMLResponse
from starlette.types import Message, Receive, Scope, Send
from web_rig import Rig

from deepmoat.console.gate import Gate
from deepmoat.store.logs.database import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(database, tmp_path)
    yield rig
    rig.close()


def signed_in(rig: Rig) -> str:
    now = rig.clock.now
    return rig.identity.sign_in(rig.identity.link("admin", now), "192.0.2.1", now)[0]


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that shows a page, or echoes a websocket until it ends."""
    if scope["type"] == "http":
        page = "<html><script>1</script><script defer src='/x.js'></script>&lt;script&gt;</html>"
        await HTMLResponse(page)(scope, receive, send)
        return
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message.get("text", "")})


class Socket:
    """One websocket: what the browser sends, and what it gets."""

    def __init__(self, rig: Rig, headers: dict[str, str]) -> None:
        self.to_app: asyncio.Queue[Message] = asyncio.Queue()
        self.from_app: asyncio.Queue[Message] = asyncio.Queue()
        scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/_nicegui_ws/socket.io/",
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        }
        gate = Gate(inner, rig.console_services())
        self.task = asyncio.ensure_future(gate(scope, self.to_app.get, self.from_app.put))

    async def say(self, text: str) -> str:
        await self.to_app.put({"type": "websocket.receive", "text": text})
        message = await self.next()
        return str(message.get("text", message["type"]))

    async def next(self) -> Message:
        return await asyncio.wait_for(self.from_app.get(), 5)


def headers(secret: str, **more: str) -> dict[str, str]:
    return {"host": "moat", "origin": "http://moat", "cookie": f"moat_session={secret}"} | more


async def test_a_stranger_is_sent_to_sign_in_and_gets_no_file(rig: Rig) -> None:
    gate = Gate(inner, rig.console_services())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://moat") as browser:
        for path in ("/", "/search?q=x", "/incidents", "/nonsense", "//evil.example"):
            answer = await browser.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in"), path
        for path in ("/_nicegui/3/static/nicegui.js", "/_nicegui/x"):
            assert (await browser.get(path)).status_code == 401
        browser.cookies.set("moat_session", "moatsession_0123456789ab_" + "0" * 64)
        assert (await browser.get("/")).status_code == 303


async def test_a_page_of_a_session_runs_only_its_own_scripts(rig: Rig) -> None:
    gate = Gate(inner, rig.console_services())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://moat") as browser:
        browser.cookies.set("moat_session", signed_in(rig))
        first, second = await browser.get("/"), await browser.get("/")
        posted = await browser.post("/")
        polled = await browser.get("/_nicegui_ws/socket.io/?transport=polling")
    policy = first.headers["content-security-policy"]
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert first.text.count(f'<script nonce="{nonce}"') == 2
    assert "&lt;script&gt;" in first.text
    assert nonce not in second.text
    assert "script-src 'self' 'nonce-" in policy
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    assert int(first.headers["content-length"]) == len(first.content)
    assert (posted.status_code, polled.status_code) == (405, 405)


WRONG = (
    {"cookie": ""},
    {"cookie": "moat_session=x"},
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://moat.evil.example"},
    {"origin": "file://moat"},
)


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_websocket_without_session_or_from_elsewhere_is_never_accepted(
    rig: Rig, wrong: dict[str, str]
) -> None:
    socket = Socket(rig, headers(signed_in(rig)) | wrong)
    assert (await socket.next())["type"] == "websocket.close"
    await asyncio.wait_for(socket.task, 5)


async def test_a_websocket_ends_when_its_session_is_signed_out_elsewhere(rig: Rig) -> None:
    secret = signed_in(rig)
    socket, other = Socket(rig, headers(secret)), Socket(rig, headers(signed_in(rig)))
    assert [(await s.next())["type"] for s in (socket, other)] == ["websocket.accept"] * 2
    assert await socket.say("hello") == "hello"
    rig.identity.sign_out(secret)
    assert (await socket.next())["type"] == "websocket.close", "although nobody sent anything"
    await asyncio.wait_for(socket.task, 5)
    assert await other.say("still here") == "still here"
    await other.to_app.put({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait_for(other.task, 5)


async def test_a_websocket_ends_when_its_session_is_over(rig: Rig) -> None:
    socket = Socket(rig, headers(signed_in(rig)))
    await socket.next()
    rig.clock.now += rig.identity.settings.session_idle
    assert (await socket.next())["type"] == "websocket.close"
    await asyncio.wait_for(socket.task, 5)


async def test_only_what_a_person_does_keeps_a_session_alive(rig: Rig) -> None:
    idle = rig.identity.settings.session_idle
    busy, still = Socket(rig, headers(signed_in(rig))), Socket(rig, headers(signed_in(rig)))
    for socket in (busy, still):
        await socket.next()
    rig.clock.now += idle - 10
    assert await busy.say('42["event",{"client_id":"x"}]') == '42["event",{"client_id":"x"}]'
    assert await still.say("3") == "3"
    rig.clock.now += 60
    assert await busy.say("3") == "3"
    assert await still.say("3") == "websocket.close"
    await busy.to_app.put({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait_for(asyncio.gather(busy.task, still.task), 5)
