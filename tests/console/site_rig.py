"""The whole site: API and console on one port, with traffic, an attack and hostile log lines in it."""

import asyncio
import random
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from web_rig import NOW, Rig

from deepmoat.api.serve import serve
from deepmoat.console.server import mount
from deepmoat.identity.settings import IdentitySettings
from deepmoat.kit.spool import Stream
from deepmoat.model import Action, Incident, Query, Severity
from deepmoat.store.logs.database import Database

MARKUP = (
    "<script>window.hacked=1</script><img src=x onerror=window.hacked=2>"
    "{{constructor.constructor('window.hacked=3')()}}"
)
ATTACKERS = tuple(f"198.51.100.{n}" for n in range(1, 41))


class Site:
    """Serve in a thread of its own; ``call`` runs on its loop."""

    def __init__(self, database: Database, folder: Path) -> None:
        settings = IdentitySettings(address_burst=4, address_seconds=600.0)
        self.rig = Rig(database, folder, identity=settings)
        self.listening = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self) -> None:
        self.loop, self.ended = asyncio.get_running_loop(), asyncio.Event()
        app = self.rig.app()
        mount(app, self.rig.console_services())
        await self.fill()
        await serve(app, "127.0.0.1", 0, self.ended, ready=self._ready)

    def _ready(self, port: int) -> None:
        self.port = port
        self.listening.set()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.ended.set)

    def link(self) -> str:
        return f"{self.url}/sign-in?link={self.rig.identity.link('admin', self.rig.clock.now)}"

    async def fill(self) -> None:
        rows = [*_ordinary(), *_attack(), _hostile()]
        body = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        checked = self.rig.readers.get("ndjson").check(body, NOW, "access")
        assert checked.records == len(rows) and not checked.refused
        await self.rig.committer.commit(Stream("ndjson", "access", "edge-0"), checked.good)
        line = msgspec.json.encode({"time": NOW - 5, "severity_text": "ERROR", "body": MARKUP}) + b"\n"
        await self.rig.committer.commit(Stream("ndjson", "app", "sender"), line)
        self.rig.incidents.put(*_incidents())
        self.rig.actions.put(_action())


def _ordinary() -> list[dict[str, object]]:
    chance = random.Random(7)
    paths = ("/v1/chat/completions", "/v1/models", "/login", "/v1/embeddings")
    return [
        {
            "time": NOW - 872 + n * 0.3 + chance.random(),
            "client_address": chance.choice(("8.8.8.", "1.2.4.")) + str(chance.randrange(1, 200)),
            "http_request_method": "POST",
            "url_path": chance.choice(paths),
            "http_response_status_code": chance.choices((200, 401, 503), (90, 6, 1))[0],
            "duration": chance.expovariate(2),
            "verdict": "pass",
            "user_agent_original": "python-requests/2.32",
        }
        for n in range(2900)
    ]


def _attack() -> list[dict[str, object]]:
    return [
        {
            "time": NOW - 81 + n * 0.04,
            "client_address": ATTACKERS[n % 40],
            "http_request_method": "POST",
            "url_path": "/v1/chat/completions",
            "http_response_status_code": 403 if n > 500 else 200,
            "verdict": "block" if n > 500 else "pass",
            "user_agent_original": "Mozilla/5.0",
        }
        for n in range(2000)
    ]


def _hostile() -> dict[str, object]:
    return {
        "time": NOW - 2,
        "client_address": "203.0.113.66",
        "url_path": "/hostile",
        "http_response_status_code": 404,
        "user_agent_original": MARKUP,
        "body": f"GET /hostile {MARKUP}",
        "tenant": MARKUP,
    }


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW + seconds, UTC)


def _incidents() -> tuple[Incident, ...]:
    evidence = Query(
        "* | select client_address, count(*) as n from log group by client_address order by n desc limit 40",
        "access",
        _at(-90),
        _at(0),
    )
    burst = Incident(
        id="01KFYX0000BURST0000000000",
        cause="request_burst",
        detector="request_burst",
        title="40 clients send 30 requests a second each to /v1/chat/completions",
        severity=Severity.HIGH,
        first=_at(-90),
        last=_at(-10),
        opened=_at(-89),
        count=2000,
        subjects=tuple(("client_address", a) for a in ATTACKERS),
        subject_count=40,
        countries=("US", "CN"),
        techniques=("T1499",),
        evidence=(evidence,),
        timeline=(
            (_at(-90), "first record"),
            (_at(-89), "found by request_burst, 1.2 s after the first record"),
            (_at(-88.6), "blocked 40 clients for 10 minutes; would have hit 0 good requests"),
        ),
    )
    hostile = msgspec.structs.replace(
        burst,
        id="01KFYX0000AHOSTILE0000000",
        cause="scanner",
        detector="scanner",
        title=f"203.0.113.66 probes {MARKUP}",
        severity=Severity.MEDIUM,
        subjects=(("client_address", "203.0.113.66"),),
        subject_count=1,
        count=1,
        countries=(),
    )
    return burst, hostile


def _action() -> Action:
    return Action(
        id="01KFYX0000ACTION000000000",
        kind="block",
        targets=tuple((("client_address", a),) for a in ATTACKERS),
        cause="01KFYX0000BURST0000000000",
        reason="request burst from 40 clients",
        start=_at(-88),
        end=_at(0) + timedelta(minutes=8),
    )
