"""The import contracts hold, and each of them can fail: we break it and look."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CRIMES = [
    ("edge/guard/crime.py", "deepmoat.store", "edge-without-database"),
    ("collect/receiver.py", "deepmoat.detect.detector", "flow"),
    ("query/crime.py", "asyncio", "sans-io"),
    ("detect/detector.py", "chdb", "one-driver"),
    ("edge/guard/crime.py", "deepmoat.edge.serve", "shells-on-top"),
    ("kit/errors.py", "deepmoat.kit.settings", "acyclic"),
    ("alert/channels/crime.py", "deepmoat.alert.channels.dingtalk", "components-alone"),
]


def lint(src: Path, contract: str) -> int:
    """Exit status of import-linter on one contract."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--contract", contract]
    command += ["--config", ROOT / "pyproject.toml"]
    run = subprocess.run(command, env={"PYTHONPATH": str(src)}, cwd=src, capture_output=True, check=False)
    return run.returncode


def test_every_contract_has_a_crime() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert {c["id"] for c in settings["contracts"]} == {contract for _, _, contract in CRIMES}


@pytest.mark.parametrize(("file", "module", "contract"), CRIMES)
def test_contract_holds_and_can_fail(tmp_path: Path, file: str, module: str, contract: str) -> None:
    src = shutil.copytree(ROOT / "src", tmp_path / "src")
    assert lint(src, contract) == 0
    with (src / "deepmoat" / file).open("a") as crime:
        crime.write(f"\nimport {module}\n")
    assert lint(src, contract) == 1
