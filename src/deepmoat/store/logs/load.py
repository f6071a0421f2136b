"""Load: how ClickHouse reads one segment into one logstore, as a value.

A receiver gives one Load for each logstore its segments feed. ``select`` is a SELECT list and an
optional WHERE over ``{file}``, the place of the ``file(…)`` table function; its columns are named
as the logstore's are. Columns it does not name get their defaults.
"""

import msgspec
from sqlglot import exp


class Load(msgspec.Struct, frozen=True):
    """``INSERT INTO logstore (columns) select``; ``{file}`` in ``select`` is the segment.

    ``parameters`` are values for ``{name:Type}`` places in ``select``. ``words``: a segment that holds none
    of these gives no row, so its load is left out; empty, where that cannot be told from the bytes.
    ``otherwise`` are the loads of a segment that this one refuses: it throws when a record is not what it
    expects, before anything is stored, so that most segments are parsed once.
    """

    logstore: str
    format: str
    structure: str
    columns: tuple[str, ...]
    select: str
    parameters: dict[str, str] = {}
    settings: dict[str, str | int] = {}
    words: tuple[bytes, ...] = ()
    otherwise: tuple["Load", ...] = ()

    def concerns(self, data: bytes) -> bool:
        """May a segment with the bytes ``data`` give a row?"""
        return not self.words or any(word in data for word in self.words)

    def statement(self, database: str, path: str, token: str) -> str:
        """The INSERT that loads the file at ``path``; loading it again with ``token`` adds nothing."""
        names = ", ".join(self.columns)
        place = f"file({_literal(path)}, {_literal(self.format)}, {_literal(self.structure)})"
        settings = {**SETTINGS, **self.settings, "insert_deduplication_token": token}
        tail = ", ".join(f"{k} = {_literal(str(v))}" for k, v in settings.items())
        select = self.select.replace("{file}", place)
        return f"INSERT INTO {database}.{self.logstore} ({names}) {select} SETTINGS {tail}"


SETTINGS: dict[str, str | int] = {
    # One block a segment and one order of rows: a load is atomic within a day, and a second load of the
    # same segment is the same block, which the token then recognises.
    "max_threads": 1,
    "max_insert_threads": 1,
    "max_parsing_threads": 1,
    "max_block_size": 1_000_000,
    "max_insert_block_size": 4_000_000,
    "min_insert_block_size_rows": 4_000_000,
    "min_insert_block_size_bytes": 4_000_000_000,
    "max_partitions_per_insert_block": 0,
    "input_format_parallel_parsing": 0,
    "input_format_allow_errors_num": 0,
    "input_format_allow_errors_ratio": 0,
}


def _literal(text: str) -> str:
    return exp.Literal.string(text).sql("clickhouse")
