"""State: one SQLAlchemy engine, one MetaData; each noun keeps its table in a file of its own.

SQLite by default (write-ahead log, ``synchronous=FULL``: what was answered survives a power cut).
"""

import sqlite3
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, create_engine, event, select
from sqlalchemy.engine import ExceptionContext

from deepmoat.kit.errors import ConfigError, TransientError
from deepmoat.kit.settings import Settings

METADATA = MetaData()
VERSION = 1

_version = Table("schema_version", METADATA, Column("version", Integer, primary_key=True))


class StateSettings(Settings, frozen=True):
    """``[store.state]``: ``url`` is an SQLAlchemy URL, or empty for ``state.db`` in the data folder."""

    url: str = ""


class State:
    """The engine behind every table of state. Thread-safe; TransientError when the disk does not serve."""

    def __init__(self, settings: StateSettings, *, folder: Path) -> None:
        """Open and create what is missing; ConfigError when the data is newer than the code."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        url = settings.url or f"sqlite:///{folder / 'state.db'}"
        if not url.startswith("sqlite:"):
            raise ConfigError(
                f"store.state.url {url.split(':')[0]!r} is not supported yet", hint="write sqlite:///PATH"
            )
        self.engine: Engine = create_engine(url)
        _private(self.engine.url.database)
        event.listen(self.engine, "connect", _careful)
        event.listen(self.engine, "handle_error", _ours)
        METADATA.create_all(self.engine)
        with self.engine.begin() as connection:
            _check_version(connection)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _private(path: str | None) -> None:
    """Make the file, and those SQLite puts beside it (they take its mode), its owner's alone."""
    if path and path != ":memory:":
        Path(path).touch(0o600)
        Path(path).chmod(0o600)


def _careful(connection, _record) -> None:  # type: ignore[no-untyped-def]
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _ours(context: ExceptionContext) -> None:
    """A full disk, a locked or damaged file: it may work later. The statement's values are not said."""
    exc = context.original_exception
    if isinstance(exc, sqlite3.OperationalError):
        full = getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
        raise TransientError(f"cannot use the state: {exc}", status=507 if full else 503, where="store.state")


def _check_version(connection: Connection) -> None:
    found = connection.execute(select(_version.c.version)).scalar()
    if found is None:
        connection.execute(_version.insert().values(version=VERSION))
    elif found > VERSION:
        raise ConfigError(
            f"the state was written by a newer deepmoat (schema {found}, this one knows {VERSION})",
            where="store.state",
            hint="install the newer version, or restore a backup made by this one",
        )
