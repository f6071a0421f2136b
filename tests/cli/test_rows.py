"""What ``deepmoat query`` prints."""

import json
from datetime import UTC, datetime

import pytest

from deepmoat.cli.rows import show
from deepmoat.model import LOGSTORES, Result

NOW = datetime(2026, 1, 27, 3, tzinfo=UTC)
HOSTILE = "\x1b[2J[red]\u202eevil"
ACCESS = tuple(column.name for column in LOGSTORES["access"].columns)


def printed(result: Result, form: str, capsys: pytest.CaptureFixture[str]) -> str:
    show(result, form)
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_a_few_columns_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(Result(("client_ip", "n"), [("192.0.2.1", 3)]), "table", capsys)
    assert "│ 192.0.2.1 │ 3 │" in out and "1 rows" in out


def test_whole_records_are_readable_on_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"time": NOW, "url_path": "/v1/chat", "http_response_status_code": 503, "attributes": {}}
    row = tuple(values.get(name, "") for name in ACCESS)
    lines = printed(Result(ACCESS, [row, row]), "table", capsys).splitlines()
    shown = [line.split() for line in lines if line][:3]
    assert shown == [
        ["time", "2026-01-27T03:00:00Z"],
        ["url_path", "/v1/chat"],
        ["http_response_status_code", "503"],
    ]
    assert len(lines) == 2 * 4 + 1, "what holds nothing is left out"


@pytest.mark.parametrize("columns", [("a",), ACCESS])
def test_log_texts_never_reach_the_terminal_as_commands(
    columns: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(Result(columns, [(HOSTILE,) * len(columns)]), "table", capsys)
    assert "\x1b" not in out and "\u202e" not in out and "[red]" in out


def test_machines_get_what_the_api_gives(capsys: pytest.CaptureFixture[str]) -> None:
    result = Result(("t", "x", "d"), [(NOW, None, float("nan")), (NOW, 'a"b', 1.5)])
    rows = json.loads(printed(result, "json", capsys))["rows"]
    assert rows == [
        {"t": "2026-01-27T03:00:00.000000Z", "x": None, "d": None},
        {"t": "2026-01-27T03:00:00.000000Z", "x": 'a"b', "d": 1.5},
    ]
    assert list(rows[0]) == ["t", "x", "d"], "in SELECT order"
    lines = printed(result, "ndjson", capsys).splitlines()
    assert [json.loads(line) for line in lines] == rows
    csv = printed(result, "csv", capsys).splitlines()
    assert csv == ["t,x,d", "2026-01-27T03:00:00.000000Z,,", '2026-01-27T03:00:00.000000Z,"a""b",1.5']
