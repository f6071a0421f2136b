"""Queries that must not compile, and what the analyst is told."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deepmoat.kit.errors import QueryError
from deepmoat.model import Query, Result
from deepmoat.query.door import Door

CASES = [
    json.loads(line) for line in (Path(__file__).parent / "golden/refusals.jsonl").read_text().splitlines()
]


def test_the_cases_were_read() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["query"][:60])
def test_refused_with_words_that_help(case: dict[str, Any], now: datetime) -> None:
    door = Door(lambda sql, parameters: Result((), []))
    with pytest.raises(QueryError) as refused:
        door.compile(Query(case["query"]), now)
    error = refused.value
    assert case["message"] in error.message
    assert case.get("hint", "") in error.hint
    assert error.hint or "column" in error.message
    if "column" in case:
        first, line, caret = error.message.split("\n")
        assert f"column {case['column']})" in first
        assert line in case["query"].split("\n")
        assert caret.index("^") == case["column"] - 1
