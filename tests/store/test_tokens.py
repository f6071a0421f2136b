"""A token says that a segment is stored: it must not say so when it is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepmoat.store.logs.tokens import FOLDER, forget, orphans, sync

LOAD = """
import os, sys; from pathlib import Path
from deepmoat.store.logs.database import Database, LogSettings
from deepmoat.store.logs.load import Load
data = Path(sys.argv[1])
(data / "segment").write_bytes(b'{"time": 1770000000, "body": "x"}\\n' * 10)
structure, columns = "time Float64, body String", ("time", "body")
load = Load("app", "JSONEachRow", structure, columns, "SELECT time, body FROM {file}")
database = Database(LogSettings(), folder=data)
database.load(load, data / "segment", "token")
print(database.scalar("SELECT count() FROM app"), flush=True)
os.kill(os.getpid(), 9)
"""


def run(data: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(data)], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout.strip() or done.stderr


def test_a_load_killed_between_its_token_and_its_rows_is_loaded_again(tmp_path: Path) -> None:
    assert run(tmp_path) == "10"
    (part,) = tmp_path.glob("logs/store/*/*/20260202_1_1_0")
    part.rename(part.with_name(f"tmp_insert_{part.name}"))
    assert run(tmp_path) == "10", "the rows never came to be: the segment is not a duplicate"
    assert run(tmp_path) == "10", "and now it is one"


CASES = [
    ("a part of its own", b"1\tp_1_1_0\tt\n", ["p_1_1_0"], []),
    ("merged into another", b"1\tp_2_2_0\tt\n", ["p_1_3_1"], []),
    ("never renamed", b"1\tp_1_1_0\tt\n", ["tmp_insert_p_1_1_0"], [b"2\tp_1_1_0\tt\n"]),
    ("of another day", b"1\tp_1_1_0\tt\n", ["q_1_1_0"], [b"2\tp_1_1_0\tt\n"]),
    ("only part of its blocks", b"1\tp_1_5_1\tt\n", ["p_2_9_1"], [b"2\tp_1_5_1\tt\n"]),
    ("dropped already", b"1\tp_1_1_0\tt\n2\tp_1_1_0\tt\n", [], []),
    ("dropped and added again", b"1\tp_1_1_0\tt\n2\tp_1_1_0\tt\n1\tp_2_2_0\tt\n", ["p_2_2_0"], []),
    ("changed by a mutation", b"1\tp_1_1_0\tt\n", ["p_1_1_0_7"], []),
    ("torn", b"1\tp_1_1_0\tt\n1\tp_2", ["p_1_1_0"], []),
]


@pytest.mark.parametrize(("what", "log", "parts", "lost"), CASES, ids=[c[0] for c in CASES])
def test_a_token_is_lost_when_its_part_is(what: str, log: bytes, parts: list[str], lost: list[bytes]) -> None:
    assert list(orphans(log.split(b"\n"), parts)) == lost


def test_what_is_forgotten_is_written_after_the_last_whole_line(tmp_path: Path) -> None:
    logs = tmp_path / FOLDER
    logs.mkdir()
    (logs / "deduplication_log_9.txt").write_bytes(b"1\tp_1_1_0\tt\n")
    (logs / "deduplication_log_10.txt").write_bytes(b"1\tp_2_2_0\tu\n1\tp_3")
    (tmp_path / "p_1_1_0").mkdir()
    assert forget([tmp_path, tmp_path / "no table"]) == 1
    assert (logs / "deduplication_log_10.txt").read_bytes() == b"1\tp_2_2_0\tu\n2\tp_2_2_0\tu\n"
    assert forget([tmp_path]) == 0


def test_the_newest_log_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = tmp_path / FOLDER
    logs.mkdir()
    for number in (2, 10, 9):
        (logs / f"deduplication_log_{number}.txt").touch()
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    sync(tmp_path)
    assert [Path(name).name for name in synced] == ["deduplication_log_10.txt"]
