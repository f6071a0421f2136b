"""serve: tell every edge the actions in force, at once and until they end.

A unix stream socket (mode 0600) on which each client gets all there are on connect and what is different
on every change (all again, where that is one line or where the client has fallen far behind). Lines are
those of ``enforce/edge.py``. A slow client skips what it can, one that takes nothing for ``STUCK`` seconds
is cut off, and neither holds up the others.

For an edge that starts while core is down there are two files: ``actions.json`` with the lines that tell
all there were, and ``actions.delta`` with the changes since. A change is in one of them within milliseconds
of its push; while a first snapshot of a million targets is being written, within about a second. A new
snapshot is written before the changes are emptied, and only when they have become large.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from deepmoat.kit.errors import ConfigError
from deepmoat.kit.files import write_atomically
from deepmoat.kit.meters import count, drop, gauge
from deepmoat.kit.tasks import Group
from deepmoat.model import Action
from deepmoat.respond.enforce.edge import (
    PIECE,
    Orders,
    changes,
    deltas,
    next_version,
    pieces,
    version_of,
)
from deepmoat.respond.ledger import in_force, next_end

STUCK = 10.0
_MOST_REMEMBERED = 32 << 20
_MOST_CHANGED = 200_000
_MOST_DELTA = 16 << 20
_LONGEST_WAIT = 5.0  # the clock may be set while we wait for an end
_LOG = logging.getLogger("deepmoat.respond")


class _Client:
    """One connected edge; ``fresh`` is set when there is something newer than ``version``."""

    def __init__(self) -> None:
        self.fresh = asyncio.Event()
        self.fresh.set()
        self.version: int | None = None


class _Past:
    """The last changes, as lines: how to get from one version to the next."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, int, bytes]] = deque()
        self._bytes = 0

    def add(self, lines: Iterable[tuple[int, int, bytes]]) -> None:
        """Remember lines (from, version, line) that follow on the last one; old ones are let go."""
        for line in lines:
            self._lines.append(line)
            self._bytes += len(line[2])
        while self._bytes > _MOST_REMEMBERED:
            self._bytes -= len(self._lines.popleft()[2])

    def clear(self) -> None:
        """Forget all: what comes next does not follow on it."""
        self._lines.clear()
        self._bytes = 0

    def since(self, version: int | None) -> Sequence[bytes] | None:
        """The lines from ``version`` on; None when that is not known any more."""
        found: list[bytes] = []
        if version is None:
            return None
        for came_from, _, line in reversed(self._lines):
            found.append(line)
            if came_from == version:
                return found[::-1]
        return None


class ActionServer:
    """Push the actions in force. Belongs to one event loop; ``publish`` is called on it."""

    def __init__(self, folder: Path, *, stuck: float = STUCK, allow: Sequence[str] = ()) -> None:
        """``folder`` is the data folder's ``run``; ``stuck`` seconds without progress cut a client off.

        ``allow`` are networks that edges spare whatever an action says, such as one against a country.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket, self.snapshot = folder / "actions.sock", folder / "actions.json"
        self.delta = folder / "actions.delta"
        self.stuck = stuck
        self.orders = Orders(
            max(_last_version(self.snapshot, 0), _last_version(self.delta, -1)), (), tuple(allow)
        )
        self._past = _Past()
        self._written: int | None = None
        self._few = True
        self._clients: set[_Client] = set()
        self.published = False
        self._changed, self._ends = asyncio.Event(), asyncio.Event()

    @property
    def clients(self) -> int:
        """How many edges are connected."""
        return len(self._clients)

    def publish(self, actions: Iterable[Action]) -> None:
        """Make ``actions`` those in force: told at once, written down right after."""
        now = datetime.now(UTC)
        old, kept = self.orders, in_force(actions, now)
        steps = changes(old.actions, kept)
        version = next_version(old.version, now.timestamp())
        if sum(size for _, _, size in steps) > _MOST_CHANGED:
            self._past.clear()  # as well everything, which is encoded a piece at a time
        else:
            lines = list(deltas(steps, old.version, version))
            self._past.add(lines)
            version = lines[-1][1]
        self.orders = Orders(version, kept, old.allow)
        self._few = self.orders.size() <= PIECE
        self.published = True
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
            orders, lines = self.orders, None if self._few else self._past.since(client.version)
            if orders.version == client.version:
                continue
            for line in pieces(orders) if lines is None else lines:
                writer.write(line)
                async with asyncio.timeout(self.stuck):
                    await writer.drain()
                await asyncio.sleep(0)  # a fast reader must not keep the others waiting
            client.version = orders.version

    @staticmethod
    async def _watch_end(reader: asyncio.StreamReader) -> None:
        while await reader.read(1024):
            pass  # an edge has nothing to say
        raise _GoneError

    async def _write(self) -> None:
        """The files, off the loop: they wait for the disk."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            orders, lines = self.orders, None if self._few else self._past.since(self._written)
            if orders.version == self._written:
                continue
            try:
                await asyncio.to_thread(self._keep, orders, lines)
            except OSError as exc:
                self._written = None
                drop("respond", "snapshot_not_written")
                _LOG.warning("cannot write %s: %s", self.snapshot, exc.strerror)
                await asyncio.sleep(1)
                self._changed.set()
            else:
                self._written = orders.version

    def _keep(self, orders: Orders, lines: Sequence[bytes] | None) -> None:
        """Append ``lines`` to the changes; without them, or when those are many, write everything anew."""
        if lines is not None and self.delta.exists() and self.delta.stat().st_size < _MOST_DELTA:
            with self.delta.open("ab") as file:
                file.write(b"".join(lines))
                file.flush()
                os.fdatasync(file.fileno())
            return
        write_atomically(self.snapshot, b"".join(pieces(orders)))
        write_atomically(self.delta, b"")

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


def _last_version(path: Path, line: int) -> int:
    """The version that a file's first (0) or last (-1) line says; 0 where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError), path.open("rb") as file:
        return version_of(file.readline() if line == 0 else file.read().splitlines()[line])
    return 0
