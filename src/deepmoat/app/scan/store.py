"""A temporary log store for files: no server, no fsync, gone at the end."""

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from deepmoat.app.cache import cache_folder
from deepmoat.app.scan.place import known, logstore
from deepmoat.app.scan.report import File
from deepmoat.app.settings import Moat
from deepmoat.collect.enrich import country
from deepmoat.collect.files import Chunk, chunks
from deepmoat.collect.readers import Readers
from deepmoat.collect.sniff import sniff
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.spool import Spool, Stream, sealed
from deepmoat.model import LOGSTORES
from deepmoat.query.door import Door
from deepmoat.store.logs.database import Database, LogSettings
from deepmoat.store.logs.loader import Loader

Progress = Callable[[str, int, int], None]
CHUNK = 32 << 20
PATIENCE_SECONDS = 600.0
_SAMPLE = 1 << 16
_TIMED = frozenset({"combined", "common"})


def silent(what: str, done: int, total: int) -> None:
    """No progress shown."""


@contextmanager
def temporary(moat: Moat, progress: Progress = silent) -> Iterator["Store"]:
    """A store for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="deepmoat-") as folder:
        progress("opening a temporary store", 0, 0)
        database = Database(_patient(moat.store.logs), folder=Path(folder))
        try:
            country.install(database, cache_folder())
            for name in LOGSTORES:
                database.command(f"ALTER TABLE {name} MODIFY SETTING fsync_after_insert = 0")
            store = Store(moat, database, Path(folder), progress)
            yield store
            store.spool.close()
        finally:
            database.close()


def _patient(settings: LogSettings) -> LogSettings:
    """The same, for somebody who waits: a whole file is asked at once, by one person."""
    seconds = max(settings.limits.seconds, PATIENCE_SECONDS)
    limits = msgspec.structs.replace(settings.limits, seconds=seconds, rows_read=0)
    return msgspec.structs.replace(settings, url="", limits=limits)


class Store:
    """Take files, then ask."""

    def __init__(self, moat: Moat, database: Database, folder: Path, progress: Progress) -> None:
        self.database, self.progress = database, progress
        self.door = Door(database.query, max_rows=moat.store.logs.limits.result_rows - 1)
        self.longest, self.earliest = moat.collect.max_line_bytes, moat.collect.earliest_seconds()
        self.readers = Readers(moat.collect, secrets.token_bytes(32))
        self.loader = Loader(database, self.readers.get, folder / "scratch")
        self.spool = Spool(folder / "spool", whole=lambda name: self.readers.get(name).whole)

    def take(self, names: Sequence[str], parser: str | None = None) -> list[File]:
        """Load files, guessing each one's parser unless named; what was read of each."""
        known(parser)
        paths = [Path(name) for name in names]
        for path in paths:
            if not path.is_file():
                raise ConfigError("no such file", where=str(path))
        total, done, files = sum(p.stat().st_size for p in paths), 0, []
        for path in paths:
            files.append(self._file(path, parser, done, total))
            done += path.stat().st_size
        return files

    def counts(self) -> dict[str, int]:
        """How many records each logstore holds."""
        return self.database.counts()

    def fullest(self) -> str:
        """The logstore with the most records, ``access`` where all are empty."""
        counts = {name: n for name, n in self.counts().items() if name != "rejected"}
        best = max(counts, key=lambda name: counts[name])
        return best if counts[best] else "access"

    def _file(self, path: Path, parser: str | None, done: int, total: int) -> File:
        lines, refused, place = 0, dict[str, int](), ""
        for chunk in chunks(path, CHUNK, self.longest):
            parser = parser or sniff(chunk.data[:_SAMPLE])
            place = place or logstore(parser, chunk.data[:_SAMPLE])
            lines += self._chunk(Stream(parser, place, self._source(path)), path, chunk, refused)
            self.progress(f"reading {path.name} as {parser}", done + chunk.read, total)
        rejected = self.database.inspect(
            "SELECT reason, count() FROM rejected WHERE source = {name:String} GROUP BY reason",
            {"name": self._source(path)},
        )
        for reason, n in rejected.rows:
            refused[reason] = refused.get(reason, 0) + n
        return File(path.name, parser or "plain", lines, path.stat().st_size, refused)

    def _chunk(self, stream: Stream, path: Path, chunk: Chunk, refused: dict[str, int]) -> int:
        """Load one chunk; how many lines it had."""
        now = time.time()
        checked = self.readers.get(stream.receiver).check(chunk.data, now, stream.logstore)
        for refusal in checked.refused:
            refused[refusal.reason] = refused.get(refusal.reason, 0) + 1
        if chunk.problem:
            refused[chunk.problem] = refused.get(chunk.problem, 0) + 1
        if checked.good:
            self.spool.append(stream, checked.good, self._written(path, stream.receiver, now))
            self.spool.seal()
        for segment in sealed(self.spool.folder):
            self.loader.load(segment, now)
        return checked.records + len(checked.refused)

    def _written(self, path: Path, parser: str, now: float) -> float:
        """The time that lines are judged by, and that those without a time (or a year) get.

        It is the file's own, unless every line says its whole time or the file's is none: archives often
        give all their files one of 1970 or 1980.
        """
        own = path.stat().st_mtime
        return own if parser not in _TIMED and self.earliest <= own <= now else now

    @staticmethod
    def _source(path: Path) -> str:
        return str(path)[-64:]
