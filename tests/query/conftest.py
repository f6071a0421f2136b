"""Four sample records (those of docs/queries.md), a country dictionary, and the door over them."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deepmoat.model import LOGSTORES, Query, Result
from deepmoat.query.door import Door
from deepmoat.store.logs.database import Database

NOW = datetime(2026, 1, 31, 8, 5, tzinfo=UTC)
RECORDS = Path(__file__).parent / "records.jsonl"
MAX_ROWS = 9_999  # one less than the test engine's limit of result rows

COLUMNS = frozenset(json.loads(RECORDS.read_text().splitlines()[0]))

Ask = Callable[..., Result]


@pytest.fixture(scope="module")
def door(engine: Database, countries: None) -> Door:
    """The door over an engine that holds the sample records."""
    for name in ("access", "security", "app", "rejected", "audit"):
        engine.command(f"TRUNCATE TABLE {name}")
    structure = ", ".join(f"{c.name} {c.type}" for c in LOGSTORES["access"].columns if c.name in COLUMNS)
    escaped = structure.replace("'", "\\'")
    names = ", ".join(c.name for c in LOGSTORES["access"].columns if c.name in COLUMNS)
    engine.command(
        f"INSERT INTO access ({names}) SELECT {names} FROM file('{RECORDS}', 'JSONEachRow', '{escaped}')"
    )
    return Door(engine.query, max_rows=MAX_ROWS)


@pytest.fixture(scope="session")
def countries(engine: Database) -> Iterator[None]:
    """A stand-in for the country dictionary, where collect has not made the real one."""
    known = "SELECT count() FROM system.dictionaries WHERE database = 'moat' AND name = 'countries'"
    if engine.scalar(known):
        yield
        return
    engine.command("CREATE TABLE stand_in (prefix String, code String) ENGINE = Memory")
    engine.command("INSERT INTO stand_in VALUES ('8.8.8.0/24', 'US'), ('2001:db8::/32', 'ZZ')")
    engine.command(
        "CREATE DICTIONARY moat.countries (prefix String, code String) PRIMARY KEY prefix "
        "SOURCE(CLICKHOUSE(DB 'moat' TABLE 'stand_in')) LAYOUT(IP_TRIE) LIFETIME(0)"
    )
    yield
    engine.command("DROP DICTIONARY moat.countries")
    engine.command("DROP TABLE stand_in")


@pytest.fixture(scope="session")
def now() -> datetime:
    """When the sample queries are asked."""
    return NOW


@pytest.fixture(scope="module")
def ask(door: Door) -> Ask:
    """``ask(text, **fields of Query)``."""

    def asked(text: str, **fields: object) -> Result:
        return door.ask(Query(text, **fields), NOW)  # type: ignore[arg-type]

    return asked
