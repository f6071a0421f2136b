"""The listening sockets. A plain one hands connections to ``Client`` at once; where a PROXY header or a TLS
handshake comes first, what the client sent is looked at before anything is taken from the socket: the header
is cut off, the ClientHello is fingerprinted (JA4) and left for OpenSSL.
"""

import asyncio
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from deepmoat.edge.proxy.client import Client
from deepmoat.edge.proxy.http2 import Http2Client
from deepmoat.edge.proxy.origin import Origin, forwarding
from deepmoat.edge.proxy.worker import Worker
from deepmoat.edge.tls.serve import Certificates
from deepmoat.edge.wire.client_hello import MOST_BYTES, ClientHello, read_client_hello
from deepmoat.edge.wire.ja4 import ja4
from deepmoat.edge.wire.proxy_protocol import read_proxy_header
from deepmoat.kit.errors import ConfigError, PeerError
from deepmoat.kit.meters import count
from deepmoat.kit.tasks import Group

_BACKLOG = 4096
_PEEK = MOST_BYTES + 4096  # a ClientHello and a PROXY header
_ACCEPTS = 64  # at once, before others get their turn
_MORE = 0.01  # seconds between two looks at a ClientHello that has not all come
_BREATH = 0.1
_GOODBYE = 2.0
_REASONS = {
    "proxy_protocol": "bad_proxy_header",
    "tls_handshake": "tls_handshake",
    "client_left": "client_left",
}


async def listen_plain(worker: Worker, address: tuple[str, int]) -> asyncio.Server:
    """Take plain HTTP on ``address``."""
    client: Any = partial(Client, worker)
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(client, *address, reuse_port=True, backlog=_BACKLOG)
    except OSError as exc:
        raise _taken(exc, address) from exc


class Doorman:
    """Accepts connections that begin with something else than HTTP. ``certificates`` None is a plain one."""

    def __init__(self, worker: Worker, address: tuple[str, int], certificates: Certificates | None) -> None:
        """Raises ConfigError when the address cannot be listened on."""
        self._worker, self.certificates = worker, certificates
        self._greeting: Counter[str] = Counter()
        try:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            self._socket = socket.create_server(address, family=family, reuse_port=True, backlog=_BACKLOG)
        except OSError as exc:
            raise _taken(exc, address) from exc
        self._socket.setblocking(False)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._socket.getsockname()[1])

    async def run(self) -> None:
        """Accept until cancelled; handshakes under way are then ended."""
        loop = asyncio.get_running_loop()
        async with Group() as group:
            loop.add_reader(self._socket, self._accept, group)
            try:
                await asyncio.Event().wait()
            finally:
                self.close()

    def close(self) -> None:
        """Accept no more."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _accept(self, group: asyncio.TaskGroup) -> None:
        for _ in range(_ACCEPTS):
            try:
                taken, peer = self._socket.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors, most likely: those there are must end first
                count("deepmoat_edge_refused_total", reason="accept_failed")
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._socket)
                loop.call_later(_BREATH, self._listen_again, group)
                return
            taken.setblocking(False)
            if self._crowded(peer[0]):
                count("deepmoat_edge_refused_total", reason="too_many_connections")
                taken.close()
                continue
            group.create_task(self._greet(taken, peer))

    def _listen_again(self, group: asyncio.TaskGroup) -> None:
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._socket, self._accept, group)

    def _crowded(self, address: str) -> bool:
        """Are there as many handshakes as may be?"""
        worker, limits = self._worker, self._worker.limits
        all_of_them = len(worker.clients) + self._greeting.total()
        if all_of_them >= limits.connections:
            return True
        return self._greeting[address] >= limits.connections_per_client and not worker.forwarders.trusts(
            address
        )

    async def _greet(self, taken: socket.socket, peer: tuple[str, int]) -> None:
        self._greeting[peer[0]] += 1
        try:
            await self._introduce(taken, peer)
        except (OSError, PeerError, TimeoutError) as exc:
            count("deepmoat_edge_refused_total", reason=_reason(exc))
            taken.close()
        except BaseException:
            taken.close()
            raise
        finally:
            self._greeting[peer[0]] -= 1
            if not self._greeting[peer[0]]:
                del self._greeting[peer[0]]

    async def _introduce(self, taken: socket.socket, peer: tuple[str, int]) -> None:
        worker = self._worker
        timeout = worker.timeouts.tls if self.certificates else worker.timeouts.head
        end = time.monotonic() + timeout
        async with asyncio.timeout(timeout):
            origin = worker.origin(peer)
            if worker.policy.settings.proxy_protocol:
                origin = await self._proxied(taken, origin)
            hello = await _peeked(taken, read_client_hello) if self.certificates else None
        await self._hand_over(taken, origin, hello, end - time.monotonic())

    async def _proxied(self, taken: socket.socket, origin: Origin) -> Origin:
        """Whom a trusted forwarder speaks for; nobody else may begin like that, and a forwarder must."""
        if not origin.trusted:
            raise PeerError("not a trusted forwarder", where="proxy_protocol")
        header = await _peeked(taken, read_proxy_header)
        taken.recv(header.size)
        if not header.client:  # the forwarder's own health check
            return origin
        scheme = "https" if header.tls else origin.scheme
        return msgspec.structs.replace(
            origin,
            address=header.client,
            port=header.client_port,
            trusted=self._worker.forwarders.trusts(header.client),
            scheme=scheme,
            forwarding=forwarding(header.client, scheme),
        )

    async def _hand_over(
        self, taken: socket.socket, origin: Origin, hello: ClientHello | None, left: float
    ) -> None:
        loop, worker = asyncio.get_running_loop(), self._worker
        if hello is None or self.certificates is None:
            plain: Any = partial(Client, worker, origin)
            await loop.connect_accepted_socket(plain, taken)
            return
        told = forwarding(origin.address, "https")
        origin = msgspec.structs.replace(origin, scheme="https", ja4=ja4(hello), forwarding=told)
        speaks_h2 = self.certificates.settings.http2 and b"h2" in hello.alpn
        kind: Callable[[Worker, Origin], Any] = Http2Client if speaks_h2 else Client
        context = self.certificates.context(hello.server_name)

        made: Any = partial(kind, worker, origin)
        try:
            await loop.connect_accepted_socket(
                made,
                taken,
                ssl=context,
                ssl_handshake_timeout=max(0.1, left),
                ssl_shutdown_timeout=_GOODBYE,
            )
        except (ssl.SSLError, ConnectionError) as exc:
            raise PeerError("no handshake", where="tls_handshake") from exc


async def _peeked(taken: socket.socket, read: Callable[[bytes], Any]) -> Any:
    """What ``read`` makes of the first bytes, which stay in the socket; None says that more must come."""
    loop = asyncio.get_running_loop()
    seen = -1
    while True:
        await _readable(taken)
        data = taken.recv(_PEEK, socket.MSG_PEEK)
        if not data:
            raise PeerError("left before saying anything", where="client_left")
        if len(data) != seen:
            seen = len(data)
            if (found := read(data)) is not None:
                return found
        if seen >= _PEEK:
            raise PeerError("too long a beginning", where="malformed")
        await asyncio.sleep(_MORE)
    raise AssertionError(loop)


async def _readable(taken: socket.socket) -> None:
    """Wait until there is something to read."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(taken, _tell, ready)
    try:
        await ready
    finally:
        loop.remove_reader(taken)


def _tell(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


def _reason(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "handshake_timeout"
    if isinstance(exc, PeerError):
        return _REASONS.get(exc.where, "malformed")
    return "client_left"


def _taken(exc: OSError, address: tuple[str, int]) -> ConfigError:
    host, port = address
    return ConfigError(
        f"cannot listen on {host}:{port}: {exc.strerror}", where="[edge] listen", hint="choose another port"
    )
