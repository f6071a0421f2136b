"""A running `deepmoat up`, asked from outside: its process, what its edges count, new settings for them.

All of it goes through the data folder, so that it works while core is away.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from deepmoat.edge.balance.drains import read_drains, write_drains
from deepmoat.kit.errors import ConfigError, PeerError, TransientError
from deepmoat.kit.files import write_atomically
from deepmoat.kit.meters import Sample

_PID = "supervisor.pid"
_PATIENCE, _STEP = 5.0, 0.1


class BackendState(msgspec.Struct, frozen=True):
    """One backend as the workers see it; ``healthy`` counts those that do."""

    backend: str
    healthy: int
    workers: int
    drained: bool


def publish(data: Path) -> None:
    """Write down which process supervises ``data``."""
    (data / "run").mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(data / "run" / _PID, str(os.getpid()).encode())


def reload(data: Path) -> Counter[str]:
    """Have every edge read its settings again; how many took them, and how many did not.

    Raises TransientError when nothing runs on ``data`` or an edge does not answer.
    """
    before = _outcomes(data)
    edges = sum(1 for _ in _meters(data))
    try:
        os.kill(int((data / "run" / _PID).read_text()), signal.SIGHUP)
    except (OSError, ValueError) as exc:
        raise TransientError(
            "no `deepmoat up` runs here", where=str(data), hint="name its folder with --data"
        ) from exc
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        time.sleep(_STEP)
        after = _outcomes(data) - before
        if after.total() >= edges:
            return after
    raise TransientError(f"{after.total()} of {edges} edges answered", where=str(data), hint="see their log")


def backends(data: Path) -> list[BackendState]:
    """The backends of the edges that run on ``data``."""
    healthy: Counter[str] = Counter()
    workers: Counter[str] = Counter()
    for samples in _meters(data):
        for sample in samples:
            if sample.name == "deepmoat_edge_backend_healthy":
                name = dict(sample.labels)["backend"]
                healthy[name] += int(sample.value)
                workers[name] += 1
    drained = _drained(data)
    return [BackendState(name, healthy[name], workers[name], name in drained) for name in sorted(workers)]


def drain(data: Path, address: str, *, drained: bool) -> None:
    """Send nothing new to the backend ``address``, or send to it again. ConfigError for one nobody knows."""
    known = {b.backend for b in backends(data)}
    listed = set(_drained(data))
    if address not in known | listed:
        hint = f"known: {', '.join(sorted(known))}" if known else "is deepmoat running on this folder?"
        raise ConfigError(f"no such backend: {address!r}", where=str(data), hint=hint)
    listed = listed | {address} if drained else listed - {address}
    write_atomically(data / "run" / "drained.json", write_drains(listed))


def _drained(data: Path) -> frozenset[str]:
    try:
        return frozenset(read_drains((data / "run" / "drained.json").read_bytes()))
    except (FileNotFoundError, PeerError):
        return frozenset()


def _outcomes(data: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for samples in _meters(data):
        for sample in samples:
            if sample.name == "deepmoat_edge_reloads_total":
                found[dict(sample.labels)["outcome"]] += int(sample.value)
    return found


def _meters(data: Path) -> Iterator[list[Sample]]:
    for path in sorted((data / "run").glob("meters-*.json")):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=list[Sample])
        except (OSError, msgspec.MsgspecError):
            continue
