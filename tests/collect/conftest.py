"""A way in for tests: check a body, append it to a spool, load it with the real engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepmoat.collect.enrich import country
from deepmoat.collect.readers import Readers
from deepmoat.collect.receiver import Checked
from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.spool import Spool, Stream, sealed
from deepmoat.store.logs.database import Database
from deepmoat.store.logs.loader import Loader

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
KEY = b"a key of these tests, 32 bytes.."


class Intake:
    """Bodies in, rows out."""

    def __init__(self, database: Database, folder: Path, settings: CollectSettings, year: int = 0) -> None:
        self.database, self.folder = database, folder
        self.readers = Readers(settings, KEY, year=year)
        self.spool = Spool(folder / "core", whole=lambda name: self.readers.get(name).whole)
        self.loader = Loader(database, self.readers.get, folder / "scratch")

    def put(self, name: str, logstore: str, body: bytes, source: str = "test") -> Checked:
        """Check, append, seal and load ``body``."""
        checked = self.readers.get(name).check(body, NOW, logstore)
        if checked.good:
            self.append(Stream(name, logstore, source), checked.good)
            self.load()
        return checked

    def append(self, stream: Stream, data: bytes) -> None:
        """Make a sealed segment of ``data``."""
        self.spool.append(stream, data, NOW)
        self.spool.sync()
        self.spool.seal()

    def load(self) -> None:
        """Load every sealed segment."""
        for segment in sealed(self.spool.folder):
            self.loader.load(segment, NOW)

    def rows(self, logstore: str, columns: str = "*", tail: str = "ORDER BY time") -> list[dict[str, Any]]:
        """Rows of a logstore."""
        return list(self.database.query(f"SELECT {columns} FROM {logstore} {tail}").dicts())

    def count(self, logstore: str) -> int:
        """How many rows it has."""
        return self.database.scalar(f"SELECT count() FROM {logstore}")

    def close(self) -> None:
        """Give the spool up."""
        self.spool.close()


def given(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of ``row`` that say something."""
    return {k: v for k, v in row.items() if v not in ("", 0, 0.0, {}, "::") and k != "source"}


@pytest.fixture(scope="session")
def countries(engine: Database, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The dictionary, of a few blocks only."""
    blocks = ("1.0.0.0/12", "83.0.0.0/11", "2a00::/20")
    country.install(engine, tmp_path_factory.mktemp("countries"), blocks=blocks)


@pytest.fixture
def intake(database: Database, countries: None, tmp_path: Path) -> Iterator[Intake]:
    """The way in with the default settings."""
    made = Intake(database, tmp_path, CollectSettings())
    yield made
    made.close()
