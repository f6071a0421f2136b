"""Supervisor: one core and N edge workers as child processes, started again when they die.

Children are started by exec (an embedded ClickHouse does not survive fork). Each holds the reading
end of a pipe from here as its standard input: when the supervisor is gone, it reads the end of the
pipe and drains, so nothing is left behind. A child that says its settings are wrong (status 78,
EX_CONFIG) ends the whole, unless it has served before: the others go on with the settings they have.
All others come back after a pause that doubles up to five seconds.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence

import msgspec

from deepmoat.kit.tasks import Group

log = logging.getLogger("deepmoat.supervisor")
EX_CONFIG = 78
DRAIN_SECONDS = 8.0
_CALM_SECONDS = 30.0


class Child(msgspec.Struct, frozen=True):
    """One process to keep alive: its name and its verb with arguments; ``rereads`` its settings on SIGHUP."""

    name: str
    verb: tuple[str, ...]
    rereads: bool = False


def children(workers: int, shared: Sequence[str]) -> list[Child]:
    """One core, ``workers`` edges (0: one for each core of the machine)."""
    count = workers or os.cpu_count() or 1
    edges = [Child(f"edge-{n}", ("edge", "--worker", str(n), *shared), True) for n in range(count)]
    return [Child("core", ("core", *shared)), *edges]


def pause(restarts: int) -> float:
    """Seconds to wait before start number ``restarts`` + 1.

    >>> [pause(n) for n in (0, 1, 2, 10)]
    [0.1, 0.2, 0.4, 5.0]
    """
    return min(5.0, 0.1 * 2.0**restarts)


async def supervise(children: Sequence[Child], stop: asyncio.Event, drain: float = DRAIN_SECONDS) -> int:
    """Keep all alive until ``stop``, then let them drain for ``drain`` seconds; the exit status.

    SIGHUP is handed on to the edges.
    """
    running: dict[str, asyncio.subprocess.Process] = {}
    rereading = {child.name for child in children if child.rereads}
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _hand_on, running, rereading)
    async with Group() as group:
        kept = [group.create_task(_keep(child, stop, running, drain)) for child in children]
    return max(task.result() for task in kept)


def _hand_on(running: Mapping[str, asyncio.subprocess.Process], rereading: Collection[str]) -> None:
    """Tell those that can to read their settings again."""
    for name, process in running.items():
        if name in rereading and process.returncode is None:
            process.send_signal(signal.SIGHUP)


async def _keep(
    child: Child, stop: asyncio.Event, running: dict[str, asyncio.subprocess.Process], drain: float
) -> int:
    restarts, served = 0, False
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        born = loop.time()
        status = await _run(child, stop, running, drain)
        calm = loop.time() - born > _CALM_SECONDS
        served |= calm
        if status == EX_CONFIG and not served:
            stop.set()
            return 1
        if stop.is_set():
            return 0 if status == 0 else 1
        restarts = 0 if calm else restarts + 1
        log.error("%s ended with status %s; starting it again in %.1f s", child.name, status, pause(restarts))
        await _unless(stop, pause(restarts))
    return 0


async def _run(
    child: Child, stop: asyncio.Event, running: dict[str, asyncio.subprocess.Process], drain: float
) -> int:
    command = [sys.executable, "-m", "deepmoat.cli.main", *child.verb]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        env={**os.environ, "DEEPMOAT_SUPERVISED": "1"},
        start_new_session=True,
    )
    running[child.name] = process
    ended = asyncio.ensure_future(process.wait())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not ended.done():
        process.terminate()
        done, _ = await asyncio.wait({ended}, timeout=drain)
        if not done:
            log.error("%s did not drain in %.0f s: killed", child.name, drain)
            process.kill()
    return await ended


async def _unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
