"""Rows of a Result on standard output: a table for people, JSON, CSV or JSON lines for machines."""

from collections.abc import Iterator
from typing import Any, cast

import click
import msgspec

from deepmoat.api.render import Format, render
from deepmoat.model import Result

_NARROWEST = 8
"""Characters a column of a table needs at least; where there are fewer, records are shown one by one."""

_NOTHING: tuple[Any, ...] = ("", "::", 0, None, {}, [])


def show(result: Result, form: str) -> None:
    """Print ``result`` as ``form``: table, json, csv or ndjson."""
    if form == "table":
        _people(result)
        return
    text = render(result, cast(Format, form)).decode()
    click.echo(text, nl=form == "json")


def _people(result: Result) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if len(result.columns) * _NARROWEST > console.width:
        for line in _records(result):
            console.print(line, markup=False, soft_wrap=True)
    else:
        console.print(_table(result))
    cut = f", cut: {result.limited}" if result.limited else ""
    console.print(
        f"{len(result.rows):,} rows{cut}; {result.rows_read:,} read in {result.elapsed:.3f} s", style="dim"
    )


def _table(result: Result) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in result.columns:
        table.add_column(Text(_printable(name), overflow="fold"), overflow="fold")
    for row in result.rows:
        table.add_row(*(Text(_printable(value)) for value in row))
    return table


def _records(result: Result) -> Iterator[str]:
    """One record below the other, a line a column; columns that hold nothing are left out."""
    width = max(len(_printable(name)) for name in result.columns)
    for row in result.rows:
        for name, value in zip(result.columns, row, strict=True):
            if value not in _NOTHING:
                yield f"{_printable(name):<{width}}  {_printable(value)}"
        yield ""


def _printable(value: object) -> str:
    from deepmoat.app.scan.report import printable

    text = value if isinstance(value, str) else msgspec.json.encode(value).decode().strip('"')
    return printable(text)
