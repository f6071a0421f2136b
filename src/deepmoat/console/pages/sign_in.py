"""Sign in by a one-time link, and out again. Plain HTML: nothing runs before somebody is known.

A link is looked at by mail scanners and chat previews, so GET only shows a button; the POST it makes
uses the link up. That POST wants our own Origin and the token of the form in a cookie of its own, so
that no other site can sign anybody in (or out).
"""

import secrets
from html import escape
from importlib.resources import files
from urllib.parse import parse_qs

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from deepmoat.console.origin import ours, secure
from deepmoat.console.services import ConsoleServices
from deepmoat.identity.audit import Entry
from deepmoat.identity.cookies import form_cookie, name_of, session_cookie
from deepmoat.identity.secret import form_token, same
from deepmoat.kit.errors import PeerError

OPEN = frozenset({"/sign-in", "/sign-out", "/assets/console.css", "/assets/mark.svg"})
"""Paths that need no session, with those under ``/sign-in/``. ``/sign-out`` ends the one it is given."""

_MOST = 8192
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}


def routes(services: ConsoleServices) -> APIRouter:
    """The router of sign-in and sign-out."""
    router = APIRouter(include_in_schema=False)
    desk = _SignIn(services)
    router.add_api_route("/sign-in", desk.show, methods=["GET"])
    router.add_api_route("/sign-in/{link}", desk.show, methods=["GET"])
    router.add_api_route("/sign-in", desk.sign_in, methods=["POST"])
    router.add_api_route("/sign-out", desk.sign_out, methods=["POST"])
    router.add_api_route("/assets/{name}", _asset, methods=["GET"])
    return router


class _SignIn:
    """The three ways through the door."""

    def __init__(self, services: ConsoleServices) -> None:
        self.services, self.identity = services, services.identity

    async def show(self, request: Request, link: str = "") -> Response:
        """The confirm button for ``link``; without one, how to get one."""
        token = secrets.token_urlsafe(24)
        page = _page(_confirm(link, token) if link else _EXPLAIN)
        self._set(page, request, "form", token, 600)
        return page

    async def sign_in(self, request: Request) -> Response:
        """Use the link up."""
        form = await _form(request)
        if not (self._from_us(request) and same(form.get("token", ""), form_cookie(request.cookies))):
            return _page(_refused("This form was not ours, or is too old.", "Open the link again."), 403)
        link, address, now = form.get("link", ""), _address(request), self.services.now()
        try:
            secret, visitor = await to_thread.run_sync(self.identity.sign_in, link, address, now)
        except PeerError as exc:
            if exc.status != 429:  # a flood of attempts must not become a flood of audit records
                await self._audit(Entry("", "sign_in", address, "failure"))
            return _page(_refused(exc.message, exc.hint), exc.status)
        await self._audit(Entry(visitor.name, "sign_in", address))
        answer = RedirectResponse("/", 303, _HEADERS)
        self._set(answer, request, "session", secret, int(self.identity.settings.session_absolute))
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End the session: its pages' websockets close within a second."""
        secret = session_cookie(request.cookies)
        form = await _form(request)
        if not (self._from_us(request) and same(form.get("token", ""), form_token(secret))):
            return _page(_refused("This form was not ours.", "Go back and try again."), 403)
        visitor = await to_thread.run_sync(self.identity.session, secret, self.services.now())
        await to_thread.run_sync(self.identity.sign_out, secret)
        if visitor:
            await self._audit(Entry(visitor.name, "sign_out", _address(request)))
        answer = RedirectResponse("/sign-in", 303, _HEADERS)
        self._set(answer, request, "session", "", 0)
        return answer

    def _from_us(self, request: Request) -> bool:
        return ours(request.headers, self.services.settings.url)

    async def _audit(self, entry: Entry) -> None:
        await self.services.desk.audit.write(entry)

    def _set(self, answer: Response, request: Request, kind: str, value: str, seconds: int) -> None:
        safe = secure(request.url.scheme, self.services.settings.url)
        answer.set_cookie(
            name_of(kind, secure=safe),
            value,
            max_age=seconds,
            path="/",
            secure=safe,
            httponly=True,
            samesite="strict" if kind == "form" else "lax",
        )


async def _asset(name: str) -> Response:
    """Style and mark, for those who are not signed in yet, too."""
    if f"/assets/{name}" not in OPEN:
        raise PeerError("no such file", status=404)
    kind = "text/css" if name.endswith(".css") else "image/svg+xml"
    data = files("deepmoat.console").joinpath("static", name).read_bytes()
    return Response(data, media_type=kind, headers={"Cache-Control": "no-cache"})


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; PeerError 413 for a large one, 400 for one that is none."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MOST:
            raise PeerError("the form is too large", status=413)
    try:
        fields = parse_qs(data.decode("ascii", "replace"), max_num_fields=8)
    except ValueError as exc:
        raise PeerError("no form of ours", where="body") from exc
    return {name: values[0] for name, values in fields.items()}


def _page(inner: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_SHELL.replace("{inner}", inner), status, _HEADERS)


def _confirm(link: str, token: str) -> str:
    return (
        "<h1>Sign in</h1><p>This link works once, and only in this browser from now on.</p>"
        '<form method="post" action="/sign-in">'
        f'<input type="hidden" name="link" value="{escape(link)}">'
        f'<input type="hidden" name="token" value="{escape(token)}">'
        '<button type="submit" autofocus>Sign in to deepmoat</button></form>'
    )


def _refused(what: str, hint: str) -> str:
    return f'<h1>Not signed in</h1><p class="bad">{escape(what)}</p><p>{escape(hint)}</p>'


_EXPLAIN = (
    "<h1>Sign in</h1><p>deepmoat has no passwords. You sign in with a link that works once.</p>"
    "<p>Get one on the server:</p><pre>deepmoat link</pre>"
)
_SHELL = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>deepmoat</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/assets/mark.svg"><link rel="stylesheet" href="/assets/console.css"></head>
<body class="moat-plain"><main class="moat-door"><img src="/assets/mark.svg" alt="" width="44" height="44">
{inner}</main></body></html>
"""
