"""A backup without a core, in processes of their own: chDB opens one path per process."""

import json
import os
import subprocess
import sys
from pathlib import Path

from deepmoat.app import local
from deepmoat.kit.spool import Spool, Stream, whole_lines

BACKUP = """
import sys
from deepmoat.app.backup import backup
from deepmoat.app.settings import read
from deepmoat.collect.enrich import country
install = country.install
country.install = lambda database, folder: install(database, folder, blocks=("1.0.0.0/16",))
print(backup(read(None, sys.argv[1]), sys.argv[2]).records["access"])
"""


def run(data: Path, target: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BACKUP, str(data), str(target)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "XDG_CACHE_HOME": str(data.parent / "cache")},
    )
    return done.stdout.strip() or done.stderr


def test_what_a_killed_core_had_acknowledged_is_in_the_backup(tmp_path: Path) -> None:
    data = tmp_path / "data"
    spools = [Spool(data / "spool" / name, whole=lambda _: whole_lines) for name in ("core", "edge-0")]
    for spool in spools:
        spool.append(Stream("records", "access", "x"), json.dumps({"time": 1.77e9}).encode() + b"\n", 1.77e9)
        spool.sync()
    spools[0].close()
    (left,) = (data / "spool" / "edge-0").glob("*.open")  # its process is killed before it seals
    kept = left.read_bytes()
    spools[1].close()
    (sealed,) = (data / "spool" / "edge-0").glob("*.seg")
    sealed.unlink()
    left.write_bytes(kept + b'{"torn')
    assert run(data, tmp_path / "copy") == "2"


def test_what_a_killed_core_left_for_the_command_line_stops_no_backup(tmp_path: Path) -> None:
    local.publish(tmp_path / "data", local.Local("http://127.0.0.1:9", "moatkey_gone"))
    assert run(tmp_path / "data", tmp_path / "copy") == "0"
