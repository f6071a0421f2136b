"""Pulse: the overview's numbers, asked once for all who look, however many do."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from anyio import to_thread

from deepmoat.console.services import ConsoleServices
from deepmoat.model import Action, Incident, Query, Result

SPAN = 900
STEP = 10
MINUTE = 60
RATE = 10
"""Seconds of the traffic chart, of one bar of it, of the shares shown, and of the rate shown."""

_TRAFFIC = (
    "* | select __time__ - __time__ % 10 as t, count(*) as requests, "
    "count_if(status >= 500) as failed, count_if(verdict in ('block', 'limit')) as stopped "
    "from log group by t order by t limit 91"
)
_RECENT = (
    "* | select count(*) as requests, count_if(status >= 500) as failed, "
    "count_if(verdict in ('block', 'limit')) as stopped, count_if(__time__ >= {since}) as newest from log"
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
    """What the overview shows.

    ``minute`` sums the last one, ``rate`` is requests a second now; ``trouble`` says why numbers are missing.
    """

    at: float
    buckets: tuple[Bucket, ...] = ()
    minute: Bucket = Bucket(0)
    rate: float = 0.0
    countries: tuple[tuple[str, int], ...] = ()
    incidents: Sequence[Incident] = ()
    actions: Sequence[Action] = ()
    trouble: str = ""


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
        beat = Beat(now, filled((), now), incidents=incidents, actions=actions)
        try:
            return msgspec.structs.replace(beat, **await self._traffic(now, moment))
        except Exception as exc:  # noqa: BLE001 - the page says so and tries again
            return msgspec.structs.replace(beat, trouble=str(exc))

    async def _traffic(self, now: float, moment: datetime) -> dict[str, Any]:
        """What the access logs say, as fields of a Beat."""
        look, since = self.services.desk.look, moment - timedelta(seconds=SPAN)
        traffic = await look(Query(_TRAFFIC, "access", since, moment), now)
        countries = await look(Query(_COUNTRIES, "access", since, moment), now)
        text = _RECENT.format(since=int(now) - RATE)
        recent = await look(Query(text, "access", moment - timedelta(seconds=MINUTE), moment), now)
        requests, failed, stopped, newest = (int(n) for n in recent.rows[0])
        return {
            "buckets": filled(buckets(traffic), now),
            "countries": tuple((str(code) or "unknown", int(n)) for code, n in countries.rows),
            "minute": Bucket(int(now) - MINUTE, requests, failed, stopped),
            "rate": newest / RATE,
        }


def buckets(result: Result) -> tuple[Bucket, ...]:
    """The rows of ``_TRAFFIC``."""
    return tuple(Bucket(*(int(v) for v in row)) for row in result.rows)


def filled(found: Sequence[Bucket], now: float) -> tuple[Bucket, ...]:
    """All buckets of the span, empty ones too."""
    last = int(now) // STEP * STEP
    known = {b.time: b for b in found}
    return tuple(known.get(t, Bucket(t)) for t in range(last - SPAN + STEP, last + STEP, STEP))
