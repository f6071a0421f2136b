"""The supervisor with real processes: small Python programs stand where the roles would."""

import asyncio
import sys
from pathlib import Path

import pytest

from deepmoat.app import supervisor
from deepmoat.app.supervisor import Child, children, supervise


def test_one_core_and_the_workers_asked_for() -> None:
    kept = children(3, ["--data", "x"])
    assert [c.name for c in kept] == ["core", "edge-0", "edge-1", "edge-2"]
    assert kept[3].verb == ("edge", "--worker", "2", "--data", "x")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package ``deepmoat.cli.main`` would be; the supervisor runs this file instead."""
    script = tmp_path / "child.py"
    script.write_text(
        "import sys, os, signal, time\n"
        "kind, log = sys.argv[-2:]\n"
        "open(log, 'a').write(f'{kind} {os.getpid()}\\n')\n"
        "if kind == 'config': sys.exit(78)\n"
        "if kind == 'later' and len(open(log).readlines()) == 2: sys.exit(78)\n"
        "if kind == 'later' and len(open(log).readlines()) == 1: time.sleep(0.3); sys.exit(3)\n"
        "if kind == 'crash' and len(open(log).readlines()) < 3: sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))\n"
        "sys.stdin.read() if kind == 'pipe' else time.sleep(60)\n"
    )
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {script} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(supervisor.sys, "executable", str(wrapper))
    return tmp_path / "log"


async def run_until(kinds: list[str], log: Path, lines: int) -> int:
    stop = asyncio.Event()
    task = asyncio.ensure_future(supervise([Child(k, (k, str(log))) for k in kinds], stop))
    for _ in range(400):
        if task.done() or (log.exists() and len(log.read_text().splitlines()) >= lines):
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    stop.set()
    return await asyncio.wait_for(task, 10)


@pytest.mark.system
def test_a_child_that_dies_is_started_again(program: Path) -> None:
    assert asyncio.run(run_until(["crash"], program, 3)) == 0
    assert len(program.read_text().splitlines()) == 3


@pytest.mark.system
def test_wrong_settings_end_everything(program: Path) -> None:
    assert asyncio.run(run_until(["config", "sleep"], program, 99)) == 1


@pytest.mark.system
def test_children_end_with_status_nought_when_told(program: Path) -> None:
    assert asyncio.run(run_until(["sleep", "sleep"], program, 2)) == 0


@pytest.mark.system
def test_settings_that_became_wrong_end_nothing(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_CALM_SECONDS", 0.2)
    assert asyncio.run(run_until(["later"], program, 3)) == 0
    assert len(program.read_text().splitlines()) == 3, "it ran, died, found its settings wrong, ran again"
