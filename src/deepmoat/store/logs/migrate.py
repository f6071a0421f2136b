"""Numbered .sql files, each run once, in order; a schema newer than the code is refused.

A statement may run again after a crash between it and its mark: each is written to allow that
(``IF NOT EXISTS`` and the like).
"""

from collections.abc import Iterator
from importlib.resources import files
from typing import Protocol

import msgspec

from deepmoat.kit.errors import ConfigError


class Migration(msgspec.Struct, frozen=True):
    """One file: its number, its name, its statements."""

    number: int
    name: str
    statements: tuple[str, ...]


class Runner(Protocol):
    """What runs the statements."""

    def command(self, sql: str) -> object:
        """Run one statement."""

    def scalar(self, sql: str) -> int:
        """The one number a query gives."""


def migrations(package: str = "deepmoat.store.logs.migrations") -> Iterator[Migration]:
    """The files of ``package``, by number."""
    for file in sorted(files(package).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            yield Migration(int(number), name, tuple(_statements(file.read_text())))


def migrate(runner: Runner, known: list[Migration]) -> list[Migration]:
    """Run what has not run yet; the migrations that ran. ConfigError when the data is newer."""
    runner.command(
        "CREATE TABLE IF NOT EXISTS schema_migrations (number UInt32, name String, "
        "at DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY number SETTINGS fsync_after_insert = 1"
    )
    done = runner.scalar("SELECT max(number) FROM schema_migrations")
    newest = max((m.number for m in known), default=done)
    if done > newest:
        raise ConfigError(
            f"the data was written by a newer deepmoat (schema {done}, this one knows {newest})",
            where="store.logs",
            hint="install the newer version, or restore a backup made by this one",
        )
    due = [m for m in known if m.number > done]
    for migration in due:
        for statement in migration.statements:
            runner.command(statement)
        runner.command(
            f"INSERT INTO schema_migrations (number, name) VALUES ({migration.number}, '{migration.name}')"
        )
    return due


def _statements(text: str) -> Iterator[str]:
    """Statements end with a semicolon at the end of a line; ``--`` lines are comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    for statement in "\n".join(lines).split(";\n"):
        if statement.strip(" \n;"):
            yield statement.strip(" \n;")
