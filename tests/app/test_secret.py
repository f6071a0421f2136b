"""The secret key: one for all, however many ask for it first."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepmoat.app.secret import LENGTH, rotate, secret_key, secret_keys
from deepmoat.kit.errors import ConfigError


def test_workers_that_start_at_once_on_a_new_folder_get_one_key(tmp_path: Path) -> None:
    for n in range(20):
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(secret_key, [tmp_path / str(n)] * 8))
        assert len(keys) == 1 and len(keys.pop()) == LENGTH
        assert [p.name for p in (tmp_path / str(n)).iterdir()] == ["secret.key"]


def test_a_rotated_key_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    old = secret_key(tmp_path)
    rotate(tmp_path)
    new, before = secret_keys(tmp_path)
    assert before == old != new == secret_key(tmp_path)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secret_key(tmp_path)
    (tmp_path / "secret.key").chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        secret_key(tmp_path)
