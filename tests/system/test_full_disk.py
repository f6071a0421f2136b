"""A full disk: senders are told, nothing acknowledged is lost, and it goes on when there is room again."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from system.moat import Moat, running

pytestmark = pytest.mark.system
BATCH = 2000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 360 MB of its own; the store keeps 256 MB of it free."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=360m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def send(moat: Moat, key: str, number: int) -> int:
    line = {"time": time.time(), "request_id": f"b{number}", "body": os.urandom(400).hex()}
    body = (json.dumps(line) + "\n").encode() * BATCH
    return moat.call("/ingest/access", body, key=key)[0]


def test_a_full_disk_is_said_and_loses_nothing_acknowledged(small_disk: Path) -> None:
    moat = Moat(small_disk, backend=1)
    with running(moat):
        key = moat.key("admin")
        ballast = small_disk / "ballast"
        acknowledged, refused = fill(moat, key, ballast)
        assert refused, "the disk never filled"
        assert moat.call("/healthz")[0] == 200
        failures = metric(moat, key, "deepmoat_dropped_records_total")
        assert 'reason="disk_full"' in failures or 'reason="spool_full"' in failures
        ballast.unlink()
        expected = {f"b{n}": BATCH for n in acknowledged}
        stored: dict[str, int] = {}
        end = time.monotonic() + 60
        while stored != expected and time.monotonic() < end:
            time.sleep(0.5)
            stored = batches(moat, key)
        assert stored == expected
        assert send(moat, key, 9999) == 200


def fill(moat: Moat, key: str, ballast: Path) -> tuple[list[int], list[int]]:
    """Send while something else fills the disk; the batches taken, and those refused with 507."""
    acknowledged: list[int] = []
    refused: list[int] = []
    for number in range(60):
        if number == 5:
            with ballast.open("wb") as file:
                _write_until_full(file.fileno())
        status = send(moat, key, number)
        assert status in (200, 507), status
        (acknowledged if status == 200 else refused).append(number)
        if len(refused) >= 3:
            break
    return acknowledged, refused


def _write_until_full(descriptor: int) -> None:
    try:
        while os.write(descriptor, b"\0" * (1 << 20)):
            pass
    except OSError:
        return


def batches(moat: Moat, key: str) -> dict[str, int]:
    rows = moat.rows("* | select request_id, count(*) as n group by request_id", key, limit=1000)
    return {row["request_id"]: int(row["n"]) for row in rows}


def metric(moat: Moat, key: str, name: str) -> str:
    _, text = moat.call("/metrics", key=key)
    return "\n".join(line for line in str(text).splitlines() if line.startswith(name))
