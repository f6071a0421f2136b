"""The demo's script: start everything, let people live, attack, and say what happened when."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from rich.console import Console
from rich.table import Table

from deepmoat.app.credentials import open_identity
from deepmoat.app.demo.people import BRUTE_ADDRESS, Person, attackers, honest
from deepmoat.app.demo.toy import ports
from deepmoat.app.demo.traffic import Crowd, Tally, flood, guess, live
from deepmoat.app.links import link_url
from deepmoat.app.settings import read
from deepmoat.kit.errors import TransientError

HONEST, BOTS, BOT_RATE = 60, 40, 30.0
_WARM_UP, _FLOOD, _GUESS, _GUESS_RATE = 12.0, 15.0, 12.0, 12.0
_SETTINGS = """\
data = "data"
[edge]
listen = "127.0.0.1:{edge}"
workers = 1
trusted_forwarders = ["127.0.0.1/32"]
[[edge.backends]]
address = "127.0.0.1:{toy}"
health = "/"
[api]
listen = "127.0.0.1:{core}"
[collect]
login_paths = []  # the toy reports its logins itself, with the account's name
[[alert.channels]]
kind = "webhook"
url = "http://127.0.0.1:{hook}/"
"""


@dataclass
class Stage:
    """Where everything listens, what the webhook was told, and when (seconds since 1970)."""

    folder: Path
    edge: str
    core: str
    hook: int
    toy: int
    told: list[tuple[float, dict[str, Any]]] = field(default_factory=list)


async def demo(seconds: float | None, keep: str | None, stop: asyncio.Event) -> int:
    """Run until ``stop``, or ``seconds``; 0 when an incident, an alert and a block were seen.

    The data folder is a temporary one, or stays in ``keep``.
    """
    console = Console(highlight=False)
    async with AsyncExitStack() as stack:
        folder = Path(keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="deepmoat-demo-")))
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        stage = await _set(stack, folder, console)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=30),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        )
        good, bad, brute = (Crowd(stage.edge, session) for _ in range(3))
        ending = asyncio.ensure_future(_end_after(seconds, stop))
        people = [asyncio.ensure_future(live(good, p, n, stop)) for n, p in enumerate(honest(HONEST))]
        await _attack(stage, good, bad, brute, stop, console)
        _summary(stage, good.tally, bad.tally, brute.tally, console)
        if seconds is None and not stop.is_set():
            console.print("\nHonest traffic goes on. Ctrl-C ends it.")
        await stop.wait()
        ending.cancel()
        await asyncio.gather(*people)
        console.print(
            f"\nhonest requests {sum(good.tally.statuses.values()):,}, refused {good.tally.refused}"
        )
    return 0 if stage.told and bad.tally.first_refused and not good.tally.refused else 1


async def _set(stack: AsyncExitStack, folder: Path, console: Console) -> Stage:
    edge, core, toy, hook = ports((8080, 8600, 0, 0))
    stage = Stage(folder, f"http://127.0.0.1:{edge}", f"http://127.0.0.1:{core}", hook, toy)
    settings = folder / "moat.toml"
    settings.write_text(_SETTINGS.format(edge=edge, core=core, toy=toy, hook=hook))
    await stack.enter_async_context(_webhook(stage))
    key, link = _credentials(settings)
    await stack.enter_async_context(
        _child(
            "toy", "--port", str(toy), "--report", f"{stage.core}/ingest/security", env={"DEEPMOAT_KEY": key}
        )
    )
    await stack.enter_async_context(_child("up", "--settings", str(settings), log=folder / "deepmoat.log"))
    await _ready(stage, folder / "deepmoat.log")
    console.print(f"[bold]console[/]  {link}", soft_wrap=True)
    console.print(f"[bold]edge[/]     {stage.edge}  (in front of a toy model backend)")
    return stage


def _credentials(settings: Path) -> tuple[str, str]:
    """An ingestion key for the toy and a sign-in link for the reader, made before the core starts."""
    place = read(str(settings))
    with open_identity(place) as identity:
        _, key = identity.make_key("toy", "ingest", "demo", time.time())
        link = identity.first_start(time.time()) or ""
    return key, link_url(place.moat, link)


@asynccontextmanager
async def _webhook(stage: Stage) -> AsyncIterator[None]:
    """The person who is told: a webhook that keeps what it got and when."""

    async def told(request: web.Request) -> web.Response:
        stage.told.append((time.time(), await request.json()))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/", told)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", stage.hook).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _child(
    *verb: str, env: dict[str, str] | None = None, log: Path | None = None
) -> AsyncIterator[None]:
    """A process of ours for as long as the block lasts; drained at its end."""
    with (log or Path(os.devnull)).open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deepmoat.cli.main",
            *verb,
            env={**os.environ, **(env or {})},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 12)
            except TimeoutError:
                process.kill()


async def _ready(stage: Stage, log: Path) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            if await _answers(session, f"{stage.core}/readyz") and await _answers(session, f"{stage.edge}/"):
                return
            await asyncio.sleep(0.2)
    said = await asyncio.to_thread(log.read_text)
    raise TransientError("deepmoat did not become ready in 60 s", where="demo", hint=said[-2000:])


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _attack(
    stage: Stage, good: Crowd, bad: Crowd, brute: Crowd, stop: asyncio.Event, console: Console
) -> None:
    console.print(f"\n{HONEST} people use the service for {_WARM_UP:.0f} s …")
    await _sleep(stop, _WARM_UP)
    console.print(
        f"[red]attack[/]: {BOTS} addresses, {BOT_RATE:.0f} requests/s each, and one that guesses passwords …"
    )
    guesser = Person(BRUTE_ADDRESS, "curl/8.11")
    await asyncio.gather(
        flood(bad, attackers(BOTS), BOT_RATE, _FLOOD, stop), guess(brute, guesser, _GUESS_RATE, _GUESS, stop)
    )
    await _sleep(stop, 2)


async def _end_after(seconds: float | None, stop: asyncio.Event) -> None:
    if seconds is not None:
        await asyncio.sleep(seconds)
        stop.set()


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def _summary(stage: Stage, good: Tally, bad: Tally, brute: Tally, console: Console) -> None:
    table = Table(title="What happened, in seconds from the first attack request", title_justify="left")
    for name in ("incident", "finding", "alert", "block"):
        table.add_column(name, justify="left" if name == "incident" else "right")
    for row in _rows(stage, bad, brute):
        table.add_row(*row)
    console.print(table)
    for name, tally in (("flood", bad), ("password guessing", brute)):
        total = sum(tally.statuses.values())
        console.print(f"{name}: {total:,} requests, {tally.refused:,} refused at the edge")
    total = sum(good.statuses.values())
    console.print(
        f"[bold]honest requests refused: {good.refused}[/] of {total:,} ({good.chats} streamed chats)"
    )


def _rows(stage: Stage, bad: Tally, brute: Tally) -> Iterator[tuple[str, ...]]:
    for at, message in stage.told:
        incident = message["incident"]
        tally = brute if "brute" in incident["detector"] else bad
        begin, opened = (
            tally.first_request,
            datetime.fromisoformat(incident["opened"]).astimezone(UTC).timestamp(),
        )
        blocked = f"{tally.first_refused - begin:.2f}" if tally.first_refused else "-"
        yield incident["title"], f"{opened - begin:.2f}", f"{at - begin:.2f}", blocked
