"""Database: one ClickHouse behind one writer and a pool of read-only connections.

One connection serialises its queries; several run side by side with the GIL free. Readers carry
``readonly=1`` and their limits from the moment they open, so no query can lift them. Embedded
ClickHouse belongs to one process: the folder's lock says so before the engine's own, empty message.
"""

import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from deepmoat.kit.errors import ConfigError, MoatError, QueryError, TransientError
from deepmoat.kit.settings import Settings
from deepmoat.kit.spool import disk_trouble, lock
from deepmoat.model import LOGSTORES, Result
from deepmoat.store.logs import tokens
from deepmoat.store.logs.load import Load
from deepmoat.store.logs.migrate import Migration, migrate, migrations

NAME = "moat"
RESERVED = 4
"""Connections that detectors have for themselves."""


class Limits(Settings, frozen=True):
    """What one query may use: seconds, bytes of memory, rows read, rows and bytes given back."""

    seconds: float = 30.0
    memory_bytes: int = 2_000_000_000
    rows_read: int = 2_000_000_000
    result_rows: int = 100_001
    result_bytes: int = 200_000_000

    def settings(self) -> dict[str, Any]:
        """ClickHouse's names for them; ``readonly`` last, because it freezes the others."""
        return {
            "max_execution_time": self.seconds,
            "max_memory_usage": self.memory_bytes,
            "max_rows_to_read": self.rows_read,
            "max_result_rows": self.result_rows,
            "max_result_bytes": self.result_bytes,
            "result_overflow_mode": "throw",
            "max_ast_elements": 50_000,
            "max_expanded_ast_elements": 500_000,
            "max_query_size": 1_048_576,
            "join_use_nulls": 1,
            "readonly": 1,
        }


class LogSettings(Settings, frozen=True):
    """``[store.logs]``: ``url`` is chdb:///PATH, or empty for ``logs`` in the data folder.

    ``memory_bytes`` caps the whole engine; ``connections`` is how many queries run side by side;
    ``limits`` hold for every query.
    """

    url: str = ""
    memory_bytes: int = 4_000_000_000
    connections: int = 4
    limits: Limits = msgspec.field(default_factory=Limits)


class Database:
    """Open, migrate, load, query, close. Thread-safe."""

    def __init__(self, settings: LogSettings, *, folder: Path, known: list[Migration] | None = None) -> None:
        """Open and bring the schema up to date; TransientError when another process has the folder."""
        self.settings = settings
        self.path = _embedded_path(settings.url, folder)
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.backups = self.path / "backups"
        self._lock = lock(self.path)
        tokens.forget(self.path.glob("store/*/*"))
        self._tables: dict[str, Path] = {}
        self._write = threading.Lock()
        self._writer = self._connect({}, database=None)
        self._writer.command(f"CREATE DATABASE IF NOT EXISTS {NAME}")
        self._writer.command(f"USE {NAME}")
        migrate(self, list(migrations()) if known is None else known)
        self._ending = False
        self._readers, self._first = self._pool(settings.connections), self._pool(RESERVED)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> object:
        """Run one of our own statements on the writer. Never a user's text."""
        with self._write, translated():
            return self._writer.command(sql, parameters=dict(parameters or {}))

    def scalar(self, sql: str) -> int:
        """The one number one of our own queries gives."""
        with self._write, translated():
            return int(self._writer.query(sql).result_rows[0][0])

    def inspect(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Read with one of our own queries on the writer, system tables included. Never a user's text."""
        with self._write, translated():
            answer = self._writer.query(sql, parameters=dict(parameters or {}))
        return Result(tuple(answer.column_names), [tuple(row) for row in answer.result_rows])

    def counts(self) -> dict[str, int]:
        """How many records each logstore holds."""
        return {name: self.scalar(f"SELECT count() FROM {name}") for name in LOGSTORES}  # noqa: S608

    def apart(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run one of our own long statements on a connection of its own: loads go on beside it."""
        client = self._connect({}, database=NAME)
        try:
            with translated():
                client.command(sql, parameters=dict(parameters or {}))
        finally:
            client.close()

    def load(self, load: Load, path: Path, token: str) -> None:
        """Load one segment; again with the same token, nothing happens.

        Raises UnreadableError when ClickHouse cannot read its data, TransientError when it may work later.
        """
        statement = load.statement(NAME, str(path), token)
        # The driver takes a statement that names none of its parameters for a Python format string.
        named = {k: v for k, v in load.parameters.items() if f"{{{k}:" in statement}
        try:
            with self._write:
                self._writer.command(statement, parameters=named or None)
        except ClickHouseError as exc:
            raise _load_error(exc) from exc
        try:
            tokens.sync(self._table(load.logstore))
        except OSError as exc:
            raise disk_trouble(exc, self.path) from exc

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run a checked SELECT on a read-only connection within the limits.

        Raises QueryError naming the limit it ran past.
        """
        return self._read(self._readers, sql, parameters)

    def query_first(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """The same on connections of the detectors' own: the queries of people hold them up nowhere."""
        return self._read(self._first, sql, parameters)

    def interrupt(self) -> None:
        """End running queries and refuse new ones with TransientError. Loads go on."""
        self._ending = True
        self.command("KILL QUERY WHERE Settings['readonly'] = '1' ASYNC")

    def close(self) -> None:
        """End running queries, wait for other statements, then close every connection."""
        for pool, size in ((self._readers, self.settings.connections), (self._first, RESERVED)):
            for _ in range(size):
                self._idle(pool).close()
        with self._write:
            self._writer.close()
        os.close(self._lock)

    def _idle(self, pool: "queue.LifoQueue[Client]") -> Client:
        while True:
            try:
                return pool.get(timeout=0.2)
            except queue.Empty:
                self.interrupt()

    def _pool(self, size: int) -> "queue.LifoQueue[Client]":
        pool: queue.LifoQueue[Client] = queue.LifoQueue()
        for _ in range(size):
            pool.put(self._connect(self.settings.limits.settings(), database=NAME))
        return pool

    def _read(
        self, pool: "queue.LifoQueue[Client]", sql: str, parameters: Mapping[str, Any] | None
    ) -> Result:
        reader = pool.get()
        start = time.monotonic()
        try:
            if self._ending:
                raise TransientError("shutting down", where="store.logs", hint="ask again in a moment")
            with translated():
                answer = reader.query(sql, parameters=dict(parameters or {}))
        finally:
            pool.put(reader)
        rows = [tuple(_plain(v) for v in row) for row in answer.result_rows]
        summary = answer.summary or {}
        return Result(
            tuple(answer.column_names),
            rows,
            rows_read=int(summary.get("read_rows", 0)),
            bytes_read=int(summary.get("read_bytes", 0)),
            elapsed=time.monotonic() - start,
        )

    def _table(self, logstore: str) -> Path:
        """The folder of a logstore's parts."""
        if logstore not in self._tables:
            asked = (
                "SELECT data_paths[1] FROM system.tables WHERE database = {d:String} AND name = {n:String}"
            )
            ((place,),) = self.inspect(asked, {"d": NAME, "n": logstore}).rows
            self._tables[logstore] = Path(str(place))
        return self._tables[logstore]

    def _connect(self, settings: dict[str, Any], *, database: str | None) -> Client:
        with translated():
            client = clickhouse_connect.get_client(
                interface="chdb",
                path=str(self.path),
                database=database,
                settings=settings,
                chdb_options={
                    "max_server_memory_usage": str(self.settings.memory_bytes),
                    "backups.allowed_path": str(self.backups),
                },
                tz_mode="aware",
            )
        # The driver takes the rows given back for those read; there is no public way to say otherwise.
        client._backend._summary = _summary  # type: ignore[attr-defined]
        return client


class UnreadableError(MoatError):
    """ClickHouse cannot read a segment's data: trying again will not help."""


# What each ClickHouse error code means to the caller. Codes: src/Common/ErrorCodes.cpp.
_LIMITS = {158: "rows read", 159: "seconds", 241: "memory", 307: "bytes read", 396: "result rows or bytes"}
# The machine's trouble, or a moment's: files, memory, threads, a full disk, a table that is read-only.
_TRANSIENT = {23, 24, 74, 75, 76, 77, 173, 198, 202, 209, 210, 225, 236, 242, 243, 252, 290, 394, 425, 439}
_TRANSIENT |= {479, 999, 1000, 1001, 1002}
# Wrong in our own text or schema, whatever the data: halving a segment would not help.
_STATEMENT = {10, 16, 20, 42, 43, 44, 46, 47, 48, 60, 62, 63, 81, 107, 115}
_STATEMENT |= {179, 181, 184, 207, 352, 386, 456}
_DATA = {
    6,
    26,
    27,
    33,
    34,
    38,
    41,
    53,
    69,
    70,
    72,
    117,
    130,
    131,
    190,
    321,
    349,
    432,
    441,
    444,
    675,
    676,
    677,
}


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except ClickHouseError as exc:
        raise _ours(exc) from exc


def _ours(exc: ClickHouseError) -> MoatError:
    code = getattr(exc, "code", None) or 0
    text = str(exc).removeprefix(f"Code: {code}. ").removeprefix("DB::Exception: ")
    text = text.partition(": In scope ")[0]  # the whole statement, with the values of its parameters
    if code in _TRANSIENT or "o space left" in text or "min_free_disk" in text:
        return TransientError(text, status=507 if code == 243 or "space" in text else 503, where="store.logs")
    if code in _LIMITS:
        hint = "narrow the time range or the search, or raise store.logs.limits"
        return QueryError(f"the query ran past its limit of {_LIMITS[code]}", hint=hint)
    return UnreadableError(text, where=f"clickhouse {code}") if code in _DATA else QueryError(text)


def _load_error(exc: ClickHouseError) -> MoatError:
    """A load's error: try later, set records aside, or (a statement of ours that cannot be right) neither."""
    ours = _ours(exc)
    code = getattr(exc, "code", None) or 0
    if isinstance(ours, TransientError) or code in _STATEMENT:
        return ours
    if code in _LIMITS:
        return TransientError(f"the load ran past its limit of {_LIMITS[code]}", where="store.logs")
    return UnreadableError(ours.message, where=f"clickhouse {code}")


def _summary(result: Any) -> dict[str, str]:
    """What one embedded query read, in the words of ClickHouse over HTTP."""
    return {"read_rows": str(result.storage_rows_read()), "read_bytes": str(result.storage_bytes_read())}


def _plain(value: object) -> object:
    """Addresses as people write them, times in UTC; containers likewise."""
    if isinstance(value, IPv6Address):
        return str(value.ipv4_mapped or value)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _embedded_path(url: str, folder: Path) -> Path:
    parts = urlsplit(url or f"chdb://{folder / 'logs'}")
    if parts.scheme != "chdb":
        raise ConfigError(
            f"store.logs.url {url!r} is not supported yet", hint="write chdb:///PATH, or leave it out"
        )
    return Path(parts.path)
