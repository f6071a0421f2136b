"""Serve the app with uvicorn until told to stop.

uvicorn catches SIGTERM itself and raises it again when it is done, which would end the process with
status 143 and skip its clean-up: signals are the caller's here.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI

from deepmoat.kit.errors import ConfigError
from deepmoat.kit.tasks import Group

GRACE = 3
"""Seconds that open requests get to end; then they are cut off."""

_LARGEST_MESSAGE = 1_048_576


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, that says when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: FastAPI,
    host: str,
    port: int,
    stop: asyncio.Event,
    *,
    forwarders: Sequence[str] = ("127.0.0.1", "::1"),
    ready: Callable[[int], None] | None = None,
) -> None:
    """Serve ``app`` until ``stop`` is set; then end within 5 s, open websockets and streams included.

    ``ready`` is called with the port once it listens (``port`` 0 chooses a free one). Raises ConfigError
    when the address cannot be had.
    """
    listening = _listening(host, port)
    bound: int = listening.getsockname()[1]
    server = _Server(_config(app, forwarders), lambda: ready(bound) if ready else None)
    try:
        async with Group() as group:
            running = group.create_task(server.serve(sockets=[listening]))
            watch = group.create_task(_stop(server, stop))
            await asyncio.wait([running])
            watch.cancel()
    finally:
        listening.close()


async def _stop(server: _Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True
    await asyncio.sleep(GRACE + 1)
    server.force_exit = True


def _config(app: FastAPI, forwarders: Sequence[str]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=_LARGEST_MESSAGE,
        lifespan="on",
        log_config=None,
        log_level="warning",  # websockets would be logged with the ids of their pages
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=True,
        forwarded_allow_ips=list(forwarders),
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=2000,
    )


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if _is_six(host) else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        raise ConfigError(str(exc), where=f"api {host}:{port}") from exc
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as exc:
        listening.close()
        hint = "is something else listening there? choose another api.port"
        raise ConfigError(f"cannot listen: {exc.strerror}", where=f"api {host}:{port}", hint=hint) from exc
    listening.setblocking(False)
    return listening


def _is_six(host: str) -> bool:
    try:
        return ip_address(host).version == 6
    except ValueError:
        return False
