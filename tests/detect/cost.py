"""What a whole-file look and a live look of each detector cost: ``python tests/detect/cost.py [HOURS]``.

Made honest hours (see ``traffic.py``) in a temporary store; CPU time of this process, engine included.
"""

import runpy
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from deepmoat.detect.detector import when
from deepmoat.detect.run import sweep
from deepmoat.detect.schedule import Due, window
from deepmoat.detect.settings import DetectSettings, detectors
from deepmoat.query.door import Door
from deepmoat.store.logs.database import Database, LogSettings

HERE = Path(__file__).parent


def fill(database: Database, folder: Path, hours: int) -> float:
    """Load one made hour, copy it ``hours`` times; the time it begins at."""
    traffic = runpy.run_path(str(HERE / "traffic.py"))
    load = runpy.run_path(str(HERE / "conftest.py"))["_load"]("access")
    records = [
        r for r in traffic["honest"]() if r.pop("logstore") == "access" and r["time"] < traffic["HOUR"] + 3600
    ]
    path = folder / "access.ndjson"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, records)))
    database.load(load, path, "first")
    for hour in range(1, hours):
        moved = f"SELECT * REPLACE (addSeconds(a.time, {3600 * hour}) AS time) FROM access AS a"
        database.command(
            f"INSERT INTO access {moved} WHERE toUnixTimestamp(a.time) < {traffic['HOUR'] + 3600}"
        )
    return float(traffic["HOUR"])


def main(hours: int) -> None:
    """Print one line a detector."""
    with tempfile.TemporaryDirectory() as name:
        database = Database(LogSettings(connections=1), folder=Path(name))
        start = fill(database, Path(name), hours)
        door, rows = Door(database.query), database.scalar("SELECT count() FROM access")
        print(f"{rows} access records of {hours} honest hours")
        for detector in detectors(DetectSettings()):
            end = when(start + 3600 * hours)
            whole, found = cost(door, Due(detector, when(start), end), 1)
            live, _ = cost(door, Due(detector, window(detector, end)[0], end), 10)
            rate = rows / whole / 1e6
            print(
                f"{detector.name:17} whole {whole:6.2f} CPU s ({rate:5.1f} M records a CPU s), "
                f"live {1000 * live:4.0f} CPU ms every {detector.EVERY:g} s, findings {found}"
            )
        database.close()


def cost(door: Door, due: Due, times: int) -> tuple[float, int]:
    """CPU seconds of one run, after one to warm up, and how much it finds."""
    sweep(door, [due], due.until)
    begin = time.process_time()
    for _ in range(times):
        swept = sweep(door, [due], due.until)
    return (time.process_time() - begin) / times, len(swept.findings)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
