import gzip
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.api.body import Budget, inflate
from deepmoat.kit.errors import PeerError


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=8))
def test_any_number_of_gzip_members_is_what_was_packed(parts: list[bytes]) -> None:
    packed = b"".join(gzip.compress(p, mtime=0) for p in parts)
    assert inflate(packed, 10_000) == b"".join(parts)


@given(st.binary(min_size=1, max_size=600), st.integers(1, 30))
def test_gzip_cut_anywhere_is_refused_as_the_senders_fault(data: bytes, cut: int) -> None:
    packed = gzip.compress(data)
    with pytest.raises(PeerError) as caught:
        inflate(packed[: -min(cut, len(packed) - 1)], 10_000)
    assert caught.value.status == 400


@given(st.binary(min_size=1, max_size=600))
def test_no_bytes_at_all_raise_anything_else(data: bytes) -> None:
    try:
        inflate(data, 10_000)
    except PeerError as exc:
        assert exc.status in (400, 413)


def test_a_body_may_inflate_to_the_limit_and_not_a_byte_more() -> None:
    assert len(inflate(gzip.compress(b"x" * 5000), 5000)) == 5000
    for limit in (4999, 10, 0):
        with pytest.raises(PeerError, match="too large") as caught:
            inflate(gzip.compress(b"x" * 5000), limit)
        assert caught.value.status == 413


def test_a_bomb_is_never_inflated_past_its_limit() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    data = b"".join(bomb.compress(b"\0" * 1_000_000) for _ in range(100)) + bomb.flush()
    assert len(data) < 200_000
    with pytest.raises(PeerError, match="too large"):
        inflate(data, 1_000_000)


def test_a_body_of_many_tiny_members_costs_no_more_than_its_size() -> None:
    tiny = gzip.compress(b"", mtime=0)
    start = time.process_time()
    assert inflate(tiny * 20_000, 10) == b""
    assert time.process_time() - start < 5


def test_what_a_request_held_is_free_when_it_is_over() -> None:
    budget = Budget(100)
    with pytest.raises(PeerError) as caught, budget.hold() as held:
        held.add(60)
        with budget.hold() as other:
            other.add(30)
        assert budget.used == 60
        held.add(41)
    assert caught.value.status == 429
    assert budget.used == 0
