import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from deepmoat.app.secret import secret_key
from deepmoat.app.settings import Moat, read
from deepmoat.cli.main import main
from deepmoat.kit.errors import ConfigError

REFUSED = [
    ('[edge]\nlsten = "127.0.0.1:1"\n', "[edge]: unknown key 'lsten': hint: did you mean 'listen'?"),
    ('[edge]\ntrusted_forwarders = ["10.0.0.0/33"]\n', "trusted_forwarders"),
    ('[respond]\nallow = ["nowhere"]\n', "nowhere"),
    ("[store.retention.logstores.acess]\ndays = 1\n", "no such logstore: 'acess'"),
    ('[detect]\ndisabled = ["scaner"]\n', "did you mean 'scanner'?"),
    ('[edge]\nlisten = "8080"\n', "8080"),
    ('[[alert.channels]]\nkind = "pigeon"\n', "pigeon"),
    ("data = 5\n", "data"),
    ("[api]\nbody_bytes = -1\n", "body_bytes"),
    ('[api]\nforwarders = ["proxy"]\n', "'proxy'"),
    ("[store.retention.every]\ndays = -1\n", "days"),
    ("[store.retention.logstores.access]\nbytes = -1\n", "bytes"),
    ('[store.logs]\nurl = "http://127.0.0.1:8123"\n', "not supported yet"),
    ('[store.state]\nurl = "postgresql://db/moat"\n', "not supported yet"),
    ('[respond]\ndetectors = ["scaner"]\n', "did you mean 'scanner'?"),
    ('[console]\nurl = "moat.example"\n', "[console] url: not an address: 'moat.example'"),
    ('[alert]\nconsole_url = "javascript:alert(1)"\n', "not an address"),
    ("[identity]\nsession_idle = -1.0\n", "session_idle"),
    ("[console]\nrefresh = 0.0\n", "refresh"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_check_names_the_mistake_and_fails(
    tmp_path: Path,
    text: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "moat.toml"
    path.write_text(text)
    monkeypatch.setattr("sys.argv", ["deepmoat", "check", str(path)])
    with pytest.raises(SystemExit) as exit_:
        main()
    said = capsys.readouterr().err
    assert exit_.value.code == 1 and str(path) in said and message in said


def test_check_accepts_a_good_file(tmp_path: Path) -> None:
    from deepmoat.cli.verbs.check import command

    path = tmp_path / "moat.toml"
    path.write_text('[[edge.backends]]\naddress = "127.0.0.1:9000"\n')
    result = CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 0 and "ok" in result.output


def test_check_never_prints_the_secret_of_a_channel(tmp_path: Path) -> None:
    from deepmoat.cli.verbs.check import command

    path = tmp_path / "moat.toml"
    path.write_text('[[alert.channels]]\nkind = "webhook"\nurl = "http://h/?k=hush1"\nsecret = "hush2"\n')
    result = CliRunner().invoke(command, [str(path), "--json"])
    assert result.exit_code == 0 and "hush" not in result.output
    assert json.loads(result.output)["alert"]["channels"] == [{"kind": "webhook", "name": "webhook"}]


def test_the_data_folder_is_beside_the_file_unless_named(tmp_path: Path) -> None:
    path = tmp_path / "moat.toml"
    path.write_text('data = "kept"\n')
    assert read(str(path)).data == tmp_path / "kept"
    assert read(str(path), "/elsewhere").data == Path("/elsewhere")


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read(str(tmp_path / "nope.toml"))


def test_everything_listens_on_loopback_by_default() -> None:
    moat = Moat()
    assert moat.edge.listen.startswith("127.0.0.1:") and moat.api.listen.startswith("127.0.0.1:")


def test_the_secret_key_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    key = secret_key(tmp_path)
    assert secret_key(tmp_path) == key and len(key) == 32
    assert (tmp_path / "secret.key").stat().st_mode & 0o077 == 0
    (tmp_path / "secret.key").chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        secret_key(tmp_path)
    (tmp_path / "secret.key").chmod(0o600)
    (tmp_path / "secret.key").write_bytes(b"short")
    with pytest.raises(ConfigError, match="want 32 bytes"):
        secret_key(tmp_path)
