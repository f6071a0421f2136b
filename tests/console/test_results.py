import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.console.pages.incidents import quoted, search_link
from deepmoat.console.parts.results import cell, columns, fields, written
from deepmoat.model import LOGSTORES, Query, Result
from deepmoat.query.door import Door

WHOLE = Result(tuple(c.name for c in LOGSTORES["access"].columns), [])
EPOCH = datetime(2026, 1, 27, tzinfo=UTC)


def test_whole_records_show_the_telling_columns_and_a_selection_all_of_its_own() -> None:
    shown = [WHOLE.columns[i] for i in columns(WHOLE, "status:200", "access")]
    assert shown[:2] == ["time", "client_address"]
    assert "http_response_status_code" in shown
    assert columns(Result(("b", ":a"), []), "* | select 1 as b, 2 as a", "access") == [0, 1]
    for name, store in LOGSTORES.items():
        assert columns(Result(tuple(c.name for c in store.columns), []), "*", name), name


def test_a_record_tells_all_it_knows_and_nothing_it_does_not() -> None:
    row = (EPOCH, "::", "", 0, 200, {"a": "1", "b": ""}, None)
    pairs = fields(("time", "address", "path", "size", "status", "attributes", "x"), row)
    assert pairs == [
        ("time", "2026-01-27 00:00:00.000"),
        ("status", "200"),
        ("attributes.a", "1"),
        ("attributes.b", ""),
    ]


@given(
    st.one_of(st.text(alphabet=st.characters()), st.integers(), st.floats(), st.none(), st.lists(st.text()))
)
def test_any_value_can_be_shown_and_sent_to_the_browser(value: object) -> None:
    assert json.dumps(cell(value), allow_nan=True)
    assert isinstance(written(value).encode(), bytes)


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40))
def test_a_sources_link_searches_for_exactly_that_source(value: str) -> None:
    door = Door(lambda *_: Result((), []))
    query = Query(f"client_address:{quoted(value)}", "security")
    text = f"user_name:{quoted(value)}"
    assert search_link(query).startswith("/search?q=client_address%3A%22")
    door.compile(Query(text, "security"), EPOCH)
