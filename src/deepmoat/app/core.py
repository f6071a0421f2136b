"""The core role: collect, store, query, detect, alert, respond, API and console in one process.

Started in the order in which the parts need each other, and stopped the other way round: first nothing new
comes in, then what was acknowledged is loaded, then the database closes.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from fastapi import FastAPI

from deepmoat import __version__
from deepmoat.alert.settings import AlertSettings
from deepmoat.api.serve import serve as serve_api
from deepmoat.api.server import build
from deepmoat.api.services import Services
from deepmoat.app import local
from deepmoat.app.cache import cache_folder
from deepmoat.app.housekeeping import keep_house
from deepmoat.app.intake import Intake
from deepmoat.app.links import api_url, console_url, link_url
from deepmoat.app.secret import secret_key
from deepmoat.app.settings import Place
from deepmoat.app.watch import Parts, Watch
from deepmoat.collect.enrich import country
from deepmoat.collect.readers import Readers
from deepmoat.collect.serve import Committer
from deepmoat.detect.settings import detectors
from deepmoat.edge.settings import endpoint
from deepmoat.identity.audit import Audit
from deepmoat.identity.desk import Desk
from deepmoat.identity.identity import Identity
from deepmoat.kit.errors import TransientError
from deepmoat.kit.meters import Sample, merged, snapshot
from deepmoat.kit.spool import Stream
from deepmoat.kit.tasks import Group
from deepmoat.model import Record
from deepmoat.query.door import Door
from deepmoat.respond.serve import ActionServer
from deepmoat.store.backup import Manifest, backup, new_stage
from deepmoat.store.logs.database import Database
from deepmoat.store.logs.loader import Loader
from deepmoat.store.state.actions import Actions
from deepmoat.store.state.database import State
from deepmoat.store.state.incidents import Incidents

log = logging.getLogger("deepmoat.core")
BACKUP_DRAIN_SECONDS = 30.0
AWAY_SECONDS, CATCH_UP_SECONDS = 10.0, 3600.0
LOCAL_KEY = "command line of this machine"
OURSELVES = "deepmoat"


async def core(place: Place, stop: asyncio.Event) -> int:
    """Run until ``stop``; then drain. ConfigError comes out before anything listens."""
    parts = await asyncio.to_thread(_open, place)
    try:
        await parts.run(stop)
    finally:
        await asyncio.to_thread(parts.close)
    return 0


def _open(place: Place) -> "Core":
    secret = secret_key(place.data)
    database = Database(place.moat.store.logs, folder=place.data)
    try:
        country.install(database, cache_folder())
        state = State(place.moat.store.state, folder=place.data)
    except BaseException:
        database.close()
        raise
    return Core(place, secret, database, state)


class Core:
    """The parts, and the order in which they start and stop."""

    def __init__(self, place: Place, secret: bytes, database: Database, state: State) -> None:
        moat = place.moat
        self.place, self.database, self.state = place, database, state
        self.readers = Readers(moat.collect.live(datetime.now(UTC)), secret)
        self.door = Door(database.query, max_rows=moat.store.logs.limits.result_rows - 1)
        self.identity = Identity(moat.identity, state)
        self.incidents, self.actions = Incidents(state), Actions(state)
        loader = Loader(database, self.readers.get, place.data / "scratch")
        self.intake = Intake(loader, self.readers, place.data / "spool")
        self.committer = Committer(place.data / "spool" / "core", self.readers, moat.collect)
        self.unready: set[str] = {"api"}

    async def run(self, stop: asyncio.Event) -> None:
        """Everything, until ``stop``."""
        loop = asyncio.get_running_loop()
        crashed: asyncio.Future[None] = loop.create_future()
        waiting_since = self.intake.oldest()
        self.intake.start(lambda exc: _ignore(loop.call_soon_threadsafe(crashed.set_exception, exc)))
        watch = self._watch(loop)
        app = self._app(watch)
        async with Group() as group:
            committing = group.create_task(self.committer.run())
            inner = [
                group.create_task(_until(crashed)),
                group.create_task(watch.run()),
                group.create_task(keep_house(self.database, self.place.moat.store.retention)),
                group.create_task(self._catch_up(watch, waiting_since)),
            ]
            try:
                await self._serve(app, stop)
            finally:
                await asyncio.to_thread(self.database.interrupt)  # a query may take longer than a stop
            for task in inner:
                task.cancel()
            await asyncio.wait(inner)
            committing.cancel()  # last: what the others still audit is written

    async def _catch_up(self, watch: Watch, since: float | None) -> None:
        """Look at what arrived while core was away, once it is loaded: the detectors follow the clock."""
        started = time.time()
        if since is None or started - since < AWAY_SECONDS:
            return
        try:
            await asyncio.to_thread(self.intake.drain, started, CATCH_UP_SECONDS)
        except TransientError as exc:
            log.error("the records of the time without core are not looked at: %s", exc)
            return
        span = datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(started, UTC)
        await asyncio.to_thread(watch.look_back, *span)
        log.info("looked at the records from %s to %s", *span)

    def close(self) -> None:
        """Load what was acknowledged, then close the databases; each whatever became of those before."""
        with ExitStack() as last:
            last.callback(self.state.close)
            last.callback(self.database.close)
            last.callback(self.intake.stop)
            last.callback(self._end_local_keys)
            last.callback(local.withdraw, self.place.data)

    async def _serve(self, app: FastAPI, stop: asyncio.Event) -> None:
        api = self.place.moat.api
        host, port = endpoint(api.listen, where="[api] listen")
        await serve_api(app, host, port, stop, forwarders=api.forwarders, ready=self._listening)

    def _listening(self, port: int) -> None:
        """The API listens: let the command line find us, and say where we are."""
        moat = self.place.moat
        self._end_local_keys()
        _, secret = self.identity.make_key(LOCAL_KEY, "admin", OURSELVES, time.time())
        local.publish(self.place.data, local.Local(api_url(moat), secret))
        self.unready.clear()
        log.info("console, API and ingestion on %s, edge on http://%s", api_url(moat), moat.edge.listen)
        link = self.identity.first_start(time.time())
        if link:
            print(f"\n  First start. Sign in, once, within the hour:\n  {link_url(moat, link)}\n", flush=True)  # noqa: T201

    def _end_local_keys(self) -> None:
        for key in self.identity.keys.all():
            if (key.name, key.created_by, key.revoked) == (LOCAL_KEY, OURSELVES, None):
                self.identity.revoke_key(key.prefix, time.time())

    def _app(self, watch: Watch) -> FastAPI:
        """The API, and the console on it where the settings want one."""
        moat = self.place.moat
        desk = Desk(self.door, watch, Audit(self.committer, time.time), queries=moat.api.queries)
        app = build(self._services(desk))
        if moat.console.enabled:
            from deepmoat.console.server import mount
            from deepmoat.console.services import ConsoleServices

            services = ConsoleServices(
                settings=moat.console,
                identity=self.identity,
                desk=desk,
                incidents=self.incidents,
                actions=self.actions,
                now=time.time,
            )
            mount(app, services)
        return app

    def _services(self, desk: Desk) -> Services:
        return Services(
            settings=self.place.moat.api,
            identity=self.identity,
            desk=desk,
            readers=self.readers,
            committer=self.committer,
            incidents=self.incidents,
            actions=self.actions,
            meters=lambda: meters(self.place.data),
            now=time.time,
            health=lambda: [f"{part} is starting" for part in sorted(self.unready)],
            backup=self._backup,
        )

    def _backup(self) -> tuple[str, Manifest]:
        """Load what was acknowledged, then copy everything to a new folder under ``backups``."""
        self.intake.drain(time.time(), BACKUP_DRAIN_SECONDS)
        data, now = self.place.data, datetime.now(UTC)
        target = data / "backups" / new_stage(now)
        return str(target), backup(self.database, data, target, now=now, version=__version__)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> Watch:
        parts = Parts(
            door=Door(self.database.query_first, max_rows=self.door.max_rows),
            detectors=detectors(self.place.moat.detect),
            incidents=self.incidents,
            actions=self.actions,
            server=ActionServer(
                self.place.data / "run",
                allow=(*self.place.moat.respond.allow, *self.place.moat.edge.trusted_forwarders),
            ),
            audit=self._auditor(loop),
            never=self.place.moat.edge.trusted_forwarders,
        )
        return Watch(parts, self._alerts(), self.place.moat.respond)

    def _alerts(self) -> AlertSettings:
        """Alert settings with the console's address where they name none."""
        alert = self.place.moat.alert
        url = alert.console_url or console_url(self.place.moat)
        return msgspec.structs.replace(alert, console_url=url)

    def _auditor(self, loop: asyncio.AbstractEventLoop) -> Callable[[Sequence[Record]], None]:
        def audit(records: Sequence[Record]) -> None:
            body = b"".join(msgspec.json.encode(r.fields) + b"\n" for r in records)
            waiting = self.committer.commit(Stream("records", "audit", "core"), body)
            asyncio.run_coroutine_threadsafe(waiting, loop).result(timeout=10)

        return audit


async def _until(crashed: "asyncio.Future[None]") -> None:
    """Wait for a crash, and raise it: core without its intake must end, and be started again."""
    await crashed


def _ignore(_handle: object) -> None:
    """A callback's result that nobody needs."""


def meters(data: Path) -> list[Sample]:
    """The meters of this process and of every edge on this data folder."""
    return merged([snapshot(), *_others(data / "run")])


def _others(run: Path) -> Iterable[list[Sample]]:
    for path in sorted(run.glob("meters-*.json")):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=list[Sample])
        except (OSError, msgspec.MsgspecError) as exc:
            log.warning("cannot read %s: %s", path, exc)
