"""``deepmoat up`` on a data folder that cannot be had."""

from pathlib import Path

import pytest
from system.moat import Moat, deepmoat, running

pytestmark = pytest.mark.system


def test_a_second_up_on_one_data_folder_ends_at_once_with_the_reason(tmp_path: Path) -> None:
    with running(Moat(tmp_path), "up") as moat:
        second = deepmoat("up", "--settings", str(moat.settings), timeout=20)
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1 and "another process uses this folder" in second.stderr
        assert moat.call("/healthz")[0] == 200


@pytest.mark.parametrize("verb", ["up", "link"])
def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, verb: str) -> None:
    (tmp_path / "file").write_text("no folder")
    done = deepmoat(verb, "--data", str(tmp_path / "file" / "data"), timeout=20)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(tmp_path / "file" / "data") in done.stderr
