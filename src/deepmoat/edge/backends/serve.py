"""Connections to backends: made, names looked up again, health asked for."""

import asyncio
import socket
import ssl
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.balance.health import is_well, probe
from deepmoat.edge.proxy.exchange import Exchange
from deepmoat.edge.proxy.policy import Policy
from deepmoat.edge.proxy.upstream import Upstream
from deepmoat.edge.proxy.worker import Asker, Worker
from deepmoat.edge.tls.serve import backend_context
from deepmoat.kit.addresses import canonical
from deepmoat.kit.meters import count, gauge


class Connector:
    """Reaches the backends of one policy."""

    def __init__(self, worker: Worker, policy: Policy, name: str) -> None:
        """``name`` is the worker's, for meters. Raises ConfigError for TLS settings that cannot be used."""
        self._worker, self._policy, self._name = worker, policy, name
        backend_context.cache_clear()  # the files may be others now
        for backend in policy.balancer.backends:
            self._secured(backend)

    async def dial(self, asker: Asker, exchange: Exchange, backend: Backend) -> None:
        """Connect to ``backend`` for ``exchange``; tell ``asker`` how it went."""
        pool = self._worker.pool
        try:
            async with asyncio.timeout(self._policy.timeouts.connect):
                made: Any = partial(Upstream, backend, pool.forget)
                _, upstream = await asyncio.get_running_loop().create_connection(
                    made, backend.next_address(), backend.port, **self._secured(backend)
                )
        except (OSError, ValueError):  # ValueError: a name that is none
            count("deepmoat_edge_backend_failures_total", backend=backend.address)
            asker.dial_failed(exchange)
            return
        asker.dialed(exchange, upstream)

    def _secured(self, backend: Backend) -> dict[str, Any]:
        tls = backend.settings.tls
        if tls is None:
            return {}
        return {"ssl": backend_context(tls), "server_hostname": tls.server_name or backend.host}

    async def watch(self, backend: Backend) -> None:
        """Ask ``backend`` how it is, again and again."""
        health = self._policy.settings.health
        while True:
            backend.probed(await self._ask(backend), time.monotonic())
            gauge(
                "deepmoat_edge_backend_healthy",
                float(backend.health.healthy),
                backend=backend.address,
                worker=self._name,
            )
            await asyncio.sleep(health.every)

    async def _ask(self, backend: Backend) -> bool:
        try:
            async with asyncio.timeout(self._policy.settings.health.timeout):
                reader, writer = await asyncio.open_connection(
                    backend.next_address(), backend.port, **self._secured(backend)
                )
                try:
                    if not backend.settings.health:
                        return True
                    writer.write(probe(backend.settings.health, backend.address))
                    return is_well(await reader.readline())
                finally:
                    writer.close()
        except (OSError, ValueError, ssl.SSLError):
            return False

    def works(self) -> list[Coroutine[Any, Any, None]]:
        """What has to go on for all backends as long as the policy is in force."""
        backends = self._policy.balancer.backends
        named = [b for b in backends if canonical(b.host) is None]
        return [*(self.watch(b) for b in backends), *(self.resolve(b) for b in named)]

    async def resolve(self, backend: Backend) -> None:
        """Look a backend's name up again and again; while that fails the last addresses hold."""
        loop = asyncio.get_running_loop()
        pools = self._policy.balancer.pools
        every = min(p.settings.resolve for p in pools if any(m.backend is backend for m in p.members))
        while True:
            try:
                found = await loop.getaddrinfo(backend.host, backend.port, type=socket.SOCK_STREAM)
                backend.addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
            except (OSError, ValueError):
                count("deepmoat_edge_resolve_failures_total", backend=backend.address)
            await asyncio.sleep(every)
