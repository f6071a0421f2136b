"""Results: a table of rows, and one record in full. Every value is text.

Columns get names of our own (``c0``, ``c1`` …): a column's real name is the analyst's, and some names
(those with a colon in front) would be taken for code by the table.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from nicegui import ui

from deepmoat.model import Result
from deepmoat.query.split import split

_LONGEST = 300
_HALF = timedelta(microseconds=500)
"""Half of the last digit shown: times are rounded to milliseconds."""
_PREFERRED = {
    "access": (
        "time",
        "client_address",
        "client_country",
        "http_request_method",
        "url_path",
        "http_response_status_code",
        "duration",
        "verdict",
        "user_agent_original",
    ),
    "llm": ("time", "client_address", "gen_ai_request_model", "http_response_status_code"),
    "security": ("time", "client_address", "client_country", "event_action", "event_outcome", "user_name"),
}
_HEADINGS = {
    "client_address": "client",
    "client_country": "country",
    "http_request_method": "method",
    "url_path": "path",
    "http_response_status_code": "status",
    "duration": "seconds",
    "user_agent_original": "user agent",
    "gen_ai_request_model": "model",
    "severity_text": "severity",
    "service_name": "service",
    "user_name": "user",
    "event_action": "event",
    "event_outcome": "outcome",
}
_OTHERS = ("time", "severity_text", "service_name", "user_name", "event_action", "reason", "body")


def results(result: Result, text: str, logstore: str) -> None:
    """The table, with a record's details on a click; says so when there is nothing."""
    shown = columns(result, text, logstore)
    details = _Details(result)
    whole = not split(text)[1]
    head = [
        {
            "name": f"c{i}",
            "label": _HEADINGS.get(result.columns[i], result.columns[i]) if whole else result.columns[i],
            "field": f"c{i}",
            "align": "right" if _numeric(result, i) else "left",
            "sortable": True,
        }
        for i in shown
    ]
    body = [{"id": n, **{f"c{i}": cell(row[i]) for i in shown}} for n, row in enumerate(result.rows)]
    table = ui.table(rows=body, columns=head, row_key="id", pagination=50).classes("moat-table")
    table.props("flat dense separator=horizontal")
    table.on("row-click", lambda event: details.open(event.args), js_handler="(e, row) => emit(row.id)")


def columns(result: Result, text: str, logstore: str) -> list[int]:
    """Which columns the table shows: all that were selected, or the telling ones of whole records."""
    _, analysis = split(text)
    if analysis:
        return list(range(len(result.columns)))
    wanted = _PREFERRED.get(logstore, _OTHERS)
    found = [result.columns.index(name) for name in wanted if name in result.columns]
    return found or list(range(min(8, len(result.columns))))


def cell(value: object) -> Any:
    """A value in a row of the table.

    >>> cell(None), cell(1.23456789), cell("a\\nb")
    ('', 1.23457, 'a b')
    """
    if value is None:
        return ""
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    if isinstance(value, float):
        return round(value, 5)
    return " ".join(written(value).split())[:_LONGEST]


def written(value: object) -> str:
    """A value as text, whole."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if value is None:
        return ""
    if isinstance(value, dict | list | tuple):
        return msgspec.json.format(msgspec.json.encode(value)).decode()
    if isinstance(value, datetime):
        return (value.astimezone(UTC) + _HALF).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return str(value)


def fields(columns: tuple[str, ...], row: tuple[Any, ...]) -> list[tuple[str, str]]:
    """Name and text of all that a record says: no empty fields and zeros, attributes one by one.

    >>> fields(("a", "b", "attributes"), (1, "", {"x": "y"}))
    [('a', '1'), ('attributes.x', 'y')]
    """
    pairs: list[tuple[str, str]] = []
    for name, value in zip(columns, row, strict=True):
        if isinstance(value, dict):
            pairs += [(f"{name}.{key}", written(item)) for key, item in value.items()]
        elif value not in (None, "", "::", 0):
            pairs.append((name, written(value)))
    return pairs


class _Details:
    """The dialog with one record."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.dialog = ui.dialog().props("position=right full-height")
        with self.dialog, ui.element("div").classes("moat-drawer"):
            with ui.element("div").classes("moat-head"):
                ui.label("Record").classes("moat-title")
                ui.button(icon="close", color=None, on_click=self.dialog.close).props(
                    "flat round dense"
                ).props('aria-label="Close"')
            self.fields = ui.element("div").classes("moat-fields")

    def open(self, index: object) -> None:
        """Show the row with this number."""
        if not isinstance(index, int) or not 0 <= index < len(self.result.rows):
            return
        self.fields.clear()
        with self.fields:
            for name, text in fields(self.result.columns, self.result.rows[index]):
                ui.label(name).classes("moat-field")
                ui.label(text).classes("moat-content")
        self.dialog.open()


def _numeric(result: Result, i: int) -> bool:
    values = [row[i] for row in result.rows[:20] if row[i] is not None]
    return bool(values) and all(isinstance(v, int | float) for v in values)
