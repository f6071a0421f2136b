"""Gate: no page, file or websocket of the console without a session.

ASGI middleware around NiceGUI's whole app. A websocket is let in by the same cookie, from our own
origin only, and is closed within ``TICK`` seconds of its session's end. HTML is sent with a
content security policy under which only scripts with this answer's nonce run: markup that came from a
log, should it ever get into a page, executes nothing and loads nothing from elsewhere.
"""

import asyncio
import secrets
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepmoat.console.origin import ours
from deepmoat.console.services import ConsoleServices
from deepmoat.identity.cookies import session_cookie
from deepmoat.identity.roles import Visitor
from deepmoat.kit.meters import count

TICK = 0.5
SIGN_IN = "/sign-in"
SOCKET = "/_nicegui_ws"
_ENDED = 4401
_EVENT = '42["event"'
"""How a message begins that a person's click or key made: only those keep a session alive."""


class Gate:
    """Let visitors with a session pass."""

    def __init__(self, app: ASGIApp, services: ConsoleServices) -> None:
        self.app, self.services = app, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request or websocket."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        secret = _secret(scope)
        visitor = await self._visitor(secret, active=scope["type"] == "http")
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send, secret, visitor)
            return
        await self._page(scope, receive, send, secret, visitor)

    async def _page(
        self, scope: Scope, receive: Receive, send: Send, secret: str, visitor: Visitor | None
    ) -> None:
        if scope["method"] not in ("GET", "HEAD") or scope["path"].startswith(SOCKET):
            await PlainTextResponse("not here", 405)(scope, receive, send)
            return
        if visitor is None:
            page = not scope["path"].startswith("/_nicegui")
            stranger = RedirectResponse(SIGN_IN, 303) if page else PlainTextResponse("sign in first", 401)
            await stranger(scope, receive, send)
            return
        scope.setdefault("state", {}).update(visitor=visitor, secret=secret)
        await self.app(scope, receive, _with_policy(send))

    async def _socket(
        self, scope: Scope, receive: Receive, send: Send, secret: str, visitor: Visitor | None
    ) -> None:
        if visitor is None or not ours(Headers(scope=scope), self.services.settings.url):
            count("deepmoat_console_refused_sockets_total", reason="origin" if visitor else "session")
            await send({"type": "websocket.close", "code": _ENDED})
            return
        watched = _Watched(receive, send, lambda active: self._visitor(secret, active=active))
        await self.app(scope, watched.receive, watched.send)

    async def _visitor(self, secret: str, *, active: bool) -> Visitor | None:
        if not secret:
            return None
        look = self.services.identity.session
        return await to_thread.run_sync(lambda: look(secret, self.services.now(), active=active))


class _Watched:
    """A websocket that ends with its session."""

    def __init__(self, receive: Receive, send: Send, visitor: "Callable[[bool], object]") -> None:
        self._receive, self._send, self._visitor = receive, send, visitor
        self._pending: asyncio.Future[Message] | None = None
        self._over = False

    async def receive(self) -> Message:
        """The next message; a disconnect once the session is over."""
        while not self._over:
            self._pending = self._pending or asyncio.ensure_future(self._receive())
            done, _ = await asyncio.wait({self._pending}, timeout=TICK)
            message = self._pending.result() if done else None
            if message and message["type"] == "websocket.disconnect":
                return message
            active = bool(message and str(message.get("text", "")).startswith(_EVENT))
            if not await self._visitor(active):  # type: ignore[misc]
                await self._end()
            elif message:
                self._pending = None
                return message
        return {"type": "websocket.disconnect", "code": _ENDED}

    async def send(self, message: Message) -> None:
        """Pass on while the session lasts."""
        if not self._over:
            await self._send(message)

    async def _end(self) -> None:
        self._over = True
        if self._pending and not self._pending.done():
            self._pending.cancel()
        await self._send({"type": "websocket.close", "code": _ENDED})


def _secret(scope: Scope) -> str:
    try:
        jar = SimpleCookie(Headers(scope=scope).get("cookie", ""))
    except CookieError:
        return ""
    return session_cookie({name: morsel.value for name, morsel in jar.items()})


def policy(nonce: str) -> str:
    """The content security policy of a page. Vue compiles templates, hence ``unsafe-eval``."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
    )


def _with_policy(send: Send) -> Send:
    """Give HTML answers their policy, and their own scripts its nonce."""
    nonce = secrets.token_urlsafe(16)
    start: list[Message] = []
    parts: list[bytes] = []

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and _is_html(message):
            start.append(message)
            return
        if not start:
            await send(message)
            return
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            body = b"".join(parts).replace(b"<script", b'<script nonce="' + nonce.encode() + b'"')
            await send(_headed(start[0], nonce, len(body)))
            await send({"type": "http.response.body", "body": body})

    return sending


def _is_html(message: Message) -> bool:
    return any(n.lower() == b"content-type" and v.startswith(b"text/html") for n, v in message["headers"])


def _headed(start: Message, nonce: str, length: int) -> Message:
    mine = {b"content-length": str(length).encode(), b"content-security-policy": policy(nonce).encode()}
    mine[b"referrer-policy"] = b"same-origin"
    others = [(n, v) for n, v in start["headers"] if n.lower() not in mine]
    return {**start, "headers": [*others, *mine.items()]}
