"""`deepmoat key hash` and `rotate`: the hash that logs have, before and after."""

import json
from pathlib import Path

from click.testing import CliRunner

from deepmoat.app.secret import secret_key
from deepmoat.cli.verbs.key import command
from deepmoat.edge.llm.key import key_hasher


def run(data: Path, *args: str, given: str = "") -> str:
    result = CliRunner().invoke(command, [*args, "--data", str(data)], input=given)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_hash_is_the_one_the_edge_writes_and_rotating_changes_it_but_tells_the_old_one(
    tmp_path: Path,
) -> None:
    hashed = key_hasher(secret_key(tmp_path))(b"Bearer sk-client")
    assert run(tmp_path, "hash", given="sk-client\n").split() == [hashed]
    run(tmp_path, "rotate")
    after = json.loads(run(tmp_path, "hash", "--json", given="sk-client\n"))
    assert after["before"] == [hashed] and after["hash"] != hashed
    assert after["hash"] == key_hasher(secret_key(tmp_path))(b"Bearer sk-client")
    assert {p.stat().st_mode & 0o077 for p in tmp_path.iterdir()} == {0}


def test_without_a_key_it_says_how(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["hash", "--data", str(tmp_path)], input="\n")
    assert result.exit_code == 1 and "no key" in str(result.exception)
