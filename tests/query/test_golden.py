"""Pairs: searches and the conditions they become, queries and the rows they give."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp

from deepmoat.model import LOGSTORES, Result
from deepmoat.query.search import match
from deepmoat.query.search.lower import condition

Ask = Callable[..., Result]
GOLDEN = Path(__file__).parent / "golden"

ANY_SIGN = exp.Literal.string("[^" + match.CLASS + "]").sql("clickhouse")[1:-1]
WORD = re.compile(r"match\((.+?), '\(\?i\)\(\?:\^\|\[.*?\]\)(.*?)\(\?:\$\|\[.*?\]\)'\)")
EVERYWHERE = re.compile(
    r"concatWithSeparator\('\\n', source, .*?mapValues\(attributes\), '\\n'\)\) ~ (\S+?)(?=\)|$| )"
)


def pairs(name: str) -> list[tuple[str, str]]:
    """Blocks of two lines parted by blank lines; the first line is a remark."""
    lines = (GOLDEN / name).read_text().split("\n")[1:]
    return [(lines[i], lines[i + 1]) for i in range(0, len(lines) - 1, 3)]


SEARCHES = pairs("search.txt")
ROWS = [json.loads(line) for line in (GOLDEN / "rows.jsonl").read_text().splitlines()]


def readable(sql: str) -> str:
    """Word expressions as ``column ~ word``; those over every column as ``K(word)``."""
    sql = sql.replace(ANY_SIGN, ".")
    sql = WORD.sub(r"\1 ~ \2", sql).replace("\\\\", "\\")
    return EVERYWHERE.sub(r"K(\1)", sql)


def test_the_corpus_was_read() -> None:
    assert len(SEARCHES) >= 50
    assert len(ROWS) >= 90


@pytest.mark.parametrize(("search", "want"), SEARCHES)
def test_a_search_becomes(search: str, want: str) -> None:
    node = condition(search, LOGSTORES["access"])
    assert readable(node.sql("clickhouse") if node else "TRUE") == want


@pytest.mark.parametrize("case", ROWS, ids=lambda c: c["query"][:80])
def test_a_query_gives(ask: Ask, case: dict[str, Any]) -> None:
    answer = ask(case["query"], zone=case.get("zone", "UTC"))
    got = [list(row) for row in answer.rows]
    if case.get("unordered"):
        got.sort(key=str)
    assert got == case["rows"]
    for row, wanted in zip(got, case["rows"], strict=True):
        assert [type(v) for v in row if not isinstance(v, int | float) or isinstance(v, bool)] == [
            type(v) for v in wanted if not isinstance(v, int | float) or isinstance(v, bool)
        ]
    if "columns" in case:
        assert list(answer.columns) == case["columns"]
