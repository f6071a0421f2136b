"""The list of drained backends: what is written is read, and nothing else is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.balance.drains import MOST_BYTES, read_drains, write_drains
from deepmoat.kit.errors import PeerError

ADDRESS = st.text(min_size=1, max_size=300).filter(lambda text: text.isprintable())


@given(st.sets(ADDRESS, max_size=20))
def test_what_is_written_is_read(addresses: set[str]) -> None:
    assert read_drains(write_drains(addresses)) == addresses


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"drained":null}',
        b'{"drained":"a:1"}',
        b'{"drained":[1]}',
        b'{"drained":[""]}',
        b'{"drained":[["a:1"]]}',
        b'{"drain":["a:1"]}',
        b'{"drained":["a:1"],"more":1}',
        b'{"drained":["a:1"',
        b'{"drained":["\xff"]}',
        b'{"drained":["' + b"a" * 301 + b'"]}',
        b'{"drained":' + b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        json.dumps({"drained": ["a"] * 10_001}).encode(),
        b'{"drained":[]}' + b" " * MOST_BYTES,
    ],
)
def test_hostile_content_is_refused(hostile: bytes) -> None:
    with pytest.raises(PeerError, match="drained backends"):
        read_drains(hostile)


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_bytes_are_a_list_or_refused(data: bytes) -> None:
    try:
        found = read_drains(data)
    except PeerError:
        return
    assert all(isinstance(address, str) for address in found)
