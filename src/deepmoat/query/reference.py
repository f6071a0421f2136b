"""The table of functions, as docs/queries.md shows it."""

import json

from deepmoat.query.function import FAMILIES, Function


def functions() -> str:
    """Every family and its functions with their examples, in Markdown."""
    return "\n".join(_family(name.capitalize(), f.ABOUT, f.FUNCTIONS) for name, f in FAMILIES)


def _family(title: str, about: str, members: tuple[Function, ...]) -> str:
    rows = [f"| `{_cell(f.example.query)}` | `{_cell(_value(f.example.value))}` |" for f in members]
    return "\n".join([f"### {title}", about, "", "| example | gives |", "|---|---|", *rows, ""])


def _value(value: object) -> str:
    return "NULL" if value is None else json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
