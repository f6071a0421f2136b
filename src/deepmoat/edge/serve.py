"""One edge worker: the listening socket, the connections to backends, the clock, the disk and core.

The rest of the edge takes bytes and times and gives values back; everything that waits is here.
"""

import asyncio
import gc
import resource
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from deepmoat.edge.balance.health import Health, is_well, probe
from deepmoat.edge.balance.rotation import Backend, Rotation
from deepmoat.edge.chain import chain
from deepmoat.edge.guard.actions import InForce, read_orders
from deepmoat.edge.guard.rate import RateLimit
from deepmoat.edge.proxy.client import Client
from deepmoat.edge.proxy.exchange import Exchange
from deepmoat.edge.proxy.upstream import Upstream
from deepmoat.edge.proxy.worker import Guest, Worker
from deepmoat.edge.records import encoded
from deepmoat.edge.settings import BackendSettings, EdgeSettings, endpoint
from deepmoat.kit.errors import MoatError, PeerError
from deepmoat.kit.files import write_atomically
from deepmoat.kit.ids import new_id
from deepmoat.kit.meters import count, drop, gauge, snapshot
from deepmoat.kit.spool import Spool, Stream, whole_lines
from deepmoat.kit.tasks import Group

_SWEEP, _FLUSH, _SEAL, _METERS = 0.5, 0.1, 0.25, 1.0
_RECONNECT = 0.2
_MOST_MESSAGE = 512 << 20


async def serve(
    settings: EdgeSettings,
    *,
    worker: int,
    data: Path,
    secret: bytes,
    stop: asyncio.Event | None = None,
    listening: "asyncio.Future[int] | None" = None,
) -> None:
    """Serve until ``stop``; then drain what is in flight, seal the spool and return.

    ``data`` is the data folder, ``secret`` the key of keyed hashes. ``listening`` is given the port once
    requests are taken. Raises ConfigError for settings that cannot be used, TransientError when another
    process owns this worker's spool.
    """
    edge = _Edge(settings, worker, data, secret)
    _tune_process()
    try:
        await edge.serve(stop or asyncio.Event(), listening)
    finally:
        edge.spool.close()


class _Edge:
    """The loops of one worker."""

    def __init__(self, settings: EdgeSettings, number: int, data: Path, secret: bytes) -> None:
        self.settings, self.name, self.run = settings, f"edge-{number}", data / "run"
        self.address = endpoint(settings.listen, where="edge.listen")
        self.rotation = Rotation(_backend(b, settings) for b in settings.backends)
        self.actions = InForce()
        rate = settings.rate
        self.worker = Worker(
            settings,
            secret=secret,
            rotation=self.rotation,
            checks=chain(self.actions, RateLimit(rate.requests_per_second, rate.burst, rate.clients)),
            clock=time.monotonic,
            dial=self.dial,
            soon=asyncio.get_running_loop().call_soon,
            name=new_id(_now())[-12:].lower(),
        )
        self.worker.epoch = _now() - time.monotonic()
        self.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.spool = Spool(data / "spool" / self.name, whole=lambda _: whole_lines)
        self.full = self.ended = False
        self.waiting = 0
        self.tasks: Any = None

    async def serve(self, stop: asyncio.Event, listening: "asyncio.Future[int] | None") -> None:
        """Everything, until ``stop``."""
        await self.read_snapshot()
        loop = asyncio.get_running_loop()
        async with Group() as dials:
            self.tasks = dials
            client: Any = partial(Client, self.worker)
            server = await loop.create_server(client, *self.address, reuse_port=True, backlog=4096)
            async with Group() as loops:
                loops.create_task(self.keep())
                endless = [loops.create_task(w) for w in (self.sweep(), self.follow(), *self.probes())]
                if listening is not None:
                    listening.set_result(server.sockets[0].getsockname()[1])
                await stop.wait()
                await self.drain(server)
                for task in endless:
                    task.cancel()
                self.ended = True

    async def drain(self, server: asyncio.AbstractServer) -> None:
        """No new connections; let requests in flight end, for a while."""
        server.close()
        worker = self.worker
        worker.draining = True
        end = time.monotonic() + self.settings.timeouts.drain
        for client in list(worker.clients):
            client.drain()
        while worker.clients and time.monotonic() < end:  # noqa: ASYNC110 - once in a worker's life
            await asyncio.sleep(0.02)
        for client in list(worker.clients):
            drop("edge", "cut_at_stop")
            client.abort()
        worker.pool.close_unused(float("inf"))
        await asyncio.sleep(0)

    # Backends.

    def dial(self, client: Guest, exchange: Exchange, backend: Backend) -> None:
        """Connect to ``backend`` for ``exchange``."""
        self.tasks.create_task(self._dial(client, exchange, backend))

    async def _dial(self, client: Guest, exchange: Exchange, backend: Backend) -> None:
        loop = asyncio.get_running_loop()
        pool = self.worker.pool
        try:
            async with asyncio.timeout(self.settings.timeouts.connect):
                made: Any = partial(Upstream, backend.address, pool.forget)
                _, upstream = await loop.create_connection(made, backend.host, backend.port)
        except OSError:
            backend.health.failed()
            count("deepmoat_edge_backend_failures_total", backend=backend.address)
            client.dial_failed(exchange)
            return
        client.dialed(exchange, upstream)

    def probes(self) -> list[Any]:
        """One endless health check a backend."""
        return [self._probe(backend) for backend in self.rotation.backends]

    async def _probe(self, backend: Backend) -> None:
        while True:
            well = await self._ask(backend)
            backend.health.succeeded() if well else backend.health.failed()
            gauge(
                "deepmoat_edge_backend_healthy",
                float(backend.health.healthy),
                backend=backend.address,
                worker=self.name,
            )
            await asyncio.sleep(self.settings.health.every)

    async def _ask(self, backend: Backend) -> bool:
        try:
            async with asyncio.timeout(self.settings.timeouts.connect):
                reader, writer = await asyncio.open_connection(backend.host, backend.port)
                try:
                    if not backend.probe:
                        return True
                    writer.write(backend.probe)
                    return is_well(await reader.readline())
                finally:
                    writer.close()
        except (OSError, ValueError):
            return False

    # Actions.

    async def read_snapshot(self) -> None:
        """The orders that held when core last wrote them: they hold before core is there."""
        path = self.run / "actions.json"
        try:
            line = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            return
        await self.take(line)

    async def follow(self) -> None:
        """Take each list of orders that core pushes; when it is away, keep the last and try again."""
        path = str(self.run / "actions.sock")
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(path, limit=_MOST_MESSAGE)
            except OSError:
                await asyncio.sleep(_RECONNECT)
                continue
            try:
                while line := await reader.readline():
                    await self.take(line)
            except (OSError, ValueError):
                drop("edge.actions", "unreadable")
            finally:
                writer.close()
            await asyncio.sleep(_RECONNECT)

    async def take(self, line: bytes) -> None:
        """Put the orders of one message in force; one that cannot be read changes nothing."""
        try:
            orders = await asyncio.to_thread(read_orders, line)
        except PeerError:
            drop("edge.actions", "unreadable")
            return
        if orders.unknown:
            drop("edge.actions", "unknown_target", orders.unknown)
        self.actions.replace(orders)

    # Time.

    async def sweep(self) -> None:
        """End what has waited too long."""
        worker = self.worker
        while True:
            await asyncio.sleep(_SWEEP)
            worker.tick = tick = time.monotonic()
            worker.epoch = _now() - tick
            for client in [c for c in worker.clients if c.deadline <= tick]:
                client.expire()
            worker.pool.close_unused(tick - worker.timeouts.reuse)

    # Disk.

    async def keep(self) -> None:
        """Make records durable a few times a second and hand counters on once a second, off the loop."""
        metered = 0.0
        last = False
        while not last:
            last = self.ended
            await asyncio.sleep(0 if last else _FLUSH)
            now = _now()
            second = last or now - metered >= _METERS
            if second:
                metered = now
                self.worker.settle(now)
            await asyncio.to_thread(self.write, self.worker.journal.take(), now)
            if second:
                await asyncio.to_thread(self.write_meters, self.measure())

    def write(self, records: Mapping[str, Sequence[msgspec.Struct]], now: float) -> None:
        """Append, sync and seal; what the disk does not take is counted and let go: traffic comes first."""
        count = sum(map(len, records.values()))
        if self.full and count:
            drop("edge", "spool_full", count)
            return
        appended = 0
        for logstore, batch in records.items():
            try:
                self.spool.append(Stream("records", logstore, self.name), b"".join(encoded(batch)), now)
                appended += len(batch)
            except MoatError:
                drop("edge", "disk_full", len(batch))
        try:
            self.spool.sync()
        except MoatError:  # the spool has taken back what it could not make durable
            drop("edge", "disk_full", appended)
            return
        try:
            self.spool.seal(older_than=now - _SEAL)
        except MoatError:
            drop("edge", "not_sealed")

    def measure(self) -> bytes:
        """All meters of this process as JSON. Taken in the loop: nobody counts meanwhile."""
        clients = self.worker.clients
        gauge("deepmoat_edge_spool_bytes", self.waiting, worker=self.name)
        gauge("deepmoat_edge_connections", len(clients), worker=self.name)
        gauge("deepmoat_edge_requests_in_flight", sum(c.busy for c in clients), worker=self.name)
        gauge("deepmoat_edge_actions_in_force", self.actions.orders.in_force(_now()), worker=self.name)
        return msgspec.json.encode(snapshot())

    def write_meters(self, meters: bytes) -> None:
        """Put ``meters`` where core finds them, and see how full the spool is."""
        self.waiting = self.spool.size()
        self.full = self.waiting > self.settings.limits.spool_bytes
        try:
            write_atomically(self.run / f"meters-{self.name}.json", meters)
        except OSError:
            drop("edge", "meters_unwritten")


def _backend(settings: BackendSettings, edge: EdgeSettings) -> Backend:
    host, port = endpoint(settings.address, where="edge.backends.address")
    health = Health(edge.health.fall, edge.health.rise)
    return Backend(settings.address, host, port, probe(settings.health, settings.address), health)


def _tune_process() -> None:
    """As many connections as the system allows, and no look by the collector at what stays anyway."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def _now() -> float:
    return time.time()  # noqa: TID251 - the edge's one look at the clock on the wall
