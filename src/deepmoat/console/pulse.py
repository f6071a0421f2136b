"""Pulse: the overview's numbers, asked once for all who look, however many do."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from anyio import to_thread

from deepmoat.console.services import ConsoleServices
from deepmoat.model import Action, Incident, Query, Result

SPAN = 900
STEP = 10
_TRAFFIC = (
    "* | select __time__ - __time__ % 10 as t, count(*) as requests, "
    "count_if(status >= 500) as failed, count_if(verdict in ('block', 'limit')) as stopped "
    "from log group by t order by t limit 91"
)
_COUNTRIES = (
    "* | select client_country as country, count(*) as requests from log "
    "group by country order by requests desc limit 8"
)


class Bucket(msgspec.Struct, frozen=True):
    """``STEP`` seconds of traffic. ``stopped`` requests were blocked or limited; ``failed`` are 5xx."""

    time: int
    requests: int = 0
    failed: int = 0
    stopped: int = 0


class Beat(msgspec.Struct, frozen=True):
    """What the overview shows. ``trouble`` says why the numbers are missing, when they are."""

    at: float
    buckets: tuple[Bucket, ...] = ()
    countries: tuple[tuple[str, int], ...] = ()
    incidents: Sequence[Incident] = ()
    actions: Sequence[Action] = ()
    trouble: str = ""

    def recent(self, seconds: int) -> Bucket:
        """The sum of the last whole buckets within ``seconds``."""
        whole = [b for b in self.buckets if self.at - seconds - STEP <= b.time <= self.at - STEP]
        requests, failed = sum(b.requests for b in whole), sum(b.failed for b in whole)
        return Bucket(int(self.at) - seconds, requests, failed, sum(b.stopped for b in whole))


class Pulse:
    """Ask at most every ``settings.refresh`` seconds."""

    def __init__(self, services: ConsoleServices) -> None:
        self.services = services
        self._beat = Beat(0.0)
        self._lock = asyncio.Lock()

    async def latest(self) -> Beat:
        """The newest numbers."""
        async with self._lock:
            now = self.services.now()
            if not 0 <= now - self._beat.at < self.services.settings.refresh * 0.9:
                self._beat = await self._ask(now)
        return self._beat

    def forget(self) -> None:
        """Ask again next time: somebody changed something."""
        self._beat = Beat(0.0)

    async def _ask(self, now: float) -> Beat:
        moment = datetime.fromtimestamp(now, UTC)
        incidents, actions = await to_thread.run_sync(
            lambda: (
                self.services.incidents.list(status="open", limit=50),
                self.services.actions.in_force(moment),
            )
        )
        since = moment - timedelta(seconds=SPAN)
        desk = self.services.desk
        try:
            traffic = await desk.look(Query(_TRAFFIC, "access", since, moment), now)
            countries = await desk.look(Query(_COUNTRIES, "access", since, moment), now)
        except Exception as exc:  # noqa: BLE001 - the page says so and tries again
            return Beat(now, filled((), now), (), incidents, actions, str(exc))
        named = tuple((str(code) or "unknown", int(n)) for code, n in countries.rows)
        return Beat(now, filled(buckets(traffic), now), named, incidents, actions)


def buckets(result: Result) -> tuple[Bucket, ...]:
    """The rows of ``_TRAFFIC``."""
    return tuple(Bucket(*(int(v) for v in row)) for row in result.rows)


def filled(found: Sequence[Bucket], now: float) -> tuple[Bucket, ...]:
    """All buckets of the span, empty ones too."""
    last = int(now) // STEP * STEP
    known = {b.time: b for b in found}
    return tuple(known.get(t, Bucket(t)) for t in range(last - SPAN + STEP, last + STEP, STEP))
