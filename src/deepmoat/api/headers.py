"""Headers every answer of the API carries, and the paths that are the API's."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = ("/api/", "/v1/", "/ingest/", "/healthz", "/readyz", "/metrics")

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_API = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"cache-control", b"no-store"),
)


class Headers:
    """ASGI middleware: safe headers on every answer, and nothing of the API cached or rendered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, adding headers to the answer that it does not set itself."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        extra = _HEADERS + _API if scope["path"].startswith(PATHS) else _HEADERS

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in extra if h[0] not in present)]
            await send(message)

        await self.app(scope, receive, sending)
