"""docs/queries.md: every example runs, and gives what the page says."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deepmoat.model import Result
from deepmoat.query.reference import functions

Ask = Callable[..., Result]
PAGE = (Path(__file__).parents[2] / "docs" / "queries.md").read_text()
BLOCK = re.compile(r"```query\n(.*?)```(?:\n```rows\n(.*?)```)?", re.S)
EXAMPLES = [(line, rows) for text, rows in BLOCK.findall(PAGE) for line in text.splitlines()]


def test_the_page_was_read() -> None:
    assert len(EXAMPLES) >= 25
    assert sum(bool(rows) for _, rows in EXAMPLES) >= 6


@pytest.mark.parametrize(("query", "rows"), EXAMPLES, ids=[q for q, _ in EXAMPLES])
def test_the_example_runs(ask: Ask, query: str, rows: str) -> None:
    answer = ask(query)
    assert answer.rows
    if rows:
        assert [list(row) for row in answer.rows] == json.loads(rows)


def test_the_list_of_functions_is_not_stale() -> None:
    listed = PAGE.split("-->\n")[1]
    assert listed.strip() == functions().strip(), "write deepmoat.query.reference.functions() into the page"
