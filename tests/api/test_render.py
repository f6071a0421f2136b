import csv
import io
import json
from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.api.render import as_csv, as_json, as_ndjson, plain, unique
from deepmoat.model import Result

HOSTILE = (
    '=HYPERLINK("http://evil.example","x")',
    "@SUM(1+1)|cmd",
    "+1",
    "-1+2",
    "\t=1",
    "a\r\nb",
    'quote " and , comma',
    "\0",
    "<script>alert(1)</script>",
    "\u2028\u2029",
    "\ud800",
    "日本語",
    "",
    " ",
)
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(alphabet=st.characters(), max_size=30))
VALUE = st.one_of(
    TEXT,
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.none(),
    st.booleans(),
    st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC)),  # noqa: DTZ001
    st.dictionaries(TEXT, TEXT, max_size=3),
    st.lists(TEXT, max_size=3),
)


def shown(text: str) -> str:
    """What a text is in UTF-8: half of a surrogate pair has no place there."""
    return text.encode("utf-8", "replace").decode()


@given(st.lists(st.tuples(VALUE, VALUE), max_size=8), st.lists(TEXT, min_size=2, max_size=2))
def test_json_of_any_values_reads_back_in_select_order(
    rows: list[tuple[object, ...]], names: list[str]
) -> None:
    body = json.loads(as_json(Result(tuple(names), rows)))
    assert len(body["columns"]) == 2
    assert len(body["rows"]) == len(rows)
    for row, (one, other) in zip(body["rows"], rows, strict=True):
        assert list(row) == body["columns"]
        assert list(row.values()) == [plain(one), plain(other)]


@given(st.lists(st.tuples(VALUE, VALUE), max_size=8))
def test_ndjson_is_one_line_a_row_whatever_is_in_it(rows: list[tuple[object, ...]]) -> None:
    lines = as_ndjson(Result(("a", "b"), rows)).split(b"\n")
    assert lines.pop() == b""
    assert [msgspec.json.decode(line) for line in lines] == [{"a": plain(a), "b": plain(b)} for a, b in rows]


@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_csv_of_any_texts_reads_back_as_they_were(rows: list[tuple[str, ...]]) -> None:
    data = as_csv(Result(("a", "b"), rows)).decode()  # type: ignore[arg-type]
    read = list(csv.reader(io.StringIO(data, newline="")))
    assert read == [["a", "b"], *([shown(a), shown(b)] for a, b in rows)]


@given(st.lists(st.tuples(TEXT, VALUE), max_size=8))
def test_no_cell_of_a_spreadsheet_is_a_formula(rows: list[tuple[object, ...]]) -> None:
    data = as_csv(Result(("=a", "b"), rows), spreadsheet=True).decode()
    for row in csv.reader(io.StringIO(data, newline="")):
        for cell in row:
            assert not cell or cell[0] not in "=+-@\t\r\n" or is_number(cell)


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_a_number_stays_a_number_in_a_spreadsheet() -> None:
    data = as_csv(Result(("n", "t"), [(-5, "-5"), (-1.5, "-x")]), spreadsheet=True).decode()
    assert data == "n,t\r\n-5,-5\r\n-1.5,'-x\r\n"


@given(st.lists(st.sampled_from(("a", "a_2", "b", "")), max_size=8))
def test_no_column_hides_another(names: list[str]) -> None:
    made = unique(names)
    assert len(set(made)) == len(made) == len(names)
    assert all(new.startswith(old) for old, new in zip(names, made, strict=True))


def test_what_the_query_cost_is_told() -> None:
    body = json.loads(
        as_json(Result(("a",), [(1,)], rows_read=9, bytes_read=8, elapsed=0.5, limited="limit"))
    )
    assert body == {
        "rows": [{"a": 1}],
        "columns": ["a"],
        "rows_read": 9,
        "bytes_read": 8,
        "elapsed": 0.5,
        "limited": "limit",
    }
