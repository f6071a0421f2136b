"""Honest traffic and the attack, as real requests through the real edge."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from deepmoat.app.demo.people import Person

_ASSETS = [
    f"/assets/{name}" for name in ("app.js", "chat.js", "style.css", "logo.svg", "font.woff2", "hero.webp")
]
_FAILED = 0


@dataclass
class Tally:
    """What a crowd got: answers by status (0: none), when it first asked and was first refused."""

    statuses: Counter[int] = field(default_factory=Counter)
    first_request: float = 0.0
    first_refused: float = 0.0
    chats: int = 0

    def add(self, status: int, started: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        self.first_request = self.first_request or started
        if status in (403, 429) and not self.first_refused:
            self.first_refused = time.time()

    @property
    def refused(self) -> int:
        """Requests turned away or not answered."""
        return sum(n for status, n in self.statuses.items() if status in (_FAILED, 403, 429) or status >= 500)


class Crowd:
    """People who share a tally and a pool of connections to one edge."""

    def __init__(self, edge: str, session: aiohttp.ClientSession) -> None:
        self.edge, self.session, self.tally = edge, session, Tally()

    async def get(self, person: Person, path: str) -> None:
        """One page or asset."""
        await self._ask("GET", person, path)

    async def log_in(self, person: Person, user: str, password: str) -> None:
        """One attempt at the login."""
        await self._ask("POST", person, "/login", data={"user": user, "password": password})

    async def chat(self, person: Person, key: str) -> None:
        """One streamed conversation turn."""
        body = {
            "model": "toy-1",
            "stream": True,
            "messages": [{"role": "user", "content": "why do castles have moats?"}],
        }
        await self._ask(
            "POST", person, "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}
        )
        self.tally.chats += 1

    async def _ask(
        self, method: str, person: Person, path: str, *, headers: dict[str, str] | None = None, **body: Any
    ) -> None:
        started = time.time()
        self.tally.first_request = self.tally.first_request or started
        try:
            async with self.session.request(
                method, self.edge + path, headers=person.headers() | (headers or {}), **body
            ) as answer:
                await answer.read()
                self.tally.add(answer.status, started)
        except (aiohttp.ClientError, TimeoutError):
            self.tally.add(_FAILED, started)


async def live(crowd: Crowd, person: Person, number: int, stop: asyncio.Event) -> None:
    """An honest person: opens the page, logs in (sometimes with a typo first), chats, thinks, again."""
    choose = random.Random(number)
    user = f"user{number}"
    await _pause(stop, choose.uniform(0, 5))
    while not stop.is_set():
        await asyncio.gather(*(crowd.get(person, path) for path in ["/", *_ASSETS]))
        if choose.random() < 0.1:
            await crowd.log_in(person, user, "correct-hrose")
        await crowd.log_in(person, user, f"correct-horse-{number}")
        for _ in range(choose.randint(1, 3)):
            await _pause(stop, choose.uniform(1, 4))
            if stop.is_set():
                return
            await crowd.chat(person, f"sk-demo-{number:04d}")
        await _pause(stop, choose.uniform(2, 8))


async def flood(
    crowd: Crowd, bots: Sequence[Person], rate: float, seconds: float, stop: asyncio.Event
) -> None:
    """Every bot asks ``rate`` times a second for ``seconds``, whatever it is told."""
    await asyncio.gather(*(_bot(crowd, bot, rate, seconds, stop) for bot in bots))


async def _bot(crowd: Crowd, bot: Person, rate: float, seconds: float, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for n in range(int(rate * seconds)):
        await _pause(stop, begin + n / rate - loop.time())
        if stop.is_set():
            return
        await crowd.get(bot, f"/?q={n}")


async def guess(crowd: Crowd, bot: Person, rate: float, seconds: float, stop: asyncio.Event) -> None:
    """Try passwords on many accounts from one address."""
    for n in range(int(rate * seconds)):
        if stop.is_set():
            return
        await crowd.log_in(bot, f"user{n % 50}", f"Password{n}!")
        await _pause(stop, 1 / rate)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    if seconds <= 0:
        return
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
