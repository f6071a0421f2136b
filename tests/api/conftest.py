"""The API over the real parts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepmoat.store.logs.database import Database

sys.path.insert(0, str(Path(__file__).parent))
from web_rig import Rig  # noqa: E402


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(database, tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
