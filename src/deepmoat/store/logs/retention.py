"""Retention: how long, and how much, each logstore keeps.

Age drops whole days, each once its last record is old enough. Size drops the oldest day first and,
when only the newest day is left, that day's oldest parts: a flood of one hour must not fill the disk.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Annotated

import msgspec

from deepmoat.kit.errors import QueryError
from deepmoat.kit.meters import count, gauge
from deepmoat.kit.settings import Settings
from deepmoat.model import LOGSTORES
from deepmoat.store.logs.database import NAME, Database

SHARE = 10
"""What one logstore may take of the disk when nothing is said: one part in so many."""


class Keep(Settings, frozen=True):
    """``days`` of age and ``bytes`` on disk, whichever is reached first; 0 is a tenth of the file system."""

    days: Annotated[int, msgspec.Meta(ge=1)] = 30
    bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


class RetentionSettings(Settings, frozen=True):
    """``[store.retention]``: ``every`` logstore keeps this, those in ``logstores`` what they say."""

    every: Keep = msgspec.field(default_factory=Keep)
    logstores: dict[str, Keep] = {}

    def keep(self, logstore: str) -> Keep:
        """What holds for one logstore."""
        return self.logstores.get(logstore, self.every)


class Part(msgspec.Struct, frozen=True):
    """One data part of one logstore; ``block`` grows with the time of writing."""

    logstore: str
    name: str
    day: date
    block: int
    bytes: int
    rows: int


def surplus(parts: Sequence[Part], days: int, room: int, now: datetime) -> Iterator[tuple[Part, str]]:
    """The parts of one logstore to drop, and why ("age" or "size"), oldest first; ``room`` is in bytes.

    >>> parts = [Part("access", str(d), date(2026, 1, d), d, 10, 1) for d in (1, 2, 3)]
    >>> [(p.name, why) for p, why in surplus(parts, 1, 15, datetime(2026, 1, 3))]
    [('1', 'age'), ('2', 'size')]
    """
    oldest = (now - timedelta(days=days)).date()
    total = sum(p.bytes for p in parts)
    for part in sorted(parts, key=lambda p: (p.day, p.block)):
        if part.day < oldest:
            yield part, "age"
        elif total > room:
            yield part, "size"
        else:
            return
        total -= part.bytes


def enforce(database: Database, settings: RetentionSettings, now: datetime) -> int:
    """Drop what is too old or too much; how many records that were."""
    parts = list(_parts(database))
    share = shutil.disk_usage(database.path).total // SHARE
    rows = 0
    for name in LOGSTORES:
        own = [p for p in parts if p.logstore == name]
        gauge("deepmoat_store_logstore_bytes", sum(p.bytes for p in own), logstore=name)
        keep = settings.keep(name)
        rows += _drop(database, surplus(own, keep.days, keep.bytes or share, now))
    return rows


def _drop(database: Database, doomed: Iterable[tuple[Part, str]]) -> int:
    """Drop whole days by age and single parts by size: a statement each, and there may be many days."""
    rows = 0
    for (day, why), group in groupby(doomed, key=lambda item: (item[0].day, item[1])):
        parts = [part for part, _ in group]
        if why == "age":
            rows += _gone(database, "DROP PARTITION ID {what:String}", f"{day:%Y%m%d}", parts, why)
            continue
        rows += sum(_gone(database, "DROP PART {what:String}", p.name, [p], why) for p in parts)
    return rows


def _gone(database: Database, statement: str, what: str, parts: Sequence[Part], why: str) -> int:
    """Run one DROP; parts that a merge has taken since are looked at again next time."""
    logstore, rows = parts[0].logstore, sum(p.rows for p in parts)
    try:
        database.command(f"ALTER TABLE {logstore} {statement}", {"what": what})
    except QueryError:
        count("deepmoat_store_retention_failures_total")
        return 0
    count("deepmoat_store_expired_records_total", rows, logstore=logstore, reason=why)
    return rows


def _parts(database: Database) -> Iterator[Part]:
    result = database.inspect(
        "SELECT table, name, toDate(partition), toInt64(min_block_number), bytes_on_disk, rows "
        "FROM system.parts WHERE active AND database = {database:String} AND partition_id != 'all'",
        {"database": NAME},
    )
    return (Part(*row) for row in result.rows if row[0] in LOGSTORES)
