"""Backup and restore in processes of their own: chDB opens one path per process."""

import subprocess
import sys
from pathlib import Path

import pytest

MAKE = """
import sys; from pathlib import Path; from datetime import datetime, UTC
from deepmoat.store.backup import backup
from deepmoat.store.logs.database import Database, LogSettings
from deepmoat.store.state.database import State, StateSettings
data, target = Path(sys.argv[1]), Path(sys.argv[2])
database = Database(LogSettings(), folder=data)
State(StateSettings(), folder=data).close()
(data / "secret.key").write_bytes(b"k" * 32)
database.command("INSERT INTO access (time, url_path) SELECT now64(9), toString(number) FROM numbers(1234)")
print(backup(database, data, target, now=datetime.now(UTC), version="test").records["access"])
database.close()
"""
READ = """
import sys; from pathlib import Path
from deepmoat.store.backup import restore
from deepmoat.store.logs.database import Database, LogSettings
data = Path(sys.argv[1])
restore(Path(sys.argv[2]), data, LogSettings())
database = Database(LogSettings(), folder=data)
print(database.scalar("SELECT uniqExact(url_path) FROM access"))
database.close()
"""


def run(script: str, *args: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_restored_folder_holds_what_was_backed_up(tmp_path: Path) -> None:
    made = run(MAKE, tmp_path / "data", tmp_path / "copy")
    assert made.stdout.strip() == "1234", made.stderr
    read = run(READ, tmp_path / "fresh", tmp_path / "copy")
    assert read.stdout.strip() == "1234", read.stderr
    assert (tmp_path / "fresh" / "secret.key").read_bytes() == b"k" * 32
    assert (tmp_path / "fresh" / "state.db").exists()


@pytest.mark.parametrize("script", [MAKE, READ])
def test_nothing_is_overwritten(tmp_path: Path, script: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    (tmp_path / "copy").mkdir()
    args = (
        (tmp_path / "data", tmp_path / "full") if script == MAKE else (tmp_path / "full", tmp_path / "copy")
    )
    if script == READ:
        (tmp_path / "copy" / "deepmoat-backup.json").write_text(
            '{"made":"2026-01-01T00:00:00Z","version":"x","records":{}}'
        )
    done = run(script, *args)
    assert done.returncode != 0 and "not empty" in done.stderr
    assert (tmp_path / "full" / "precious").read_text() == "x"
