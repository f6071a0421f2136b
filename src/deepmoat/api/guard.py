"""The guard: a route names the permission it needs, and gets the visitor who has it."""

from collections.abc import Awaitable, Callable

from anyio import to_thread
from fastapi import Request

from deepmoat.api.services import Services
from deepmoat.identity.cookies import session_cookie
from deepmoat.identity.roles import Permission, Visitor
from deepmoat.kit.errors import PeerError
from deepmoat.kit.meters import count

Guard = Callable[[Request], Awaitable[Visitor]]


def guard(services: Services, permission: Permission) -> Guard:
    """A dependency that gives the visitor, or raises PeerError 401 or 403.

    An API key comes as ``Authorization: Bearer``. The console's session cookie counts for reading only
    (GET), so that no other site can make a browser change anything.
    """

    async def check(request: Request) -> Visitor:
        visitor = await who(services, request)
        if visitor is None:
            count("deepmoat_api_refused_requests_total", reason="no_credential")
            raise PeerError(
                "no valid API key", status=401, hint="send the header: Authorization: Bearer moatkey_…"
            )
        visitor.require(permission)
        return visitor

    return check


async def who(services: Services, request: Request) -> Visitor | None:
    """The visitor behind a request; None for a stranger."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await to_thread.run_sync(services.identity.key, secret.strip(), services.now())
    cookie = session_cookie(request.cookies)
    if cookie and request.method in ("GET", "HEAD"):
        return await to_thread.run_sync(services.identity.session, cookie, services.now())
    return None


def address_of(request: Request) -> str:
    """The client's address, as far as our own server and its forwarders know it."""
    return request.client.host if request.client else ""
