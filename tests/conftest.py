"""One embedded ClickHouse for the whole test process: chDB opens one path per process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepmoat.model import LOGSTORES
from deepmoat.store.logs.database import Database, Limits, LogSettings


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    limits = Limits(seconds=20, memory_bytes=1_000_000_000, result_rows=10_000)
    database = Database(LogSettings(connections=2, limits=limits), folder=tmp_path_factory.mktemp("data"))
    yield database
    database.close()


@pytest.fixture
def database(engine: Database) -> Database:
    """The engine with empty logstores."""
    for name in LOGSTORES:
        engine.command(f"TRUNCATE TABLE {name}")
    return engine
