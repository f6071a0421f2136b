"""Intake: the one writer. Finds sealed segments in every spool and loads them, oldest first.

A segment that cannot be loaded now (disk full, memory) stays and is tried again; one nobody here
knows how to read is set aside in ``spool/quarantine``, never thrown away. A spool whose owner died is
recovered once its lock is free.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path

from deepmoat.collect.readers import Readers
from deepmoat.kit.errors import MoatError, TransientError
from deepmoat.kit.meters import count, drop, gauge
from deepmoat.kit.spool import Segment, lock, parse_name, recover, unloaded
from deepmoat.model import LOGSTORES
from deepmoat.store.logs.loader import Loader

log = logging.getLogger("deepmoat.intake")
QUARANTINE = "quarantine"
LOOKED_AT = ("access", "ddos", "security", "waf")
"""Logstores that detectors read every second or so: their segments go first."""
POLL_SECONDS = 0.05
STOP_SECONDS = 1.5
ORPHANS_SECONDS = 10.0


class Intake:
    """A thread that loads. ``pass_over`` is one round; ``drain`` is rounds until nothing is left."""

    def __init__(self, loader: Loader, readers: Readers, spools: Path) -> None:
        self.loader, self.readers, self.spools = loader, readers, spools
        self._stop = threading.Event()
        self._end = float("inf")
        self._round = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._failed: Callable[[BaseException], None] = lambda exc: None

    def start(self, failed: Callable[[BaseException], None]) -> None:
        """Begin loading. ``failed`` hears, on the thread, of a bug that ended it."""
        self._failed = failed
        self.spools.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._thread.start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Load what is sealed, for about ``seconds`` at most, then end; the next start loads the rest."""
        self._end = time.monotonic() + seconds
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.pass_over()

    def pass_over(self) -> int:
        """Load every sealed segment once; how many were loaded."""
        with self._round:
            loaded = 0
            for path in self._sealed():
                if time.monotonic() > self._end:
                    break
                loaded += self._segment(path)
            return loaded

    def oldest(self) -> float | None:
        """When the oldest segment that waits in any spool was begun; None where none waits."""
        self.spools.mkdir(parents=True, exist_ok=True, mode=0o700)
        return min((s.born for folder in self._folders() for s in unloaded(folder)), default=None)

    def drain(self, before: float, seconds: float) -> None:
        """Load until nothing begun before ``before`` waits in any spool. TransientError after ``seconds``."""
        self._recover_orphans()
        end = time.monotonic() + seconds
        while any(s.born < before for folder in self._folders() for s in unloaded(folder)):
            if time.monotonic() > end or self._stop.is_set():
                raise TransientError("what was acknowledged is not all loaded yet", where=str(self.spools))
            self.pass_over()
            time.sleep(POLL_SECONDS)

    def _run(self) -> None:
        try:
            self._rounds()
        except Exception as exc:  # noqa: BLE001 - it goes on at the caller's, who must end
            self._failed(exc)

    def _rounds(self) -> None:
        looked = 0.0
        while not self._stop.is_set():
            busy = self.pass_over()
            if time.monotonic() - looked > ORPHANS_SECONDS:
                self._recover_orphans()
                looked = time.monotonic()
            self._stop.wait(0.0 if busy else POLL_SECONDS)

    def _sealed(self) -> Iterator[Path]:
        """Sealed segments, what detectors look at first, each spool in turn: one behind holds up no other."""
        spools = [sorted(folder.glob("*.seg"), key=_turn) for folder in self._folders()]
        return (path for turn in zip_longest(*spools) for path in turn if path)

    def _folders(self) -> list[Path]:
        return [f for f in sorted(self.spools.iterdir()) if f.is_dir() and f.name != QUARANTINE]

    def _segment(self, path: Path) -> int:
        try:
            segment = parse_name(path)
            self.readers.get(segment.stream.receiver)
            LOGSTORES[segment.stream.logstore]
        except (ValueError, KeyError, MoatError) as exc:
            self._set_aside(path, str(exc))
            return 0
        return self._load(segment)

    def _load(self, segment: Segment) -> int:
        start = time.time()
        try:
            self.loader.load(segment, start)
        except TransientError as exc:
            drop_reason = "disk_full" if exc.status == 507 else "try_again"
            count("deepmoat_store_load_failures_total", reason=drop_reason)
            log.error("cannot load %s now, it stays: %s", segment.path.name, exc)
            self._stop.wait(1.0)
            return 0
        except MoatError as exc:
            self._set_aside(segment.path, str(exc))
            return 0
        done = time.time()
        gauge("deepmoat_store_load_seconds", done - start)
        gauge("deepmoat_store_lag_seconds", done - segment.born)
        name, seconds = segment.path.name, done - start
        log.debug("loaded %s in %.3f s, %.3f s after it was begun", name, seconds, done - segment.born)
        return 1

    def _set_aside(self, path: Path, why: str) -> None:
        aside = self.spools / QUARANTINE
        aside.mkdir(exist_ok=True, mode=0o700)
        path.rename(aside / f"{path.parent.name}~{path.name}")
        drop("intake", "segment_set_aside")
        log.error("segment %s set aside in %s: %s", path.name, aside, why)

    def _recover_orphans(self) -> None:
        for folder in self._folders():
            if not any(folder.glob("*.open")):
                continue
            try:
                descriptor = lock(folder)
            except TransientError:
                continue
            try:
                recover(folder, lambda receiver: self.readers.get(receiver).whole)
            finally:
                os.close(descriptor)


def _turn(path: Path) -> tuple[bool, str]:
    """Segments in order: urgent ones first, then the oldest."""
    parts = path.name.split("~")
    return len(parts) < 3 or parts[2] not in LOOKED_AT, path.name
