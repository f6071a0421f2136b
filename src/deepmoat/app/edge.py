"""The edge role: one worker of the traffic path on one data folder."""

import asyncio
import logging
import signal

from deepmoat.app.check import check
from deepmoat.app.secret import secret_key
from deepmoat.app.settings import Place, read
from deepmoat.edge.serve import Changes, serve
from deepmoat.edge.settings import EdgeSettings
from deepmoat.kit.errors import MoatError
from deepmoat.kit.meters import count
from deepmoat.kit.tasks import Group

log = logging.getLogger("deepmoat.edge")


async def edge(place: Place, worker: int, stop: asyncio.Event) -> None:
    """Serve until ``stop``; SIGHUP reads the settings again."""
    secret = await asyncio.to_thread(secret_key, place.data)
    changes, asked = Changes(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    async with Group() as group:
        reading = group.create_task(_reread(place, asked, changes))
        try:
            await serve(
                place.moat.edge, worker=worker, data=place.data, secret=secret, stop=stop, changes=changes
            )
        finally:
            reading.cancel()


async def _reread(place: Place, asked: asyncio.Event, changes: Changes) -> None:
    """Read the settings whenever ``asked``; a file with a mistake changes nothing."""
    while True:
        await asked.wait()
        asked.clear()
        try:
            changes.put_nowait(await asyncio.to_thread(_fresh, place))
        except MoatError as exc:
            count("deepmoat_edge_reloads_total", outcome="refused")
            log.error("the new settings are not used: %s", exc)


def _fresh(place: Place) -> EdgeSettings:
    again = read(str(place.file) if place.file else None, str(place.data))
    check(again)
    return again.moat.edge
