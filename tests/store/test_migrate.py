import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepmoat.collect.enrich import country
from deepmoat.collect.readers import Readers
from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.spool import Stream
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


def test_aliases_name_columns_and_hide_none() -> None:
    checked = 0
    for logstore in LOGSTORES.values():
        columns = {column.name for column in logstore.columns}
        for alias in logstore.aliases:
            checked += 1
            assert logstore.column(alias), (logstore.name, alias)
            assert alias not in columns, (logstore.name, alias)
    assert checked > 150


# What users of Anti-DDoS, WAF, CLB, AI Gateway (Higress), LoongCollector and Sigma ask for, and where it is.
FAMILIAR = [
    ("access", "real_client_ip", "client_address"),
    ("access", "matched_host", "server_address"),
    ("access", "remote_port", "client_port"),
    ("access", "request_uri", "url_path"),
    ("access", "content_type", "http_response_content_type"),
    ("access", "cc_action", "verdict"),
    ("access", "request_traceid", "request_id"),
    ("access", "trace_id", "trace_id"),
    ("access", "ssl_protocol", "tls_protocol_version"),
    ("access", "ssl_cipher", "tls_cipher"),
    ("access", "scheme", "url_scheme"),
    ("access", "upstream_addr", "upstream_address"),
    ("llm", "question", "prompt"),
    ("llm", "answer", "answer"),
    ("llm", "consumer", "user_name"),
    ("llm", "input_token", "gen_ai_usage_input_tokens"),
    ("llm", "llm_first_token_duration", "time_to_first_token"),
    ("llm", "gen_ai_session_id", "gen_ai_conversation_id"),
    ("llm", "gen_ai_input_messages", "prompt"),
    ("llm", "is_sse", "streamed"),
    ("llm", "gen_ai_system", "gen_ai_provider_name"),
    ("llm", "gen_ai_usage_cache_write_input_tokens", "gen_ai_usage_cache_creation_input_tokens"),
    ("llm", "principal_ip", "client_address"),
    ("llm", "model_served", "gen_ai_response_model"),
    ("llm", "stop_reason", "gen_ai_response_finish_reason"),
    ("ddos", "cc_action", "verdict"),
    ("ddos", "cc_phase", "cc_phase"),
    ("ddos", "CC_Blocks", "cc_blocks"),
    ("ddos", "last_result", "last_result"),
    ("ddos", "matched_host", "server_address"),
    ("ddos", "request_method", "http_request_method"),
]


@pytest.mark.parametrize(("logstore", "known", "column"), FAMILIAR)
def test_names_of_neighbour_products_find_their_column(logstore: str, known: str, column: str) -> None:
    found = LOGSTORES[logstore].column(known)
    assert found is not None and found.name == column


FIRST, *_ = migrations()
AT = 1_767_225_600.0
# A row of each logstore that the second migration changes, as the first release wrote it; what it says since.
BEFORE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "access": (
        {"url_path": "/v1/chat", "request_id": "a-1", "attributes": {"error": "client_left"}},
        {"error_type": "client_left", "client_port": 0, "tls_client_ja4": "", "upstream_tries": 0},
    ),
    "llm": (
        {"gen_ai_usage_input_tokens": 7, "request_id": "a-1", "attributes": {"error": "client_left"}},
        {"error_type": "client_left", "client_left": 1, "prompt": "", "cost": 0.0, "gen_ai_response_id": ""},
    ),
    "ddos": (
        {"cc_phase": "rate", "verdict": "limit", "requests": 55},
        {"cc_blocks": 1, "last_result": "failed", "http_request_method": "", "key_hash": ""},
    ),
}


@pytest.fixture
def first(engine: Database, tmp_path: Path) -> Iterator[Database]:
    """An engine whose logstores, in a database of their own, are those of the first release."""
    country.install(engine, tmp_path, blocks=("1.0.0.0/16",))
    engine.command("CREATE DATABASE first")
    engine.command("USE first")
    migrate(engine, [FIRST])
    try:
        yield engine
    finally:
        engine.command("USE moat")
        engine.command("DROP DATABASE first")


def load(engine: Database, path: Path, logstore: str, row: dict[str, Any], token: str) -> None:
    """Load one row as a segment of ours."""
    path.write_bytes(json.dumps({"time": AT} | row).encode() + b"\n")
    readers = Readers(CollectSettings(), b"a key of these tests, 32 bytes..")
    (made, *_) = readers.get("records").loads(Stream("records", logstore, "edge-0"))
    engine.command(made.statement("first", str(path), token), made.parameters)


def insert(engine: Database, logstore: str, row: dict[str, Any], token: str) -> None:
    """Put one row into the columns it names: all that the first release knew."""
    columns = {"time": f"toDateTime64({AT}, 9, 'UTC')"}
    columns |= {name: repr(value) for name, value in row.items() if name != "attributes"}
    if "attributes" in row:
        columns["attributes"] = f"map{tuple(*row['attributes'].items())}"
    engine.command(
        f"INSERT INTO first.{logstore} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"SETTINGS insert_deduplication_token = '{token}'"
    )


def test_data_of_the_first_release_is_upgraded_and_kept(first: Database, tmp_path: Path) -> None:
    for logstore, (row, _) in BEFORE.items():
        insert(first, logstore, row, f"{logstore}/1")
    assert [m.number for m in migrate(first, list(migrations()))] == [2]
    for logstore, (row, since) in BEFORE.items():
        (kept,) = first.inspect(f"SELECT * FROM first.{logstore}").dicts()
        assert {name: kept[name] for name in row | since} == row | since
        load(first, tmp_path / "again", logstore, row, f"{logstore}/1")  # killed before the segment went
        assert first.scalar(f"SELECT count() FROM first.{logstore}") == 1
        more = row | since | {"session_hash": "5e55"}
        load(first, tmp_path / "next", logstore, more, f"{logstore}/2")
        (new,) = first.inspect(f"SELECT * FROM first.{logstore} WHERE session_hash = '5e55'").dicts()
        assert {name: new[name] for name in more} == more


def test_an_upgrade_cut_short_is_finished_by_the_next_start(first: Database) -> None:
    second = next(m for m in migrations() if m.number == 2)
    for count in range(len(second.statements) + 1):
        for statement in second.statements[:count]:
            first.command(statement)
    assert migrate(first, list(migrations())) == [second]
    assert migrate(first, list(migrations())) == []
    for name in BEFORE:
        rows = first.inspect(
            "SELECT name, type FROM system.columns WHERE database = 'first' AND table = {t:String} "
            "ORDER BY position",
            {"t": name},
        ).rows
        assert rows == [(c.name, c.type) for c in LOGSTORES[name].columns]
