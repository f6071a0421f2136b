"""One edge worker: what listens, what connects, the clock, the disk and core, started and stopped in order.

The rest of the edge takes bytes and times and gives values back; everything that waits is here and in the
``serve.py`` of ``listen``, ``backends`` and ``orders``.
"""

import asyncio
import gc
import logging
import os
import resource
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from deepmoat.edge.backends.serve import Connector
from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.balance.drains import read_drains
from deepmoat.edge.listen.serve import Doorman, listen_plain
from deepmoat.edge.orders.serve import Follower
from deepmoat.edge.proxy.exchange import Exchange
from deepmoat.edge.proxy.ground import Ground, make_policy, private_ground
from deepmoat.edge.proxy.worker import Asker, Worker
from deepmoat.edge.records import encoded
from deepmoat.edge.settings import EdgeSettings, endpoint
from deepmoat.edge.tls.serve import Certificates, backend_context
from deepmoat.kit.errors import ConfigError, MoatError, PeerError
from deepmoat.kit.files import write_atomically
from deepmoat.kit.ids import new_id
from deepmoat.kit.meters import count, drop, gauge, snapshot
from deepmoat.kit.shared import open_shared
from deepmoat.kit.spool import Spool, Stream, whole_lines
from deepmoat.kit.tasks import Group

log = logging.getLogger("deepmoat.edge")
_SWEEP, _FLUSH, _SEAL, _METERS, _ADMIT = 0.5, 0.1, 0.25, 1.0, 0.02
Changes = asyncio.Queue[EdgeSettings]
"""New settings for a running worker."""


async def serve(
    settings: EdgeSettings,
    *,
    worker: int,
    data: Path,
    secret: bytes,
    stop: asyncio.Event | None = None,
    listening: "asyncio.Future[int] | None" = None,
    changes: Changes | None = None,
) -> None:
    """Serve until ``stop``; then drain what is in flight, seal the spool and return.

    ``data`` is the data folder, ``secret`` the key of keyed hashes. ``listening`` is given the port once
    requests are taken. What comes through ``changes`` replaces the settings; settings that cannot be used
    change nothing. Raises ConfigError for settings that cannot be used at the start, TransientError when
    another process owns this worker's spool.
    """
    edge = _Edge(settings, worker, data, secret)
    _tune_process()
    try:
        await edge.serve(stop or asyncio.Event(), listening, changes)
    finally:
        edge.spool.close()


def try_out(settings: EdgeSettings) -> None:
    """Make all that ``settings`` ask for, but serve nobody. Raises ConfigError for what cannot be used."""
    for text, where in ((settings.listen, "[edge] listen"), (settings.tls.listen, "[edge.tls] listen")):
        if text:
            endpoint(text, where=where)
    policy = make_policy(settings, private_ground(), 0.0)
    for backend in policy.balancer.backends:
        if backend.settings.tls is not None:
            backend_context(backend.settings.tls)
    if settings.tls.listen:
        Certificates(settings.tls)


class _Edge:
    """The loops of one worker."""

    def __init__(self, settings: EdgeSettings, number: int, data: Path, secret: bytes) -> None:
        self.number, self.name, self.data, self.run = number, f"edge-{number}", data, data / "run"
        self.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ground = Ground(
            secret=secret,
            shared=lambda name, size: open_shared(self.run / name, size),
            persistent=lambda name, size: open_shared(data / "budgets" / name, size),
            workers=max(settings.workers or os.cpu_count() or 1, number + 1),
            worker=number,
        )
        self.plain = endpoint(settings.listen, where="edge.listen") if settings.listen else None
        self.secure = endpoint(settings.tls.listen, where="edge.tls.listen") if settings.tls.listen else None
        if self.plain is self.secure is None:
            raise ConfigError("the edge listens nowhere", where="[edge]", hint="set listen or tls.listen")
        policy = make_policy(settings, self.ground, time.monotonic())
        self.queueing = asyncio.Event()
        self.worker = Worker(
            policy,
            clock=time.monotonic,
            dial=self.dial,
            soon=asyncio.get_running_loop().call_soon,
            queueing=self.queueing.set,
            reset=_reset,
            name=new_id(_now())[-12:].lower(),
        )
        self.worker.epoch = _now() - time.monotonic()
        self.connector = Connector(self.worker, policy, self.name)
        self.certificates = Certificates(settings.tls) if settings.tls.listen else None
        self.orders = Follower(self.run, policy.guard.actions)
        self.spool = Spool(data / "spool" / self.name, whole=lambda _: whole_lines)
        self.full = self.ended = False
        self.waiting = 0
        self.drained: tuple[float, int] = (0.0, 0)
        self.dials: Any = None
        self.watching: list[asyncio.Task[None]] = []
        self.doors: list[Doorman] = []

    async def serve(
        self, stop: asyncio.Event, listening: "asyncio.Future[int] | None", changes: Changes | None
    ) -> None:
        """Everything, until ``stop``."""
        await self.orders.read_files()
        self.read_drains()
        async with Group() as dials:
            self.dials = dials
            server, port = await self.listen()
            async with Group() as loops:
                loops.create_task(self.keep())
                endless = [self.sweep(), self.admit(), self.orders.follow(), *(d.run() for d in self.doors)]
                if changes is not None:
                    endless.append(self.change(loops, changes))
                if self.certificates is not None:
                    endless.append(self.reread())
                tasks = [loops.create_task(work) for work in endless]
                self.watch(loops)
                if listening is not None:
                    listening.set_result(port)
                await stop.wait()
                await self.drain(server)
                for task in (*tasks, *self.watching):
                    task.cancel()
                self.ended = True

    async def listen(self) -> tuple[asyncio.Server | None, int]:
        """Open the sockets; the plain server if there is one, and the first port."""
        settings = self.worker.policy.settings
        server, port = None, 0
        if self.plain and settings.proxy_protocol:
            self.doors.append(Doorman(self.worker, self.plain, None))
        elif self.plain:
            server = await listen_plain(self.worker, self.plain)
            port = server.sockets[0].getsockname()[1]
        if self.secure:
            self.doors.append(Doorman(self.worker, self.secure, self.certificates))
        return server, port or self.doors[0].port

    async def drain(self, server: asyncio.AbstractServer | None) -> None:
        """No new connections; let requests in flight end, for a while."""
        if server is not None:
            server.close()
        for door in self.doors:
            door.close()
        worker = self.worker
        worker.draining = True
        end = time.monotonic() + worker.timeouts.drain
        for client in list(worker.clients):
            client.drain()
        while worker.clients and time.monotonic() < end:  # noqa: ASYNC110 - once in a worker's life
            await asyncio.sleep(0.02)
        for client in list(worker.clients):
            drop("edge", "cut_at_stop")
            client.abort()
        worker.pool.close_unused(float("inf"))
        await asyncio.sleep(0)

    # Settings.

    async def change(self, loops: asyncio.TaskGroup, changes: Changes) -> None:
        """Take new settings as they come. What cannot be used is said, and changes nothing."""
        while True:
            settings = await changes.get()
            try:
                self.take(loops, settings)
            except MoatError as exc:
                count("deepmoat_edge_reloads_total", outcome="refused")
                log.error("the new settings are not used: %s", exc)
                continue
            count("deepmoat_edge_reloads_total", outcome="taken")
            log.info("new settings are in use")

    def take(self, loops: asyncio.TaskGroup, settings: EdgeSettings) -> None:
        """Put ``settings`` in force; connections and requests under way stay."""
        worker, old = self.worker, self.worker.policy
        fixed = ("listen", "workers", "proxy_protocol")
        for name in fixed:
            if getattr(settings, name) != getattr(old.settings, name):
                log.warning("[edge] %s changes at the next start", name)
        if settings.tls.listen != old.settings.tls.listen:
            log.warning("[edge.tls] listen changes at the next start")
        certificates = Certificates(settings.tls) if self.certificates is not None else None
        policy = make_policy(settings, self.ground, time.monotonic(), old)
        connector = Connector(worker, policy, self.name)
        worker.take(policy)
        self.connector = connector
        if policy.guard.wants_state:
            self.orders.connect_anew()
        self.present(certificates)
        self.drained = (0.0, 0)
        self.read_drains()
        self.watch(loops)

    def present(self, certificates: Certificates | None) -> None:
        """Show ``certificates`` to those who connect from now on."""
        self.certificates = certificates
        for door in self.doors:
            if door.certificates is not None:
                door.certificates = certificates

    async def reread(self) -> None:
        """Look whether certificate files have changed, and take them when they can be used."""
        refused = None
        while self.certificates is not None:
            await asyncio.sleep(self.certificates.settings.reread)
            if not self.certificates.changed():
                continue
            try:
                self.present(Certificates(self.certificates.settings))
                count("deepmoat_edge_certificates_total", outcome="taken")
            except ConfigError as exc:
                count("deepmoat_edge_certificates_total", outcome="refused")
                if refused != str(exc):
                    refused = str(exc)
                    log.error("the changed certificate is not used: %s", exc)

    # Backends.

    def dial(self, asker: Asker, exchange: Exchange, backend: Backend) -> None:
        """Connect to ``backend`` for ``exchange``."""
        self.dials.create_task(self.connector.dial(asker, exchange, backend))

    def watch(self, loops: asyncio.TaskGroup) -> None:
        """Watch the backends of the policy in force, and no longer those of the one before."""
        for task in self.watching:
            task.cancel()
        self.watching = [loops.create_task(work) for work in self.connector.works()]

    def read_drains(self) -> None:
        """Take the list of drained backends, when it has changed."""
        path = self.run / "drained.json"
        try:
            found = path.stat()
            stamp = found.st_mtime, found.st_ino
            if stamp == self.drained:
                return
            drained = read_drains(path.read_bytes())
        except FileNotFoundError:
            stamp, drained = (0.0, 0), frozenset()
        except (OSError, PeerError):
            drop("edge.drains", "unreadable")
            return
        self.drained = stamp
        self.worker.policy.balancer.drain(drained)

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
            self.read_drains()
            worker.admit()

    async def admit(self) -> None:
        """While requests wait: give them places that others have freed, and end what waits too long."""
        while True:
            await self.queueing.wait()
            await asyncio.sleep(_ADMIT)
            self.worker.admit()
            if not self.worker.balancer.waiting:
                self.queueing.clear()

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
                self.worker.account.settle(now)
            await asyncio.to_thread(self.write, self.worker.account.journal.take(), now)
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
        clients, policy = self.worker.clients, self.worker.policy
        gauge("deepmoat_edge_spool_bytes", self.waiting, worker=self.name)
        gauge("deepmoat_edge_connections", len(clients), worker=self.name)
        gauge("deepmoat_edge_requests_in_flight", sum(c.busy for c in clients), worker=self.name)
        gauge("deepmoat_edge_requests_queued", policy.balancer.waiting, worker=self.name)
        gauge("deepmoat_edge_actions_in_force", policy.guard.actions.in_force(_now()), worker=self.name)
        return msgspec.json.encode(snapshot())

    def write_meters(self, meters: bytes) -> None:
        """Put ``meters`` where core finds them, and see how full the spool is."""
        self.waiting = self.spool.size()
        self.full = self.waiting > self.worker.limits.spool_bytes
        try:
            write_atomically(self.run / f"meters-{self.name}.json", meters)
        except OSError:
            drop("edge", "meters_unwritten")


def _tune_process() -> None:
    """As many connections as the system allows, and no look by the collector at what stays anyway."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def _reset(transport: Any) -> None:
    """Have the connection end with a reset when it is aborted, not as if all had been said."""
    taken = transport.get_extra_info("socket")
    if taken is not None:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _now() -> float:
    return time.time()  # noqa: TID251 - the edge's one look at the clock on the wall
