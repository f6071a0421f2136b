"""Desk: what a visitor may do, wherever they stand: the API and the console both come here.

Each method checks the permission, keeps to the quota, does it, and writes it down.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, Protocol

from anyio import CapacityLimiter, to_thread

from deepmoat.identity.audit import Audit, Entry
from deepmoat.identity.limit import Quota
from deepmoat.identity.roles import Visitor
from deepmoat.kit.errors import MoatError, PeerError
from deepmoat.kit.meters import count
from deepmoat.model import LOGSTORES, Action, Query, Result
from deepmoat.query.door import MAX_ROWS

THREADS = 8
Kind = Literal["block", "limit", "challenge"]
Aim = str | Mapping[str, str]
"""One client address, or what a request must have, by field name."""


class Asks(Protocol):
    """The one door to the logs (``query.door.Door``)."""

    def ask(self, query: Query, now: datetime) -> Result:
        """Compile, check and run; QueryError says what is wrong with the text."""


class Orders(Protocol):
    """How a person changes the actions in force (wired by ``app`` from ``respond``)."""

    async def block(
        self,
        wanted: Sequence[Aim],
        who: str,
        reason: str,
        minutes: float,
        now: datetime,
        kind: Kind = "block",
    ) -> Action:
        """Put a person's order in force. QueryError for an allow-listed address, or what is none."""

    async def end(self, id: str, who: str, now: datetime) -> bool:
        """End an action now; False when it is not in force."""


class Desk:
    """One for each process. Use from the event loop."""

    def __init__(self, door: Asks, orders: Orders, audit: Audit, *, queries: int = 4) -> None:
        """``queries`` is how many one visitor runs at once."""
        self.door, self.orders, self.audit = door, orders, audit
        self.quota = Quota(queries)
        self._threads: CapacityLimiter | None = None

    async def ask(self, visitor: Visitor, address: str, query: Query, now: float) -> Result:
        """Run a query for ``visitor``. PeerError 403 or 429; QueryError for the text."""
        visitor.require("query")
        check(query)
        try:
            with self.quota.slot(visitor.id):
                result = await self.look(query, now)
        except MoatError:
            await self._asked(visitor, address, query, "failure")
            raise
        await self._asked(visitor, address, query, "success")
        return result

    async def look(self, query: Query, now: float) -> Result:
        """Run one of the console's own queries: no permission asked, nothing written down."""
        self._threads = self._threads or CapacityLimiter(THREADS)
        moment = datetime.fromtimestamp(now, UTC)
        return await to_thread.run_sync(self.door.ask, query, moment, limiter=self._threads)

    async def block(
        self,
        visitor: Visitor,
        address: str,
        targets: Sequence[Aim],
        reason: str,
        minutes: float,
        now: float,
        kind: Kind = "block",
    ) -> Action:
        """Block (or limit, or challenge) client addresses and what else ``targets`` name, by hand."""
        visitor.require("act")
        moment = datetime.fromtimestamp(now, UTC)
        action = await self.orders.block(targets, visitor.name, reason[:500], minutes, moment, kind)
        await self._acted(visitor, address, kind, action.id)
        return action

    async def end(self, visitor: Visitor, address: str, id: str, now: float) -> None:
        """End an action now; PeerError 404 when it is not in force."""
        visitor.require("act")
        if not await self.orders.end(id, visitor.name, datetime.fromtimestamp(now, UTC)):
            raise PeerError("no such action is in force", status=404, where=id[:60])
        await self._acted(visitor, address, "unblock", id)

    async def _asked(self, visitor: Visitor, address: str, query: Query, outcome: str) -> None:
        count("deepmoat_identity_queries_total", outcome=outcome)
        span = {"since": str(query.since or ""), "until": str(query.until or "")}
        where = {"logstore": query.logstore, **span}
        text = query.text[:10_000]
        await self.audit.write(Entry(visitor.name, "query", address, outcome, body=text, attributes=where))

    async def _acted(self, visitor: Visitor, address: str, what: str, id: str) -> None:
        await self.audit.write(Entry(visitor.name, what, address, attributes={"action": id}))


def check(query: Query) -> None:
    """PeerError for a query that cannot be meant, whatever its text says."""
    if query.logstore not in LOGSTORES:
        name = query.logstore[:60]
        raise PeerError(
            f"no such logstore: {name!r}", where="logstore", hint="known: " + ", ".join(LOGSTORES)
        )
    if not 1 <= query.limit <= MAX_ROWS:
        raise PeerError(f"limit wants 1 to {MAX_ROWS}, not {query.limit}", where="limit")
    if query.since and query.until and query.since >= query.until:
        raise PeerError("since must be before until", where="since")
