"""Committer: many senders, one disk. An answer is given when the records would survive a power cut.

Requests that arrive while the disk is busy wait together and share the next fdatasync (group commit): the
appends and the sync of a group run in one thread, so the loop never waits for the disk. A segment is
sealed half a second after it was begun, so that the loader finds it.
"""

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from deepmoat.collect.readers import Readers
from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.errors import MoatError, TransientError
from deepmoat.kit.meters import count, drop, gauge
from deepmoat.kit.spool import Spool, Stream


class _Waiting(msgspec.Struct, frozen=True):
    stream: Stream
    data: bytes
    done: "asyncio.Future[None]"


class Committer:
    """Owns one spool. ``commit`` from any task of one loop; ``run`` is the task that serves it."""

    def __init__(self, folder: Path, readers: Readers, settings: CollectSettings) -> None:
        """Take ``folder`` over; TransientError when another living process owns it."""
        self.settings = settings
        self._spool = Spool(folder, whole=lambda name: readers.get(name).whole)
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="committer")
        self._waiting: list[_Waiting] = []
        self._written: tuple[list[_Waiting], Future[list[MoatError | None]]] | None = None
        self._wake = asyncio.Event()
        self._closed = False
        self._size, self._coming = self._spool.size(), 0

    async def commit(self, stream: Stream, data: bytes) -> None:
        """Return once ``data`` (whole records) is durable.

        Raises TransientError: 507 when the disk or the spool is full, 503 while shutting down.
        """
        if self._closed:
            raise TransientError("shutting down", where="spool", hint="send it again in a moment")
        if self._size + self._coming + len(data) > self.settings.spool_bytes:
            drop("committer", "spool_full")
            raise self._full()
        waiting = _Waiting(stream, data, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._coming += len(data)
        self._wake.set()
        await waiting.done

    async def run(self) -> None:
        """Serve until cancelled; then write what waits, seal everything and give the spool up."""
        try:
            while True:
                await self._turn()
        finally:
            self._close()

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(self.settings.seal_seconds / 4):
                await self._wake.wait()
        except TimeoutError:
            if not self._size:
                return
        self._wake.clear()
        group, self._waiting, self._coming = self._waiting, [], 0
        written = self._disk.submit(self._write, group, time.time())
        self._written = group, written
        await asyncio.shield(asyncio.wrap_future(written))
        self._answer()

    def _answer(self) -> None:
        """Tell the senders of the group that was written last."""
        if self._written is None:
            return
        group, written = self._written
        self._written = None
        for waiting, error in zip(group, written.result(), strict=True):
            if not waiting.done.done():
                waiting.done.set_exception(error) if error else waiting.done.set_result(None)

    def _close(self) -> None:
        self._closed = True
        group, self._waiting = self._waiting, []
        last = self._disk.submit(self._write, group, time.time())
        self._disk.shutdown(wait=True)
        self._answer()
        self._written = group, last
        self._answer()
        self._spool.close()

    def _write(self, group: list[_Waiting], now: float) -> list[MoatError | None]:
        """Append and sync one group; the error of each, or None. Runs in the committer's thread."""
        errors = [self._append(waiting, now) for waiting in group]
        try:
            self._spool.sync()
        except MoatError as exc:
            drop("committer", "disk_full", errors.count(None))
            return [exc] * len(group)
        self._size += sum(len(w.data) for w, error in zip(group, errors, strict=True) if error is None)
        if group:
            count("deepmoat_collect_commits_total")
        self._seal(now, idle=not group)
        return errors

    def _append(self, waiting: _Waiting, now: float) -> MoatError | None:
        try:
            self._spool.append(waiting.stream, waiting.data, now)
        except MoatError as exc:
            drop("committer", "disk_full")
            return exc
        return None

    def _seal(self, now: float, *, idle: bool) -> None:
        """End the segments that are due. Their records are safe already, so an error here is no sender's.

        The loader takes segments away, so what is left is looked at now and then: when one was ended, and
        when nobody sends (a spool that is full takes nothing, so nothing of it would ever be ended).
        """
        due = now - self.settings.seal_seconds
        try:
            sealed = self._spool.seal(older_than=due, larger_than=self.settings.seal_bytes)
        except (MoatError, OSError):
            drop("committer", "not_sealed")
            return
        if sealed or idle:
            self._size = self._spool.size()
            gauge("deepmoat_collect_spool_bytes", self._size, spool=self._spool.folder.name)

    def _full(self) -> TransientError:
        return TransientError(
            "the spool is full: the store does not keep up",
            status=507,
            where=str(self._spool.folder),
            hint="send it again later; look at the free disk space and at collect.spool_bytes",
        )
