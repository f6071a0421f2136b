"""One embedded ClickHouse for the whole test process: chDB opens one path per process."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from deepmoat.model import LOGSTORES
from deepmoat.store.logs.database import Database, Limits, LogSettings

settings.register_profile("usual", deadline=None)
settings.register_profile("soak", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))


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
