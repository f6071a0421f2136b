import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepmoat.kit.errors import ConfigError, QueryError, TransientError
from deepmoat.store.logs.database import Database, LogSettings
from deepmoat.store.logs.load import Load


def fill(database: Database, rows: int) -> None:
    database.command(
        f"INSERT INTO access (time, url_path) SELECT now64(9), toString(number) FROM numbers({rows})"
    )


def test_a_result_says_how_many_rows_were_read(database: Database) -> None:
    fill(database, 50_000)
    result = database.query("SELECT count() AS n FROM access WHERE url_path LIKE '%7'")
    assert result.rows == [(5000,)] and result.rows_read == 50_000 and result.bytes_read > 50_000


LIMITS = [
    (
        "SELECT sleepEachRow(1) FROM numbers(100) SETTINGS max_block_size = 1",
        "limit of seconds|READONLY|readonly",
    ),
    ("SELECT groupArray(number) FROM numbers(900000000)", "limit of memory"),
    ("SELECT number FROM numbers(20000)", "limit of result rows"),
]


@pytest.mark.parametrize(("sql", "message"), LIMITS)
def test_a_query_past_its_limit_is_told_which(database: Database, sql: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        database.query(sql)


WRITES = [
    "INSERT INTO access (time) VALUES (now())",
    "DROP TABLE access",
    "SET readonly = 0",
    "ALTER TABLE access DELETE WHERE 1",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "CREATE TABLE x (a UInt8) ENGINE = Memory",
]


@pytest.mark.parametrize("sql", WRITES)
def test_readers_cannot_write_or_lift_their_limits(database: Database, sql: str) -> None:
    with pytest.raises(QueryError):
        database.query(sql)


def test_several_readers_and_a_writer_work_at_once(database: Database) -> None:
    wrong: list[object] = []

    def read() -> None:
        for n in range(50):
            if database.query("SELECT {n:UInt32} AS n", {"n": n}).rows != [(n,)]:
                wrong.append(n)  # noqa: PERF401

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        fill(database, 10)
    for thread in threads:
        thread.join()
    assert not wrong and database.scalar("SELECT count() FROM access") == 100


def test_the_folder_is_refused_to_a_second_owner(engine: Database) -> None:
    with pytest.raises(TransientError, match="another process uses this folder"):
        Database(LogSettings(), folder=engine.path.parent)


@pytest.mark.parametrize("url", ["https://cluster:8443", "nonsense", "file:///x"])
def test_engines_that_come_later_are_refused_by_name(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not supported yet"):
        Database(LogSettings(url=url), folder=tmp_path)


# Trouble of the machine, not of the data. Codes: src/Common/ErrorCodes.cpp.
MACHINE = {
    74: "cannot read a file",
    75: "cannot write a file, for a quota for example",
    76: "too many open files",
    173: "no memory",
    202: "too many at once",
    236: "aborted",
    394: "cancelled",
    439: "no thread",
    1001: "an exception of the C++ library",
}


@pytest.mark.parametrize("code", MACHINE, ids=MACHINE.get)
def test_trouble_of_the_machine_sets_no_record_aside(database: Database, tmp_path: Path, code: int) -> None:
    (tmp_path / "data").write_bytes(b"x\n")
    select = f"SELECT throwIf(1, 'trouble', {code}::Int16), line FROM {{file}}"
    settings = {"allow_custom_error_code_in_throwif": 1}
    load = Load("app", "LineAsString", "line String", ("time", "body"), select, settings=settings)
    with pytest.raises(TransientError):
        database.load(load, tmp_path / "data", f"token {code}")


SLOW = "SELECT sum(sipHash64(number)) FROM numbers(1900000000)"


def test_queries_of_people_hold_up_no_detector(database: Database) -> None:
    with ThreadPoolExecutor(database.settings.connections) as people:
        waiting = [people.submit(database.query, SLOW) for _ in range(database.settings.connections)]
        running = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum%'"
        while database.scalar(running) < len(waiting):
            pass
        assert database.query_first("SELECT 1").rows == [(1,)]
        assert not any(w.done() for w in waiting)
        database.interrupt()
        for w in waiting:
            assert isinstance(w.exception(10), TransientError)
    with pytest.raises(TransientError, match="shutting down"):
        database.query("SELECT 1")
    database.command("INSERT INTO access (time, url_path) SELECT now64(9), 'loads go on'")
    database._ending = False  # the engine is the other tests', too


def test_a_long_statement_apart_holds_up_no_load(database: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(database.apart, "SELECT sleep(2)")
        database.command("INSERT INTO access (time, url_path) SELECT now64(9), 'a load'")
        assert not long.done()
        long.result(10)
