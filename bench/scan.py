"""How long does ``deepmoat scan`` take, and what does it cost beside goaccess?

    python bench/scan.py [--megabytes 200] [--json]

Makes an nginx log of the size asked for (honest traffic, a scanner, an injection, a burst), runs both
programs on it in turn, twice, and prints CPU seconds and ratios. goaccess (Debian's) only counts; scan loads,
asks six detectors and reports. Without goaccess only our own figures are printed.
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "openai-python/2.8.1",
)
_PATHS = ("/", "/v1/chat/completions", "/assets/app.js", "/assets/style.css", "/login", "/docs/quickstart")


def lines(megabytes: int) -> Iterator[str]:
    """Log lines of about ``megabytes`` in all, one day from midnight."""
    choose, size, n = random.Random(7), 0, 0
    total = megabytes * 1_000_000
    while size < total:
        second = int(86_399 * size / total)
        clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        client = f"{choose.randint(1, 223)}.{choose.randint(0, 255)}.{choose.randint(0, 15)}.7"
        path, status = choose.choice(_PATHS), choose.choices((200, 304, 404, 500), (90, 7, 2.5, 0.5))[0]
        if n % 50_000 < 200:
            client, path, status = "203.0.113.9", f"/.git/{n}", 404
        line = (
            f'{client} - - [27/Jan/2026:{clock} +0000] "GET {path}?n={n} HTTP/1.1" {status} '
            f'{choose.randint(100, 90_000)} "-" "{choose.choice(_AGENTS)}"\n'
        )
        size, n = size + len(line), n + 1
        yield line


def run(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of one command."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - begin


def measure(log: Path, count: int, rounds: int) -> dict[str, float]:
    """Figures of the best of ``rounds`` interleaved runs."""
    ours = [sys.executable, "-m", "deepmoat.cli.main", "scan", "--json", str(log)]
    theirs = ["goaccess", str(log), "--log-format=COMBINED", "-o", "json", "--no-progress"]
    runs: dict[str, list[tuple[float, float]]] = {"scan": [], "goaccess": []}
    for _ in range(rounds):
        runs["scan"].append(run(ours))
        if shutil.which("goaccess"):
            runs["goaccess"].append(run(theirs))
    cpu, wall = min(runs["scan"])
    figures = {
        "lines": count,
        "megabytes": log.stat().st_size / 1e6,
        "scan_wall_seconds": wall,
        "scan_cpu_seconds": cpu,
        "scan_lines_per_cpu_second": count / cpu,
    }
    if runs["goaccess"]:
        other = min(runs["goaccess"])[0]
        figures |= {"goaccess_cpu_seconds": other, "scan_cpu_ratio": cpu / other}
    return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "access.log"
        with log.open("w") as file:
            count = sum(file.write(line) > 0 for line in lines(args.megabytes))
        figures = measure(log, count, args.rounds)
    if args.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:28} {value:14,.2f}")


if __name__ == "__main__":
    main()
