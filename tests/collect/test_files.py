"""Files come in as chunks of whole lines, whatever is wrong with them."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmoat.collect.files import chunks
from deepmoat.kit.errors import PeerError

TEXT = b"".join(b"line %d %s\n" % (n, b"x" * (n % 97)) for n in range(20_000))


def content(path: Path, size: int = 100_000) -> bytes:
    """All of a file's lines, each chunk checked."""
    found = list(chunks(path, size))
    assert all(c.data.endswith(b"\n") for c in found if c.data)
    assert [c.read for c in found] == sorted(c.read for c in found)
    assert all(not c.problem for c in found[:-1])
    return b"".join(c.data for c in found)


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lambda t: gzip.compress(t[:99]) + gzip.compress(t[99:])]
)
def test_lines_are_whole_and_all_there(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "log"
    path.write_bytes(pack(TEXT))
    assert content(path) == TEXT
    assert list(chunks(path))[-1].read == path.stat().st_size


def test_a_last_line_without_an_end_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\xef\xbb\xbfone\ntwo")
    assert content(path) == b"one\ntwo\n"


def test_an_empty_file_has_no_chunks(tmp_path: Path) -> None:
    for data in (b"", gzip.compress(b"")):
        (tmp_path / "log").write_bytes(data)
        assert list(chunks(tmp_path / "log")) == []


def test_a_cut_gzip_gives_its_good_lines_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(TEXT)[:-2000])
    found = list(chunks(path, 100_000))
    assert found[-1].problem == "the gzip file is cut short"
    whole = b"".join(c.data for c in found)
    assert len(whole) > len(TEXT) // 2
    assert TEXT.startswith(whole[:-1])


def test_a_damaged_gzip_gives_what_comes_before_the_damage(tmp_path: Path) -> None:
    path, packed = tmp_path / "log.gz", bytearray(gzip.compress(TEXT))
    packed[len(packed) // 2 :] = b"\xff" * (len(packed) // 2)
    path.write_bytes(packed)
    found = list(chunks(path, 10_000))
    assert found[-1].problem
    assert TEXT.startswith(b"".join(c.data for c in found)[:100_000])


def test_a_huge_line_is_cut_to_what_a_check_refuses(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\n" + b"x" * 10_000_000 + b"\nb\n")
    found = b"".join(c.data for c in chunks(path, 1000, longest=1 << 20))
    assert [len(line) for line in found.split(b"\n")] == [1, (1 << 20) + 1, 1, 0]


def test_utf16_and_missing_files_are_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes("hello\n".encode("utf-16"))
    with pytest.raises(PeerError, match="UTF-16.*iconv"):
        list(chunks(tmp_path / "log"))
    with pytest.raises(PeerError, match="No such file"):
        list(chunks(tmp_path / "none"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 400), st.booleans(), st.binary(max_size=2))
def test_any_chunk_size_gives_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], size: int, packed: bool, end: bytes
) -> None:
    data = b"".join(b"y" * n + b"\n" for n in lengths) + end.replace(b"\x1f", b"a").replace(b"\xff", b"a")
    path = tmp_path_factory.mktemp("files") / "log"
    path.write_bytes(gzip.compress(data) if packed else data)
    want = data.removeprefix(b"\xef\xbb\xbf")
    assert content(path, size) == want + (b"\n" if want and not want.endswith(b"\n") else b"")
