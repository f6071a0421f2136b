import pytest

from deepmoat.kit.errors import ConfigError
from deepmoat.model import LOGSTORES
from deepmoat.store.logs.database import Database
from deepmoat.store.logs.migrate import Migration, migrate, migrations


def test_tables_have_exactly_the_columns_of_the_model(engine: Database) -> None:
    for name, logstore in LOGSTORES.items():
        rows = engine.inspect(
            "SELECT name, type FROM system.columns WHERE database = 'moat' AND table = {t:String} "
            "ORDER BY position",
            {"t": name},
        ).rows
        assert [(c.name, c.type) for c in logstore.columns] == rows


def test_a_migration_runs_once(engine: Database) -> None:
    known = list(migrations())
    assert known and migrate(engine, known) == []


def test_a_newer_schema_is_refused(engine: Database) -> None:
    newer = Migration(9999, "future", ("SELECT 1",))
    migrate(engine, [*migrations(), newer])
    try:
        with pytest.raises(ConfigError, match="newer deepmoat .schema 9999"):
            migrate(engine, list(migrations()))
    finally:
        engine.command("ALTER TABLE schema_migrations DELETE WHERE number = 9999 SETTINGS mutations_sync = 2")


def test_aliases_name_columns() -> None:
    checked = 0
    for logstore in LOGSTORES.values():
        for alias in logstore.aliases:
            checked += 1
            assert logstore.column(alias), (logstore.name, alias)
    assert checked > 50
