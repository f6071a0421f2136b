"""watch: detectors run, findings become incidents, incidents become actions and messages.

Two loops. One starts each detector when it is due, in a thread of its own; a slow detector is not
started twice, and only ``THREADS`` slow ones delay another. The other takes what they found, one turn at
a time, and ends a turn that it has begun:

    fold → decide (impact first) → push to the edges → tell → keep → audit

Nothing that waits for a disk or a person stands before the push. The state is the truth about
actions, so what a person orders or ends through ``block`` and ``end`` is in force at once (written to the
state by another, one tick later), and a restart goes on where the last run stopped. Every failure is
counted under its part; none ends the loop.
"""

import asyncio
import logging
import queue
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from deepmoat.alert.channel import Message
from deepmoat.alert.incidents import Folded, Notice, Ongoing, fold, noted
from deepmoat.alert.send import Sender, Told
from deepmoat.alert.settings import AlertSettings
from deepmoat.detect.detector import Detector
from deepmoat.detect.run import Door, run
from deepmoat.detect.schedule import Due, due, window
from deepmoat.kit.meters import count, gauge
from deepmoat.kit.tasks import Group
from deepmoat.model import Action, Finding, Incident, Record
from deepmoat.respond.decide import Decider
from deepmoat.respond.impact import DAY
from deepmoat.respond.playbooks.block_clients import LEAST, Order
from deepmoat.respond.serve import ActionServer
from deepmoat.respond.settings import Allowed, RespondSettings
from deepmoat.respond.targets import Kind, by_hand, spared
from deepmoat.store.state.actions import Actions
from deepmoat.store.state.incidents import Incidents

TICK = 0.25
THREADS = 3
GRACE = 2.0  # seconds for messages under way at the end; the next start tells what nobody was told
RETELL = timedelta(hours=1)
_LOG = logging.getLogger("deepmoat.watch")


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What the watch works with; ``app`` gives it.

    ``audit`` writes Records of the audit logstore, from a thread, and may raise. ``never`` are addresses
    and networks never acted on besides ``respond.allow``: the edge's trusted forwarders.
    """

    door: Door
    detectors: Sequence[Detector[Any]]
    incidents: Incidents
    actions: Actions
    server: ActionServer
    audit: Callable[[Sequence[Record]], None]
    never: tuple[str, ...] = ()


class Plan(NamedTuple):
    """What one turn came to."""

    folded: Folded
    orders: dict[str, Order]


class Watch:
    """Run until cancelled. ``block`` and ``end`` are the orders of people (``identity.desk.Orders``)."""

    def __init__(self, parts: Parts, alert: AlertSettings, respond: RespondSettings) -> None:
        """Reads back the incidents in hand."""
        self.parts, self.alert = parts, alert
        self.rules, self.allowed = alert.rules(), Allowed((*respond.allow, *parts.never))
        self.decider = Decider(parts.door.ask, respond, self.allowed, self._earlier)
        self.sender = Sender(alert, self._heard)
        self._ongoing = _restored(parts.incidents, self.rules.again, _now())
        self._told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._found: queue.SimpleQueue[Finding] = queue.SimpleQueue()
        self._fresh: dict[str, Action] = {}
        self._in_force: dict[str, Action] = {}
        self._over: list[Action] = []
        self._unkept: dict[str, Incident] = {}
        self._busy: set[str] = set()
        self._last: dict[str, datetime] = {}
        self._poke: Callable[[], object] = lambda: None
        self._clerk = ThreadPoolExecutor(1, "audit")

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Serve the edges and watch, until cancelled; ``ready`` is set once edges can connect."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()
        self._poke = lambda: loop.call_soon_threadsafe(wake.set)
        pool = ThreadPoolExecutor(THREADS, "detect")
        self.sender.start()
        self._spare()
        self._retell()
        self._publish(_now())
        try:
            async with Group() as group:
                group.create_task(self.parts.server.serve(ready))
                group.create_task(self._look(pool))
                group.create_task(self._turns(wake))
        finally:
            self._poke = lambda: None
            await asyncio.shield(asyncio.to_thread(self._close, pool))

    def _close(self, pool: ThreadPoolExecutor) -> None:
        """Let what runs end: a detector's query, messages under way, what is to be written down."""
        pool.shutdown(wait=True, cancel_futures=True)
        self.sender.close(GRACE)
        self._noted()
        self._keep()
        self._clerk.shutdown(wait=True)

    async def block(
        self,
        wanted: Sequence[str | Mapping[str, str]],
        who: str,
        reason: str,
        minutes: float,
        now: datetime,
        kind: Kind = "block",
    ) -> Action:
        """Put a person's order in force. QueryError for an allow-listed address, or what is no target."""
        action = by_hand(wanted, who, reason, now, minutes, self.allowed, kind)
        await asyncio.to_thread(self.parts.actions.put, action)
        self._publish(_now())
        return action

    async def end(self, id: str, who: str, now: datetime) -> bool:
        """End an action now, for good; False where none with that id is in force."""
        ended = await asyncio.to_thread(self._end, id, who, now)
        self._publish(_now())
        return ended

    def _end(self, id: str, who: str, now: datetime) -> bool:
        fresh = self._fresh.pop(id, None)
        if fresh:  # pushed a moment ago, and not yet kept
            self.parts.actions.put(fresh)
        return self.parts.actions.end(id, now, who) is not None

    async def _look(self, pool: ThreadPoolExecutor) -> None:
        """Start what is due and not still running."""
        while True:
            with _counted("schedule"):
                now = _now()
                for item in due(self.parts.detectors, now, self._last):
                    if item.detector.name in self._busy:
                        continue
                    self._busy.add(item.detector.name)
                    self._last[item.detector.name] = now
                    pool.submit(self._run, item)
            await asyncio.sleep(TICK)

    def look_back(self, since: datetime, until: datetime) -> None:
        """Every detector over a time when nobody looked; for a thread of the caller's.

        What is found is an incident like any other; a block ends some minutes after the last sign of its
        attack, so what is long over blocks nobody.
        """
        for detector in self.parts.detectors:
            self._run(Due(detector, window(detector, since)[0], until))

    def _run(self, item: Due) -> None:
        """One detector, on a thread."""
        name = item.detector.name
        try:
            with _counted(name):
                findings = run(self.parts.door, item.detector, item.since, item.until, _now())
                for finding in findings:
                    self._found.put(finding)
                if findings:
                    self._poke()
        finally:
            self._busy.discard(name)

    async def _turns(self, wake: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await wake.wait()
            wake.clear()
            with _counted("turn"):
                await _whole(self._turn())

    async def _turn(self) -> None:
        """One pass. The push is the only step on the loop; the others wait in threads."""
        now = _now()
        plan = await asyncio.to_thread(self._think, now)
        self._publish(_now())
        await asyncio.to_thread(self._after, plan, _now())

    def _think(self, now: datetime) -> Plan:
        """Fold and decide."""
        findings = [self._found.get() for _ in range(self._found.qsize())]
        folded = fold(self._noted(), findings, now, self.rules)
        self._ongoing = {item.incident.id: item for item in folded.ongoing}
        changed = {i.id: i for i in folded.incidents if findings}
        again = {i: self._ongoing[i].incident for i in self.decider.unsure if i in self._ongoing}
        orders = {}
        for incident in (changed | again).values():
            with _counted("decide"):
                orders[incident.id] = self._decide(incident, now)
        return Plan(folded, orders)

    def _decide(self, incident: Incident, now: datetime) -> Order:
        """Only clients that some finding itself calls bad enough are candidates."""
        item = self._ongoing.get(incident.id)
        certain = item.subjects(LEAST) if item else incident.subjects
        kept = next(iter(self.parts.actions.of(incident.id)), None)
        fresh = (a for a in self._fresh.values() if a.cause == incident.id)
        current = next(fresh, kept.action if kept else None)
        current = spared(current, self.allowed) if current else None
        narrowed = msgspec.structs.replace(incident, subjects=certain)
        order = self.decider.decide(narrowed, current, now, kept.ended_by if kept else "")
        if order.action:
            self._fresh[order.action.id] = order.action
        return order

    def _earlier(self, incident: Incident) -> Sequence[Incident]:
        """Other incidents of the day before, newest first."""
        until = incident.first
        found = self.parts.incidents.list(since=until - DAY, until=until, limit=50)
        return [i for i in found if i.id != incident.id]

    def _publish(self, now: datetime) -> None:
        """Push what is in force, where that changed."""
        fresh = dict(self._fresh)  # copied first: what leaves it is in the state by then
        with _counted("read_actions"):
            kept = {a.id: a for a in self.parts.actions.in_force(now)}
            actions = {i: a for i, a in (kept | fresh).items() if a.end > now}
            self._over.extend(a for i, a in self._in_force.items() if i not in actions)
            if actions != self._in_force or not self.parts.server.published:
                self.parts.server.publish(actions.values())
            self._in_force = actions

    def _after(self, plan: Plan, now: datetime) -> None:
        """Tell, keep and audit what the push has already made true; telling only fills queues."""
        records = [r for i, o in plan.orders.items() for r in self._write_up(i, o, now)]
        over, self._over = self._over, []
        records += [self._ended(action, now) for action in over]
        self._unkept |= {i.id: i for i in plan.folded.incidents}
        for notice in plan.folded.notices:
            records.extend(self._announce(notice, plan, now))
        self._keep()
        self._audit(records)
        opened = sum(item.incident.status == "open" for item in self._ongoing.values())
        gauge("deepmoat_watch_incidents_open", opened)

    def _keep(self) -> None:
        """Write to the state what changed; what cannot be written stays for the next turn."""
        with _counted("keep"):
            self.parts.actions.put(*list(self._fresh.values()))
            self._fresh.clear()
        with _counted("keep"):
            self.parts.incidents.put(*map(self._current, self._unkept.values()))
            self._unkept.clear()

    def _write_up(self, incident: str, order: Order, now: datetime) -> Iterator[Record]:
        """Put an order into the incident's timeline; its audit record."""
        item = self._ongoing.get(incident)
        if item is None:
            return
        if order.action and order.added:
            seconds = (now - item.incident.first).total_seconds()
            new = len(order.added) == len(order.action.targets)
            text = f"{_blocked(order.action, len(order.added))}, {seconds:.1f} s after the first record"
            self._note(incident, now, text)
            if new:
                gauge("deepmoat_watch_first_record_to_block_seconds", seconds)
            yield _record(
                now,
                "block",
                text,
                incident,
                attributes={"action": order.action.id, "targets": " ".join(order.added)},
            )
        if order.held and not _said(item.incident, f"not blocked: {order.held}", now):
            self._note(incident, now, f"not blocked: {order.held}")
            yield _record(now, "hold", order.held, incident)

    def _ended(self, action: Action, now: datetime) -> Record:
        """Put the end of an action into its incident's timeline; its audit record."""
        kept = self.parts.actions.get(action.id)
        by = kept.ended_by if kept else ""
        text = f"the block of {len(action.targets)} clients ended" + (f": {by}" if by else "")
        self._note(action.cause, now, text)
        return _record(now, "block_end", text, action.cause, attributes={"action": action.id})

    def _announce(self, notice: Notice, plan: Plan, now: datetime) -> Iterator[Record]:
        incident = self._current(notice.incident)
        if notice.event == "opened":
            seconds = (incident.opened - incident.first).total_seconds()
            gauge("deepmoat_watch_first_record_to_finding_seconds", seconds)
            count("deepmoat_watch_incidents_total", detector=incident.detector)
        order = plan.orders.get(incident.id)
        self._tell(msgspec.structs.replace(notice, incident=incident), now, order.held if order else "")
        yield _record(now, f"incident_{notice.event}", incident.title, incident.id)

    def _tell(self, notice: Notice, now: datetime, held: str = "") -> None:
        with _counted("tell"):
            incident = notice.incident.id
            mine = [a for a in self.parts.server.orders.actions if a.cause == incident]
            self.sender.tell(Message(notice, tuple(mine), self.alert.link(incident), held))

    def _spare(self) -> None:
        """Release who came onto the allow-list while we were away."""
        now = _now()
        for action in self.parts.actions.in_force(now):
            left = spared(action, self.allowed)
            if left is None:
                self.parts.actions.end(action.id, now, "the allow-list")
            elif left is not action:
                self.parts.actions.put(left)

    def _retell(self) -> None:
        """Tell what a crash may have kept us from telling: at least once rather than at most once."""
        now = _now()
        for incident in self.parts.incidents.untold():
            if now - incident.opened < RETELL:
                self._tell(Notice("opened", incident), now)

    def _heard(self, told: Told) -> None:
        """How a message ended, on a channel's thread."""
        self._told.put(told)
        self._poke()

    def _noted(self) -> list[Ongoing]:
        """The incidents in hand, with what the channels reported since."""
        while not self._told.empty():
            told = self._told.get()
            with _counted("told"):
                self._note_told(told)
        return list(self._ongoing.values())

    def _note_told(self, told: Told) -> None:
        incident = told.message.notice.incident
        seconds = (told.time - incident.first).total_seconds()
        text = f"{told.message.notice.event}: {told.ending} through {told.channel}"
        self._note(incident.id, told.time, f"{text}, {seconds:.1f} s after the first record")
        if told.ending == "sent":
            self.parts.incidents.told(incident.id, int(incident.severity))
            if told.message.notice.event == "opened":
                gauge("deepmoat_watch_first_record_to_alert_seconds", seconds)
        outcome = "success" if told.ending == "sent" else "failure"
        self._audit([_record(told.time, "notify", text, incident.id, outcome=outcome)])

    def _note(self, incident: str, now: datetime, text: str) -> None:
        item = self._ongoing.get(incident)
        if item:
            line = noted(item.incident, now, text, keep=self.rules.timeline)
            self._ongoing[incident] = msgspec.structs.replace(item, incident=line)
            self._unkept[incident] = line

    def _current(self, incident: Incident) -> Incident:
        item = self._ongoing.get(incident.id)
        return item.incident if item else incident

    def _audit(self, records: Sequence[Record]) -> None:
        """Write records down, on a thread of their own: they wait for the disk."""
        if records:
            self._clerk.submit(self._write_down, records)

    def _write_down(self, records: Sequence[Record]) -> None:
        with _counted("audit"):
            self.parts.audit(records)


@contextmanager
def _counted(part: str) -> Iterator[None]:
    """Whatever fails in ``part`` is counted and logged; the watch goes on."""
    try:
        yield
    except Exception:  # noqa: BLE001 - the one place where a bug of one part must not end the others
        count("deepmoat_watch_failures_total", part=part)
        _LOG.exception("%s failed", part)


async def _whole(turn: Coroutine[Any, Any, None]) -> None:
    """Run ``turn`` to its end, even when cancelled: what it decided is pushed, kept and audited."""
    task = asyncio.ensure_future(turn)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _said(incident: Incident, text: str, now: datetime) -> bool:
    """Is it in the timeline, or something much like it within the last minute?"""
    start = text.partition(":")[0]
    return any(
        line == text or (line.startswith(start) and now - when < timedelta(minutes=1))
        for when, line in incident.timeline
    )


def _restored(incidents: Incidents, again: timedelta, now: datetime) -> dict[str, Ongoing]:
    """Open incidents, and closed ones that may yet open again."""
    open_ones = incidents.list(status="open", limit=10_000)
    closed = incidents.list(status="closed", since=now - again, limit=10_000)
    return {i.id: Ongoing.restored(i, now) for i in (*open_ones, *closed)}


def _record(
    now: datetime,
    action: str,
    text: str,
    incident: str,
    *,
    outcome: str = "success",
    attributes: Mapping[str, str] | None = None,
) -> Record:
    """An audit record of what deepmoat itself did."""
    fields = {
        "time": now.timestamp(),
        "source": "core",
        "user_name": "deepmoat",
        "event_action": action,
        "event_outcome": outcome,
        "incident": incident,
        "body": text,
        "attributes": dict(attributes or {}),
    }
    return Record("audit", fields)


def _blocked(action: Action, added: int | None = None) -> str:
    """What was ordered, in words."""
    total = len(action.targets)
    more = f" more ({total} in all)" if added is not None and added < total else ""
    who = f"{total if added is None else added}{more} client{'s' if total > 1 else ''}"
    return f"blocked {who} until {action.end:%H:%M:%S} UTC (impact: {action.impact} good requests a day)"


def _now() -> datetime:
    return datetime.now(UTC)
