"""Results as JSON, NDJSON and CSV. Columns stay in SELECT order; equal names are numbered.

Nothing here changes a value for display: CSV is quoted as RFC 4180 says and is otherwise raw, which is
what programs want. A spreadsheet takes a text that begins with = + - @ for a formula, and log texts come
from strangers: for people's spreadsheets ask for ``spreadsheet``, which puts an apostrophe before those.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal

import msgspec

from deepmoat.model import Result

Format = Literal["json", "csv", "ndjson"]
MEDIA: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def render(result: Result, format: Format, *, spreadsheet: bool = False) -> bytes:
    """``result`` as bytes of the format."""
    if format == "csv":
        return as_csv(result, spreadsheet=spreadsheet)
    return as_ndjson(result) if format == "ndjson" else as_json(result)


def as_json(result: Result) -> bytes:
    """One object: ``rows`` (objects in SELECT order), ``columns``, and what the query cost."""
    names = unique(result.columns)
    return msgspec.json.encode(
        {
            "rows": list(_objects(names, result.rows)),
            "columns": names,
            "rows_read": result.rows_read,
            "bytes_read": result.bytes_read,
            "elapsed": result.elapsed,
            "limited": result.limited,
        }
    )


def as_ndjson(result: Result) -> bytes:
    """One object a row and line."""
    return b"".join(msgspec.json.encode(row) + b"\n" for row in _objects(unique(result.columns), result.rows))


def as_csv(result: Result, *, spreadsheet: bool = False) -> bytes:
    """RFC 4180 with a header line."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    rows = ([_cell(plain(v)) for v in row] for row in result.rows)
    for row in ([*unique(result.columns)], *rows):
        writer.writerow([_harmless(cell) if spreadsheet else cell for cell in row])
    return text.getvalue().encode("utf-8", "replace")


def plain(value: object) -> Any:
    """``value`` as JSON has it: times ISO 8601 in UTC, no NaN, no broken Unicode.

    >>> plain(datetime(2026, 1, 27, 3, tzinfo=UTC)), plain(float("nan"))
    ('2026-01-27T03:00:00.000000Z', None)
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    return _container(value)


def unique(names: Sequence[str]) -> list[str]:
    """``names`` with equal ones numbered, so that no column hides another.

    >>> unique(["a", "a", "b"])
    ['a', 'a_2', 'b']
    """
    taken: list[str] = []
    for name in (plain(n) for n in names):
        free, n = name, 2
        while free in taken:
            free, n = f"{name}_{n}", n + 1
        taken.append(free)
    return taken


def _container(value: object) -> Any:
    if isinstance(value, dict):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return plain(str(value))


def _objects(names: list[str], rows: Sequence[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(names, (plain(v) for v in row), strict=True)) for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) and not _number(cell) else cell


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
