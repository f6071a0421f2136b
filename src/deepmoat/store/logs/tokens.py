"""Tokens: ClickHouse's deduplication logs, kept true to the parts that are there.

ClickHouse writes the token of a load into the table's log and only then renames the new part into place
(*seen* in its system calls), and it never syncs the log. Killed between the two, it would take the same
segment for loaded although none of its rows are stored: ``forget`` removes such tokens before the engine
opens. And after a power cut a segment's unlinking may be undone while its token is lost: ``sync`` makes
the token durable before the segment goes.

A log is ``deduplication_logs/deduplication_log_<n>.txt`` beside the parts; its lines are operation (1: added,
2: dropped), part and token, parted by tabs. Source: src/Storages/MergeTree/MergeTreeDeduplicationLog.cpp.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER = "deduplication_logs"
_LOG = re.compile(r"deduplication_log_(\d+)\.txt")
_PART = re.compile(r"([^_]+)_(\d+)_(\d+)_\d+(?:_\d+)?")
_ADDED, _DROPPED = b"1", b"2"
Blocks = tuple[str, int, int]
"""What a part is: its partition, its first and its last block."""


def forget(tables: Iterable[Path]) -> int:
    """Drop the tokens of parts that are not in their table's folder; how many. The engine must be closed."""
    return sum(_forget(table) for table in tables if (table / FOLDER).is_dir())


def sync(table: Path) -> None:
    """Make the tokens of the table in the folder ``table`` durable."""
    for log in _logs(table)[-1:]:
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


def orphans(records: Iterable[bytes], parts: Iterable[str]) -> Iterator[bytes]:
    """Lines that drop the tokens whose part is in none of ``parts`` (the names of folders).

    >>> list(orphans([b"1\\td_1_1_0\\tt", b"1\\td_2_2_0\\tu", b"1\\td_9_9_0\\tv"], ["d_1_3_1"]))
    [b'2\\td_9_9_0\\tv\\n']
    """
    there: dict[str, list[Blocks]] = {}
    for blocks in filter(None, map(_blocks, parts)):
        there.setdefault(blocks[0], []).append(blocks)
    for token, part in _live(records).items():
        wanted = _blocks(part.decode())
        if wanted and not any(a <= wanted[1] and wanted[2] <= b for _, a, b in there.get(wanted[0], ())):
            yield b"\t".join((_DROPPED, part, token)) + b"\n"


def _forget(table: Path) -> int:
    logs = _logs(table)
    records = [line for log in logs for line in log.read_bytes().split(b"\n")]
    lost = list(orphans(records, (entry.name for entry in table.iterdir())))
    if lost:
        with logs[-1].open("r+b") as file:
            whole = file.read().rfind(b"\n") + 1  # a power cut may have torn the last line
            file.seek(whole)
            file.truncate()
            file.writelines(lost)
            file.flush()
            os.fsync(file.fileno())
    return len(lost)


def _live(records: Iterable[bytes]) -> dict[bytes, bytes]:
    """The part of every token that was added and not dropped since."""
    live: dict[bytes, bytes] = {}
    for record in records:
        operation, _, rest = record.partition(b"\t")
        part, _, token = rest.partition(b"\t")
        if operation == _ADDED and token:
            live[token] = part
        else:
            live.pop(token, None)
    return live


def _blocks(name: str) -> Blocks | None:
    """What the part called ``name`` holds; None for a folder that is no part, or not one yet."""
    found = _PART.fullmatch(name)
    return (found[1], int(found[2]), int(found[3])) if found else None


def _logs(table: Path) -> list[Path]:
    """The table's logs, oldest first."""
    found = [path for path in (table / FOLDER).iterdir() if _LOG.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.rpartition("_")[2]))
