"""The watch from real records to a blocked client and a told person, all parts real, on loopback."""

import asyncio
import json
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deepmoat.alert.settings import AlertSettings
from deepmoat.app.watch import Parts, Watch
from deepmoat.detect.settings import DetectSettings, detectors
from deepmoat.kit import meters
from deepmoat.kit.errors import QueryError
from deepmoat.model import Action, Query, Record, Result
from deepmoat.query.door import Door
from deepmoat.respond.enforce.edge import Orders, decode
from deepmoat.respond.serve import ActionServer
from deepmoat.respond.settings import RespondSettings
from deepmoat.respond.targets import clients
from deepmoat.store.logs.database import Database
from deepmoat.store.state.actions import Actions
from deepmoat.store.state.database import State, StateSettings
from deepmoat.store.state.incidents import Incidents

ATTACKERS = 40


class Place:
    """A data folder with everything the watch needs; ``records`` is the audit."""

    def __init__(self, folder: Path, database: Database, ask: Any = None, audit: Any = None) -> None:
        self.state = State(StateSettings(), folder=folder)
        self.incidents, self.actions = Incidents(self.state), Actions(self.state)
        self.records: list[Record] = []
        self.folder, self.database, self.audit = folder, database, audit or self.records.extend
        self.door = Door(database.query)
        if ask:
            self.door.ask = ask  # type: ignore[method-assign]

    def watch(self, alert: AlertSettings, respond: RespondSettings | None = None) -> Watch:
        parts = Parts(
            door=self.door,
            detectors=[d for d in detectors(DetectSettings()) if d.name == "request_burst"],
            incidents=self.incidents,
            actions=self.actions,
            server=ActionServer(self.folder / "run"),
            audit=self.audit,
            never=("198.51.100.0/24",),
        )
        return Watch(parts, alert, respond or RespondSettings())


class _Hook(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        self.server.got.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def hook() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    server.got = queue.SimpleQueue()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(tmp_path: Path, database: Database) -> Iterator[Place]:
    place = Place(tmp_path, database)
    yield place
    place.state.close()


def told_by(hook: Any) -> AlertSettings:
    url = f"http://127.0.0.1:{hook.server_port}/"
    return AlertSettings(channels=({"kind": "webhook", "url": url},), console_url="https://moat.example")


def flood(database: Database, seconds: int = 3, first: int = 1, rate: int = 30) -> None:
    """``ATTACKERS`` clients asking ``rate`` times a second for the last ``seconds`` seconds."""
    database.command(
        "INSERT INTO access (time, client_address, client_country, server_address, url_path, "
        "http_request_method, http_response_status_code) "
        "SELECT now64(9) - toIntervalMillisecond(intDiv(number * 1000, {rate:UInt32} * {clients:UInt32})), "
        "toIPv6(concat('203.0.113.', toString({first:UInt32} + number % {clients:UInt32}))), 'US', 'shop', "
        "'/login', 'POST', 200 FROM numbers({seconds:UInt32} * {rate:UInt32} * {clients:UInt32})",
        {"rate": rate, "clients": ATTACKERS, "seconds": seconds, "first": first},
    )


@asynccontextmanager
async def running(watch: Watch) -> AsyncIterator[Callable[[], Awaitable[Orders]]]:
    """The watch at work, and an edge's next line."""
    ready = asyncio.Event()
    task = asyncio.ensure_future(watch.run(ready))
    await asyncio.wait_for(ready.wait(), 10)
    path = str(watch.parts.server.socket)
    reader, writer = await asyncio.open_unix_connection(path, limit=10_000_000)
    try:
        yield lambda: _line(reader)
    finally:
        writer.close()
        task.cancel()
        await asyncio.wait([task])


async def _line(reader: asyncio.StreamReader) -> Orders:
    return decode(await asyncio.wait_for(reader.readuntil(b"\n"), 20))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))  # type: ignore[arg-type]


def gauge(name: str) -> float:
    return next(s.value for s in meters.snapshot() if s.name == f"deepmoat_watch_{name}_seconds")


def test_a_flood_is_one_incident_one_message_and_one_block(place: Place, hook: Any) -> None:
    async def test() -> None:
        async with running(place.watch(told_by(hook))) as next_line:
            assert (await next_line()).actions == ()
            flood(place.database)
            (action,) = (await next_line()).actions
            assert clients(action) <= {f"203.0.113.{n}" for n in range(1, 41)}
            message = await asyncio.to_thread(hook.got.get, True, 20)
            assert message["event"] == "opened" and message["actions"][0]["id"] == action.id
            await until(lambda: "notify" in {r.fields["event_action"] for r in place.records})
            await until(lambda: len(place.actions.list()[0].action.targets) == ATTACKERS)
        (incident,) = place.incidents.list()
        assert incident.subject_count == ATTACKERS and incident.status == "open"
        assert message["link"] == f"https://moat.example/incidents/{incident.id}"
        lines = "\n".join(text for _, text in incident.timeline)
        assert "s after the first record" in lines and "opened: sent through webhook" in lines
        assert hook.got.empty() and not place.incidents.untold()
        (kept,) = place.actions.list()
        assert kept.action.cause == incident.id and kept.action.end > datetime.now(UTC)
        assert 0 < gauge("first_record_to_finding") <= gauge("first_record_to_block") < 10
        assert gauge("first_record_to_alert") < 10

    run(test)


def test_who_is_trusted_is_never_blocked_and_a_person_may_be_left_to_decide(place: Place, hook: Any) -> None:
    async def test() -> None:
        settings = RespondSettings(allow=("203.0.113.0/25",), automatic=True)
        async with running(place.watch(told_by(hook), settings)) as next_line:
            await next_line()
            flood(place.database)
            message = await asyncio.to_thread(hook.got.get, True, 20)
            assert message["actions"] == [] and "No action was taken." in message["text"]
        assert not place.actions.list()

    run(test)


def test_a_restart_goes_on_with_the_same_incident_and_the_same_action(place: Place, hook: Any) -> None:
    async def test() -> None:
        async with running(place.watch(told_by(hook))) as next_line:
            await next_line()
            flood(place.database)
            before = await next_line()
            await asyncio.to_thread(hook.got.get, True, 20)
            await until(lambda: not place.incidents.untold() and place.incidents.list())
        async with running(place.watch(told_by(hook))) as next_line:
            after = await next_line()
            assert after.version > before.version
            assert [a.id for a in after.actions] == [a.id for a in before.actions]
            flood(place.database, first=101)
            await until(lambda: place.incidents.list()[0].subject_count == 2 * ATTACKERS)
            await until(lambda: len(place.actions.list()[0].action.targets) == 2 * ATTACKERS)
        assert len(place.incidents.list()) == 1 and len(place.actions.list()) == 1
        assert hook.got.empty()

    run(test)


def test_a_person_is_told_after_a_crash_that_came_before_the_message(place: Place, hook: Any) -> None:
    async def test() -> None:
        async with running(place.watch(AlertSettings())) as next_line:
            await next_line()
            flood(place.database)
            await next_line()
            await until(place.incidents.untold)
        async with running(place.watch(told_by(hook))):
            message = await asyncio.to_thread(hook.got.get, True, 20)
            assert message["incident"]["id"] == place.incidents.list()[0].id
            await until(lambda: not place.incidents.untold())

    run(test)


def test_people_block_and_release_at_once_and_a_released_attack_is_not_blocked_again(place: Place) -> None:
    async def test() -> None:
        watch = place.watch(AlertSettings())
        async with running(watch) as next_line:
            await next_line()
            now = datetime.now(UTC)
            action = await watch.block(["192.0.2.1"], "anna", "phone call", 5, now)
            assert [a.id for a in (await next_line()).actions] == [action.id]
            assert await watch.end(action.id, "anna", datetime.now(UTC))
            assert (await next_line()).actions == ()
            assert not await watch.end(action.id, "anna", datetime.now(UTC))
            with pytest.raises(QueryError, match="allow-list"):
                await watch.block(["198.51.100.7"], "anna", "forwarder", 5, now)
            flood(place.database)
            (block,) = (await next_line()).actions
            assert await watch.end(block.id, "ben", datetime.now(UTC))
            flood(place.database, first=101)
            await until(lambda: "hold" in {r.fields["event_action"] for r in place.records})
            assert not place.actions.in_force(datetime.now(UTC))

    run(test)


def test_who_came_onto_the_allow_list_is_released_at_the_next_start(place: Place) -> None:
    async def test() -> None:
        watch = place.watch(AlertSettings())
        async with running(watch) as next_line:
            await next_line()
            for addresses in (["192.0.2.1", "192.0.2.2"], ["192.0.2.1"]):
                await watch.block(addresses, "anna", "why", 5, datetime.now(UTC))
                await next_line()
        settings = RespondSettings(allow=("192.0.2.1/32",))
        async with running(place.watch(AlertSettings(), settings)) as next_line:
            (left,) = (await next_line()).actions
            assert clients(left) == {"192.0.2.2"}

    run(test)


def test_the_end_of_a_block_is_in_the_timeline_and_in_the_audit(place: Place) -> None:
    async def test() -> None:
        settings = RespondSettings(block_minutes=0.02)
        async with running(place.watch(AlertSettings(), settings)) as next_line:
            await next_line()
            flood(place.database)
            assert (await next_line()).actions
            await until(lambda: "block_end" in {r.fields["event_action"] for r in place.records})
            await until(lambda: "the block of 40 clients ended" in str(place.incidents.list()[0].timeline))

    run(test)


def test_what_another_process_part_writes_to_the_state_is_pushed_within_a_tick(place: Place) -> None:
    async def test() -> None:
        watch = place.watch(AlertSettings())
        async with running(watch) as next_line:
            await next_line()
            action = await watch.block(["192.0.2.1"], "anna", "why", 5, datetime.now(UTC))
            await next_line()
            place.actions.end(action.id, datetime.now(UTC), "console")
            assert (await next_line()).actions == ()

    run(test)


def test_a_block_is_pushed_and_told_though_the_state_cannot_be_written(place: Place, hook: Any) -> None:
    put, broken = place.actions.put, [True]

    def fail(*actions: Action) -> None:
        if broken and actions:
            raise OSError("disk full")
        put(*actions)

    place.actions.put = fail  # type: ignore[method-assign]

    async def test() -> None:
        async with running(place.watch(told_by(hook))) as next_line:
            await next_line()
            flood(place.database)
            (action,) = (await next_line()).actions
            message = await asyncio.to_thread(hook.got.get, True, 20)
            assert message["actions"][0]["id"] == action.id and not place.actions.list()
            broken.clear()
            await until(place.actions.list)
            assert [k.action.id for k in place.actions.list()] == [action.id]

    run(test)


def test_a_failing_detector_or_audit_stops_nothing(tmp_path: Path, database: Database, hook: Any) -> None:
    door, failures = Door(database.query), [RuntimeError("a bug"), QueryError("a limit")]

    def ask(query: Query, now: datetime) -> Result:
        if failures:
            raise failures.pop()
        return door.ask(query, now)

    def audit(records: Sequence[Record]) -> None:
        raise OSError("disk")

    async def test() -> None:
        place = Place(tmp_path, database, ask, audit)
        async with running(place.watch(told_by(hook))) as next_line:
            await next_line()
            flood(database)
            assert (await next_line()).actions
            await asyncio.to_thread(hook.got.get, True, 20)
        place.state.close()

    before = failed("audit")
    run(test)
    assert failed("request_burst") == 1 and failed("audit") > before and not failures


def failed(part: str) -> float:
    labels = (("part", part),)
    return sum(
        s.value for s in meters.snapshot() if (s.name, s.labels) == ("deepmoat_watch_failures_total", labels)
    )


def test_a_turn_that_has_begun_is_finished_at_the_end(tmp_path: Path, database: Database) -> None:
    deciding, release = threading.Event(), threading.Event()

    def ask(query: Query, now: datetime) -> Result:
        if "as good" in query.text:
            deciding.set()
            release.wait(10)
        return Door(database.query).ask(query, now)

    place = Place(tmp_path, database, ask=ask)

    async def work() -> None:
        async with running(place.watch(AlertSettings())):
            await asyncio.to_thread(deciding.wait, 10)
            asyncio.get_running_loop().call_later(0.2, release.set)

    flood(database)
    asyncio.run(work())
    (incident,) = place.incidents.list()
    (action,) = place.actions.in_force(datetime.now(UTC))
    assert action.cause == incident.id
    assert "block" in {record.fields["event_action"] for record in place.records}
    place.state.close()
