"""Query and Result: the one way to ask, and what comes back."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec


class Query(msgspec.Struct, frozen=True):
    """``text`` in one of the query languages, over ``[since, until)`` of one logstore.

    ``limit`` is the number of rows when the text names none; ``zone`` is an IANA time zone.
    """

    text: str
    logstore: str = "access"
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100
    zone: str = "UTC"


class Result(msgspec.Struct, frozen=True):
    """Rows in the order asked for, and what they cost.

    ``limited`` names the limit that cut the rows ("" when all are here); ``elapsed`` is in seconds.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    rows_read: int = 0
    bytes_read: int = 0
    elapsed: float = 0.0
    limited: str = ""

    def dicts(self) -> Iterator[dict[str, Any]]:
        """Rows as mappings from column to value.

        >>> list(Result(("a", "b"), [(1, 2)]).dicts())
        [{'a': 1, 'b': 2}]
        """
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)
