"""Compressed bodies are opened within bounds, whatever they are."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm.inflate import Inflater, inflate


@given(st.binary(max_size=2000), st.sampled_from(((b"gzip", 31), (b"deflate", 15))))
def test_what_was_compressed_comes_out_again_and_never_more_than_may_be(
    data: bytes, kind: tuple[bytes, int]
) -> None:
    encoding, window = kind
    packed = zlib.compress(data, wbits=window)
    assert inflate(encoding, packed, 2000) == data
    if len(data) > 100:
        assert inflate(encoding, packed, 100) == "compressed_too_large"
        assert inflate(encoding, packed, 100, whole=False) == data[:100]
    assert inflate(encoding, packed[:-1], 2000) == "compressed_broken"


@given(st.binary(max_size=500), st.integers(1, 50), st.sampled_from((b"gzip", b"deflate", b"x-gzip")))
def test_pieces_give_what_the_whole_gives(data: bytes, step: int, encoding: bytes) -> None:
    packed = zlib.compress(data, wbits=15 if encoding == b"deflate" else 31)
    for body in (packed, data):
        one, many = Inflater(encoding, 10_000), Inflater(encoding, 10_000)
        whole = one.feed(body)
        pieces = b"".join(many.feed(body[i : i + step]) for i in range(0, len(body), step))
        assert (whole, one.closed) == (
            pieces,
            many.closed,
        ) or one.closed == many.closed == "compressed_broken"


def test_a_bomb_gives_a_hundred_times_its_size_and_no_more() -> None:
    bomb = zlib.compress(b"\0" * (64 << 20), wbits=31)
    assert inflate(b"gzip", bomb, 1 << 30) == "compressed_too_large"
    inflater = Inflater(b"gzip", 1 << 30)
    assert len(inflater.feed(bomb)) <= 100 * len(bomb) + 65_536
    assert inflater.feed(bomb) == b""


def test_members_without_end_are_refused() -> None:
    empty = zlib.compress(b"", wbits=31)
    assert inflate(b"gzip", empty * 16, 100) == b""
    assert inflate(b"gzip", empty * 50_000, 100) == "compressed_broken"
    assert inflate(b"gzip", empty + b"more", 100) == "compressed_broken"
    assert inflate(b"deflate", zlib.compress(b"x") + b"more", 100) == "compressed_broken"


def test_other_encodings_are_named() -> None:
    assert [inflate(e, b"x", 10) for e in (b"br", b"zstd", b"gzip, gzip")] == ["compressed"] * 3
    assert inflate(b"", b"x", 10) == inflate(b" Identity ", b"x", 10) == b"x"
    assert inflate(b"", b"x" * 11, 10) == "compressed_too_large"
    assert inflate(b"identity", b"x" * 11, 10, whole=False) == b"x" * 10
