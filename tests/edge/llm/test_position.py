"""JSONPath finds texts in any document, and no document makes it work long."""

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm import position
from deepmoat.edge.llm.position import Position, texts
from deepmoat.kit.errors import ConfigError

DOCUMENT = b"""{"model": "m", "messages": [
  {"role": "system", "content": "S"}, {"role": "user", "content": "one"}, {"role": "user", "content": "two"}],
  "in": {"a b": {"text": "deep"}}}"""
FOUND = (
    ("$.model", ["m"]),
    ("$['model']", ["m"]),
    ("$.messages[0].content", ["S"]),
    ("$.messages[-1].content", ["two"]),
    ("$.messages[*].content", ["S", "one", "two"]),
    ("$.messages[-2:].content", ["one", "two"]),
    ("$.messages[?@.role == 'user'].content", ["one", "two"]),
    ("$..text", ["deep"]),
    ("$.in['a b'].text", ["deep"]),
    ("$.messages[7].content", []),
    ("$.model.x", []),
    ("$.absent", []),
    ("$.messages.x", []),
    ("$.messages[0]", [{"role": "system", "content": "S"}]),
)
REFUSED = (
    "",
    "$.",
    "model",
    "$..a..b",
    "$.a | $.b",
    "$.a[?match(@.b, '(a+)+$')]",
    "$.a[?search(@.b, 'x')]",
    "$.a[?@.b == $.c]",
    "$.a[?@..b]",
    "$..[?@.b]",
    "$." + "a" * 600,
)


def test_paths_find_what_stands_there() -> None:
    for path, wanted in FOUND:
        assert Position(path, where="w").find(DOCUMENT) == wanted, path
    assert len(FOUND) == 14


def test_paths_that_are_wrong_or_could_work_without_end_are_refused() -> None:
    for path in REFUSED:
        with pytest.raises(ConfigError) as caught:
            Position(path, where="edge.llm.assets[0].prompt")
        assert caught.value.where == "edge.llm.assets[0].prompt" and caught.value.hint
    assert len(REFUSED) == 11


def test_the_work_on_a_hostile_document_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    new_child = position._Node.new_child

    def counted(self: position._Node, obj: object, key: int | str) -> position._Node:
        nonlocal looked
        looked += 1
        return new_child(self, obj, key)

    monkeypatch.setattr(position._Node, "new_child", counted)
    wide = b'{"a":[' + b'{"b":[1,2]},' * 100_000 + b"[]]}"
    for path, most in (("$..b", 1000), ("$.a[*].b[*]", 1000), ("$.a[?@.b]", 0), ("$..x", 0), ("$.a[*].x", 0)):
        looked = 0
        assert len(Position(path, where="w").find(wide)) <= most, path
        assert looked <= 20_001, path


def test_a_plain_path_does_not_build_the_document() -> None:
    document = b'{"a":[' + b"[]," * 300_000 + b'[]],"b":"x"}'
    place = Position("$.b", where="w")
    tracemalloc.start()
    assert place.find(document) == ["x"]
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@given(st.binary(max_size=100), st.sampled_from([path for path, _ in FOUND]))
def test_any_bytes_are_a_document(document: bytes, path: str) -> None:
    assert isinstance(Position(path, where="w").find(document), list)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
        ),
        max_leaves=15,
    ),
    st.lists(st.sampled_from([".a", ".b", "['c']", "[0]", "[-1]", "[2]"]), min_size=1, max_size=4),
)
def test_walking_and_searching_find_the_same(document: object, steps: list[str]) -> None:
    place = Position("$" + "".join(steps), where="w")
    encoded = msgspec.json.encode(document)
    walked = place.find(encoded)
    assert walked == place._search(msgspec.json.decode(encoded))


def test_texts_are_taken_and_everything_else_is_left() -> None:
    assert texts(["a", 1, None, ["b", 2], {"c": "d"}], "\n") == "a\nb"
