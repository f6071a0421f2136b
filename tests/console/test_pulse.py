import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_rig import NOW, Rig

from deepmoat.console.pulse import SPAN, STEP, Bucket, Pulse, filled
from deepmoat.kit.errors import TransientError
from deepmoat.kit.spool import Stream
from deepmoat.store.logs.database import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(database, tmp_path)
    yield rig
    rig.close()


async def put(rig: Rig, ago: float, **fields: object) -> None:
    line = json.dumps({"time": NOW - ago, "client_address": "8.8.8.8", **fields}).encode() + b"\n"
    await rig.committer.commit(Stream("records", "access", "edge-0"), line)


async def test_it_counts_the_last_seconds_the_last_minute_and_the_last_quarter(rig: Rig) -> None:
    for ago in (1, 5, 9.5, 30, 59, 300, 899, 901):
        await put(rig, ago, http_response_status_code=200)
    await put(rig, 2, http_response_status_code=503)
    await put(rig, 3, http_response_status_code=403, verdict="block")
    beat = await Pulse(rig.console_services()).latest()
    assert beat.trouble == ""
    assert beat.rate == 0.5
    assert (beat.minute.requests, beat.minute.failed, beat.minute.stopped) == (7, 1, 1)
    assert sum(b.requests for b in beat.buckets) in (8, 9), "the oldest bar may be cut"
    assert beat.countries == (("US", 9),)


async def test_many_who_look_ask_once(rig: Rig) -> None:
    pulse = Pulse(rig.console_services())
    first = await pulse.latest()
    assert await pulse.latest() is first
    rig.clock.now += rig.console.refresh
    second = await pulse.latest()
    assert second is not first
    pulse.forget()
    assert await pulse.latest() is not second


async def test_a_store_that_fails_is_told_and_the_rest_is_shown(rig: Rig) -> None:
    def ask(*_: object) -> None:
        raise TransientError("the store is busy")

    rig.desk.door = type("Busy", (), {"ask": staticmethod(ask)})()
    beat = await Pulse(rig.console_services()).latest()
    assert beat.trouble == "the store is busy"
    assert len(beat.buckets) == SPAN // STEP


def test_every_bar_of_the_chart_is_there() -> None:
    bars = filled([Bucket(1_000_000, 5)], 1_000_005.0)
    assert len(bars) == SPAN // STEP
    assert bars[-1] == Bucket(1_000_000, 5)
    assert [b.time for b in bars] == list(range(bars[0].time, 1_000_001, STEP))
