"""A toy model service: a page with its assets, a login that reports its outcomes, a chat that streams.

It speaks the real protocols (OpenAI chat completions with server-sent events and a usage chunk); only the
words are made up.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
from aiohttp import web

_WORDS = [
    "a",
    "moat",
    "keeps",
    "what",
    "is",
    "inside",
    "safe",
    "and",
    "lets",
    "the",
    "friends",
    "come",
    "in",
    "over",
    "the",
    "bridge",
]
_PASSWORDS = {f"user{n}": f"correct-horse-{n}" for n in range(200)}
_SERVICE: web.AppKey["Toy"] = web.AppKey("toy")


class Toy:
    """The service's own state: login outcomes waiting to be reported to the moat."""

    def __init__(self, report_url: str, key: str) -> None:
        self.report_url, self.key = report_url, key
        self.outcomes: list[dict[str, Any]] = []

    async def report(self) -> None:
        """Send login outcomes as JSON lines, as any service can; what is not taken is sent again."""
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.key}"}) as session:
            while True:
                await asyncio.sleep(0.2)
                batch, self.outcomes = self.outcomes, []
                if batch and not await self._send(session, batch):
                    self.outcomes = batch + self.outcomes

    async def _send(self, session: aiohttp.ClientSession, batch: list[dict[str, Any]]) -> bool:
        body = "".join(json.dumps(outcome) + "\n" for outcome in batch)
        try:
            async with session.post(self.report_url, data=body) as answer:
                return answer.status < 500
        except aiohttp.ClientError:
            return False


async def page(request: web.Request) -> web.Response:
    """The page and its assets."""
    return web.Response(text="<!doctype html><title>toy chat</title>" + "." * 800, content_type="text/html")


async def login(request: web.Request) -> web.Response:
    """Check a password and report how it went, with the client's address as the moat forwarded it."""
    form = await request.post()
    user = str(form.get("user", ""))
    right = _PASSWORDS.get(user) == form.get("password")
    request.app[_SERVICE].outcomes.append(
        {
            "time": time.time(),
            "event_action": "login",
            "event_outcome": "success" if right else "failure",
            "user_name": user,
            "client_address": client_of(request.headers.get("X-Forwarded-For", "")),
            "service_name": "toy-chat",
            "server_address": request.host,
        }
    )
    return web.json_response({"ok": right}, status=200 if right else 401)


def client_of(forwarded: str) -> str:
    """The address that the nearest forwarder beyond this machine saw.

    >>> client_of("203.0.113.9, 198.51.100.7, 127.0.0.1")
    '198.51.100.7'
    """
    addresses = [part.strip() for part in forwarded.split(",")]
    return next((a for a in reversed(addresses) if a != "127.0.0.1"), "")


async def chat(request: web.Request) -> web.StreamResponse:
    """OpenAI chat completions, streamed or whole, with the usage of both kinds."""
    asked = await request.json()
    usage = {"prompt_tokens": len(str(asked.get("messages"))) // 4, "completion_tokens": len(_WORDS)}
    if not asked.get("stream"):
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": " ".join(_WORDS)},
        }
        return web.json_response({"id": "toy", "model": "toy-1", "choices": [choice], "usage": usage})
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await answer.prepare(request)
    for event in _events(usage):
        await answer.write(f"data: {event}\n\n".encode())
        await asyncio.sleep(0.02)
    await answer.write_eof()
    return answer


def _events(usage: dict[str, int]) -> Iterator[str]:
    head = {"id": "toy", "object": "chat.completion.chunk", "model": "toy-1"}
    for word in _WORDS:
        yield json.dumps(head | {"choices": [{"index": 0, "delta": {"content": word + " "}}]})
    yield json.dumps(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield json.dumps(head | {"choices": [], "usage": usage})
    yield "[DONE]"


async def serve(port: int, report_url: str, key: str, stop: asyncio.Event) -> None:
    """Serve on loopback until ``stop``."""
    app = web.Application()
    app[_SERVICE] = toy = Toy(report_url, key)
    app.add_routes(
        [web.post("/login", login), web.post("/v1/chat/completions", chat), web.get("/{path:.*}", page)]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    reporting = asyncio.ensure_future(toy.report())
    try:
        await stop.wait()
    finally:
        reporting.cancel()
        await runner.cleanup()


def ports(wanted: tuple[int, ...]) -> Iterator[int]:
    """``wanted`` where they are free, others where they are not."""
    import socket

    for first in wanted:
        for port in itertools.chain((first,), (0,)):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                yield probe.getsockname()[1]
                break
