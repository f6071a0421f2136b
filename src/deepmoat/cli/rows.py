"""Rows of a Result on standard output: a table for people, JSON, CSV or JSON lines for machines."""

import csv
import sys

import click
import msgspec

from deepmoat.model import Result


def show(result: Result, form: str) -> None:
    """Print ``result`` as ``form``: table, json, csv or ndjson."""
    {"table": _table, "json": _json, "csv": _csv, "ndjson": _ndjson}[form](result)


def _json(result: Result) -> None:
    answer = {
        "rows": list(result.dicts()),
        "columns": result.columns,
        "rows_read": result.rows_read,
        "elapsed": result.elapsed,
        "limited": result.limited,
    }
    click.echo(msgspec.json.encode(answer).decode())


def _ndjson(result: Result) -> None:
    for row in result.dicts():
        click.echo(msgspec.json.encode(row).decode())


def _csv(result: Result) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(result.columns)
    writer.writerows([_text(value) for value in row] for row in result.rows)


def _table(result: Result) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from deepmoat.app.scan.report import printable

    table = Table()
    for name in result.columns:
        table.add_column(Text(printable(name)))
    for row in result.rows:
        table.add_row(*(Text(printable(_text(value))) for value in row))
    console = Console(highlight=False)
    console.print(table)
    cut = f", cut: {result.limited}" if result.limited else ""
    console.print(
        f"{len(result.rows):,} rows{cut}; {result.rows_read:,} read in {result.elapsed:.3f} s", style="dim"
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode().strip('"')
