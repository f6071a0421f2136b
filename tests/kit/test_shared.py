"""Shared memory: what one map writes another reads, and another size begins anew."""

from pathlib import Path

import pytest

from deepmoat.kit.errors import TransientError
from deepmoat.kit.shared import open_shared


def test_what_one_map_writes_the_other_reads_and_it_is_there_after_both_are_closed(tmp_path: Path) -> None:
    one, two = (open_shared(tmp_path / "a" / "numbers", 4096) for _ in range(2))
    one[7:9] = b"ok"
    assert two[7:9] == b"ok"
    one.close()
    two.close()
    assert open_shared(tmp_path / "a" / "numbers", 4096)[7:9] == b"ok"
    assert (tmp_path / "a" / "numbers").stat().st_mode & 0o777 == 0o600


def test_another_size_begins_with_zeros_and_leaves_those_who_map_the_old_one_alone(tmp_path: Path) -> None:
    old = open_shared(tmp_path / "numbers", 4096)
    old[0:2] = b"ab"
    new = open_shared(tmp_path / "numbers", 8192)
    assert new[0:2] == b"\0\0"
    assert old[0:2] == b"ab"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TransientError, match="cannot share memory"):
        open_shared(tmp_path / "file" / "numbers", 4096)
