"""serve: tell every edge the actions in force, at once and until they end.

A unix stream socket (mode 0600) on which each client gets one line on connect and one on every
change, and a snapshot file with the same line for an edge that starts while core is down. Each
client has one slot for the newest line: a slow one skips versions, one that takes nothing for
``STUCK`` seconds is cut off, and neither holds up the others.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from deepmoat.kit.errors import ConfigError
from deepmoat.kit.files import write_atomically
from deepmoat.kit.meters import count, drop, gauge
from deepmoat.kit.tasks import Group
from deepmoat.model import Action
from deepmoat.respond.enforce.edge import Orders, decode, encode, next_version
from deepmoat.respond.ledger import in_force, next_end

STUCK = 10.0
_LONGEST_WAIT = 5.0  # the clock may be set while we wait for an end
_LOG = logging.getLogger("deepmoat.respond")


class _Client:
    """One connected edge; ``fresh`` is set when there is a line it has not got."""

    def __init__(self) -> None:
        self.fresh = asyncio.Event()
        self.fresh.set()


class ActionServer:
    """Push the actions in force. Belongs to one event loop; ``publish`` is called on it."""

    def __init__(self, folder: Path, *, stuck: float = STUCK) -> None:
        """``folder`` is the data folder's ``run``; ``stuck`` seconds without progress cut a client off."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket, self.snapshot = folder / "actions.sock", folder / "actions.json"
        self.stuck = stuck
        self.orders = Orders(_last_version(self.snapshot))
        self._line = encode(self.orders)
        self._clients: set[_Client] = set()
        self.published = False
        self._changed, self._ends = asyncio.Event(), asyncio.Event()

    @property
    def clients(self) -> int:
        """How many edges are connected."""
        return len(self._clients)

    def publish(self, actions: Iterable[Action]) -> None:
        """Make ``actions`` those in force: told at once, written to the snapshot right after."""
        now = datetime.now(UTC)
        kept = in_force(actions, now)
        self.orders = Orders(next_version(self.orders.version, now.timestamp()), kept)
        self._line, self.published = encode(self.orders), True
        for client in self._clients:
            client.fresh.set()
        self._changed.set()
        self._ends.set()
        gauge("deepmoat_respond_actions_in_force", len(kept))

    async def serve(self, ready: asyncio.Event | None = None) -> None:
        """Listen until cancelled. Raises ConfigError where the socket cannot be made."""
        listening = _listening(self.socket)
        try:
            async with Group() as group:
                server = await asyncio.start_unix_server(
                    lambda reader, writer: self._connected(group, reader, writer),
                    sock=listening,
                )
                group.create_task(self._expire())
                group.create_task(self._write())
                self._changed.set()
                if ready:
                    ready.set()
                try:
                    await server.serve_forever()
                finally:
                    server.close()
        finally:
            self.socket.unlink(missing_ok=True)

    def _connected(
        self, group: asyncio.TaskGroup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """An edge connected; one that comes while we are ending is turned away, and comes again."""
        talk = self._talk(reader, writer)
        try:
            group.create_task(talk)
        except RuntimeError:
            talk.close()
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client()
        self._clients.add(client)
        writer.transport.set_write_buffer_limits(high=0)
        try:
            async with Group() as group:
                group.create_task(self._watch_end(reader))
                group.create_task(self._feed(client, writer))
        except* (OSError, TimeoutError, _GoneError) as exc:
            stuck = any(isinstance(e, TimeoutError) for e in exc.exceptions)
            count("deepmoat_respond_edges_left_total", reason="stuck" if stuck else "gone")
        finally:
            self._clients.discard(client)
            writer.transport.abort()

    async def _feed(self, client: _Client, writer: asyncio.StreamWriter) -> None:
        while True:
            await client.fresh.wait()
            client.fresh.clear()
            writer.write(self._line)
            async with asyncio.timeout(self.stuck):
                await writer.drain()

    @staticmethod
    async def _watch_end(reader: asyncio.StreamReader) -> None:
        while await reader.read(1024):
            pass  # an edge has nothing to say
        raise _GoneError

    async def _write(self) -> None:
        """The snapshot, off the loop: it waits for the disk."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await asyncio.to_thread(write_atomically, self.snapshot, self._line)
            except OSError as exc:
                drop("respond", "snapshot_not_written")
                _LOG.warning("cannot write %s: %s", self.snapshot, exc.strerror)
                await asyncio.sleep(1)
                self._changed.set()

    async def _expire(self) -> None:
        """Take out each action when it ends. The edge looks at the end itself, too."""
        while True:
            now = datetime.now(UTC)
            if len(in_force(self.orders.actions, now)) < len(self.orders.actions):
                self.publish(self.orders.actions)
            end = next_end(self.orders.actions, now)
            wait = _LONGEST_WAIT if end is None else min(_LONGEST_WAIT, (end - now).total_seconds() + 0.001)
            self._ends.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._ends.wait()


class _GoneError(Exception):
    """The client closed its end."""


def _listening(path: Path) -> socket.socket:
    """A unix socket only we may connect to; nobody can before ``listen``, so before the mode is set."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(0o600)
    except OSError as exc:
        listening.close()
        hint = "give the data folder a shorter path: a socket's may have 107 bytes"
        raise ConfigError(str(exc), where=str(path), hint=hint) from exc
    return listening


def _last_version(snapshot: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return decode(snapshot.read_bytes()).version
    return 0
