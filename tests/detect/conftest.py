"""Records into the engine, and the door to ask for them."""

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from deepmoat.model import LOGSTORES
from deepmoat.query.door import Door
from deepmoat.store.logs.database import Database
from deepmoat.store.logs.load import Load

Put = Callable[[Iterable[dict[str, Any]]], None]


@pytest.fixture(scope="session")
def traffic() -> ModuleType:
    """``traffic.py`` beside this file: made records."""
    spec = importlib.util.spec_from_file_location("traffic", Path(__file__).parent / "traffic.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def door(database: Database) -> Door:
    """The real door on the real engine."""
    return Door(database.query)


@pytest.fixture
def put(database: Database, tmp_path: Path) -> Put:
    """Load records; each names its ``logstore``."""

    def put(records: Iterable[dict[str, Any]]) -> None:
        by_store: dict[str, list[bytes]] = {}
        for record in records:
            fields = {k: v for k, v in record.items() if k != "logstore"}
            by_store.setdefault(record["logstore"], []).append(msgspec.json.encode(fields))
        for name, lines in by_store.items():
            path = tmp_path / f"{name}.ndjson"
            path.write_bytes(b"\n".join(lines))
            database.load(_load(name), path, f"{path}{len(lines)}{hash(lines[0])}")

    return put


def _load(name: str) -> Load:
    columns = tuple(c for c in LOGSTORES[name].columns if c.name not in ("attributes", "body"))
    structure = ", ".join(
        f"{c.name} {'String' if c.kind in ('text', 'address') else c.type}" for c in columns
    )
    select = ", ".join(_value(c.name, c.kind) for c in columns)
    names = tuple(c.name for c in columns)
    return Load(name, "JSONEachRow", structure, names, f"SELECT {select} FROM {{file}}")


def _value(name: str, kind: str) -> str:
    return f"toIPv6(if({name} = '', '::', {name})) AS {name}" if kind == "address" else name
