"""Actions from core: the files it left when the worker starts, then its socket for as long as both live.

What a line says is decoded and put in force in a thread, one line at a time, so that a million entries do not
stall the loop.
"""

import asyncio
from pathlib import Path

from deepmoat.edge.guard.actions import InForce
from deepmoat.kit.errors import PeerError
from deepmoat.kit.meters import drop

_RECONNECT = 0.2
_MOST_MESSAGE = 64 << 20


class Follower:
    """Keeps ``actions`` as core says."""

    def __init__(self, run: Path, actions: InForce) -> None:
        """``run`` is the data folder's ``run``."""
        self._run, self._actions = run, actions
        self._writer: asyncio.StreamWriter | None = None

    def connect_anew(self) -> None:
        """Hear everything again: with other settings other fields can be seen."""
        if self._writer is not None:
            self._writer.close()

    async def read_files(self) -> None:
        """The orders that held when core last wrote them: they hold before core is there."""
        try:
            await asyncio.to_thread(self._restore)
        except FileNotFoundError:
            return
        except (OSError, PeerError):
            drop("edge.actions", "unreadable")

    def _restore(self) -> None:
        try:
            delta = (self._run / "actions.delta").read_bytes()
        except FileNotFoundError:
            delta = b""
        with (self._run / "actions.json").open("rb") as snapshot:
            self._actions.restore(snapshot, delta)

    async def follow(self) -> None:
        """Take what core pushes; when it is away, keep what holds and try again."""
        path = str(self._run / "actions.sock")
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(path, limit=_MOST_MESSAGE)
            except OSError:
                await asyncio.sleep(_RECONNECT)
                continue
            try:
                await self._listen(reader)
            except (OSError, ValueError):
                drop("edge.actions", "unreadable")
            finally:
                self._writer.close()
            await asyncio.sleep(_RECONNECT)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Take lines until core is gone, or has to tell everything again."""
        while line := await reader.readline():
            try:
                taken = await asyncio.to_thread(self._actions.take, line)
            except PeerError:
                drop("edge.actions", "unreadable")
                continue
            if taken == "gap":
                drop("edge.actions", "gap")
                return
