"""Retention: how long, and how much, each logstore keeps.

Age drops whole days, each once its last record is old enough. Size drops the oldest day first and,
when only the newest day is left, that day's oldest parts: a flood of one hour must not fill the disk.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated

import msgspec

from deepmoat.kit.errors import QueryError
from deepmoat.kit.meters import count, gauge
from deepmoat.kit.settings import Settings
from deepmoat.model import LOGSTORES
from deepmoat.store.logs.database import NAME, Database


class Keep(Settings, frozen=True):
    """``days`` of age and ``bytes`` on disk; whichever is reached first."""

    days: Annotated[int, msgspec.Meta(ge=1)] = 30
    bytes: Annotated[int, msgspec.Meta(ge=1)] = 20_000_000_000


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


def surplus(parts: Sequence[Part], keep: Keep, now: datetime) -> Iterator[tuple[Part, str]]:
    """The parts of one logstore to drop, and why ("age" or "size"), oldest first.

    >>> parts = [Part("access", str(d), date(2026, 1, d), d, 10, 1) for d in (1, 2, 3)]
    >>> [(p.name, why) for p, why in surplus(parts, Keep(days=1, bytes=15), datetime(2026, 1, 3))]
    [('1', 'age'), ('2', 'size')]
    """
    oldest = (now - timedelta(days=keep.days)).date()
    total = sum(p.bytes for p in parts)
    for part in sorted(parts, key=lambda p: (p.day, p.block)):
        if part.day < oldest:
            yield part, "age"
        elif total > keep.bytes:
            yield part, "size"
        else:
            return
        total -= part.bytes


def enforce(database: Database, settings: RetentionSettings, now: datetime) -> int:
    """Drop what is too old or too much; how many records that were."""
    parts = list(_parts(database))
    rows = 0
    for name in LOGSTORES:
        own = [p for p in parts if p.logstore == name]
        gauge("deepmoat_store_logstore_bytes", sum(p.bytes for p in own), logstore=name)
        rows += _drop(database, surplus(own, settings.keep(name), now))
    return rows


def _drop(database: Database, doomed: Iterable[tuple[Part, str]]) -> int:
    """Drop each part; one that a merge has taken since is looked at again next time."""
    rows = 0
    for part, why in doomed:
        try:
            database.command(f"ALTER TABLE {part.logstore} DROP PART {{part:String}}", {"part": part.name})
        except QueryError:
            count("deepmoat_store_retention_failures_total")
            continue
        count("deepmoat_store_expired_records_total", part.rows, logstore=part.logstore, reason=why)
        rows += part.rows
    return rows


def _parts(database: Database) -> Iterator[Part]:
    result = database.inspect(
        "SELECT table, name, toDate(partition), toInt64(min_block_number), bytes_on_disk, rows "
        "FROM system.parts WHERE active AND database = {database:String} AND partition_id != 'all'",
        {"database": NAME},
    )
    return (Part(*row) for row in result.rows if row[0] in LOGSTORES)
