"""A web server's parts around the real database, door and state, with a clock that tests set."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
from fastapi import FastAPI

from deepmoat.api.server import build
from deepmoat.api.services import Services
from deepmoat.api.settings import ApiSettings
from deepmoat.collect.enrich import country
from deepmoat.collect.readers import Readers
from deepmoat.collect.settings import CollectSettings
from deepmoat.console.services import ConsoleServices
from deepmoat.console.settings import ConsoleSettings
from deepmoat.identity.audit import Audit
from deepmoat.identity.desk import Desk, Kind
from deepmoat.identity.identity import Identity
from deepmoat.identity.settings import IdentitySettings
from deepmoat.kit.meters import snapshot
from deepmoat.kit.spool import Spool, Stream, sealed
from deepmoat.model import Action
from deepmoat.query.door import Door
from deepmoat.respond.settings import Allowed
from deepmoat.respond.targets import by_hand
from deepmoat.store.logs.database import Database
from deepmoat.store.logs.loader import Loader
from deepmoat.store.state.actions import Actions
from deepmoat.store.state.database import State, StateSettings
from deepmoat.store.state.incidents import Incidents

NOW = datetime(2026, 1, 27, 3, 0, tzinfo=UTC).timestamp()


class Direct:
    """The way in without waiting: each commit is a segment that is loaded at once."""

    def __init__(self, database: Database, readers: Readers, folder: Path, clock: "Clock") -> None:
        self.spool = Spool(folder / "core", whole=lambda name: readers.get(name).whole)
        self.loader = Loader(database, readers.get, folder / "scratch")
        self.clock = clock
        self.trouble: Exception | None = None
        self.taken: list[tuple[Stream, bytes]] = []

    async def commit(self, stream: Stream, data: bytes) -> None:
        if self.trouble:
            raise self.trouble
        self.taken.append((stream, data))
        self.spool.append(stream, data, self.clock.now)
        self.spool.seal()
        for segment in sealed(self.spool.folder):
            self.loader.load(segment, self.clock.now)


class Hand:
    """Orders by hand, into the table only; 192.0.2.99 is allow-listed."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions

    async def block(
        self,
        wanted: Sequence[str | Mapping[str, str]],
        who: str,
        reason: str,
        minutes: float,
        now: datetime,
        kind: Kind = "block",
    ) -> Action:
        ordered = by_hand(wanted, who, reason, now, minutes, Allowed(("192.0.2.99",)), kind)
        action = msgspec.structs.replace(ordered, id=f"A{len(self.actions.list())}")
        self.actions.put(action)
        return action

    async def end(self, id: str, who: str, now: datetime) -> bool:
        return self.actions.end(id, now, who) is not None


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Rig:
    """All parts; ``key`` makes a secret of a role."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        api: ApiSettings | None = None,
        identity: IdentitySettings | None = None,
        console: ConsoleSettings | None = None,
    ) -> None:
        database.command("TRUNCATE TABLE IF EXISTS country_ranges")
        country.install(database, folder / "cache", blocks=("8.8.8.0/24", "1.2.4.0/24"))
        self.clock = Clock()
        self.database = database
        self.state = State(StateSettings(), folder=folder)
        self.incidents, self.actions = Incidents(self.state), Actions(self.state)
        self.readers = Readers(CollectSettings(), b"k" * 32)
        self.committer = Direct(database, self.readers, folder / "spool", self.clock)
        self.identity = Identity(identity or IdentitySettings(), self.state)
        self.api, self.console = api or ApiSettings(), console or ConsoleSettings()
        audit = Audit(self.committer, self.clock)
        self.desk = Desk(Door(database.query), Hand(self.actions), audit, queries=self.api.queries)
        self.reasons: list[str] = []

    def app(self) -> FastAPI:
        return build(
            Services(
                settings=self.api,
                identity=self.identity,
                desk=self.desk,
                readers=self.readers,
                committer=self.committer,
                incidents=self.incidents,
                actions=self.actions,
                meters=snapshot,
                now=self.clock,
                health=lambda: self.reasons,
            )
        )

    def console_services(self) -> ConsoleServices:
        return ConsoleServices(
            settings=self.console,
            identity=self.identity,
            desk=self.desk,
            incidents=self.incidents,
            actions=self.actions,
            now=self.clock,
        )

    def key(self, role: str) -> str:
        return self.identity.make_key(f"test {role}", role, "test", self.clock.now)[1]

    def client(self, role: str = "", *, address: str = "203.0.113.9") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.key(role)}"} if role else {}
        transport = httpx.ASGITransport(self.app(), client=(address, 4711), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://moat", headers=headers)

    def close(self) -> None:
        self.database.command("TRUNCATE TABLE country_ranges")  # a whole engine's worth is others' to load
        self.committer.spool.close()
        self.state.close()
