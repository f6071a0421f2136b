import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.kit.errors import ConfigError, TransientError
from deepmoat.kit.spool import Spool, Stream, parse_name, recover, sealed, whole_lines

LINES = Stream("ndjson", "access", "a~b/ü")


def spool(folder: Path) -> Spool:
    return Spool(folder, whole=lambda receiver: whole_lines)


def test_a_sealed_segment_holds_what_was_appended(tmp_path: Path) -> None:
    own = spool(tmp_path)
    own.append(LINES, b"one\n", 1.0)
    own.append(LINES, b"two\n", 2.0)
    assert list(sealed(tmp_path)) == []
    assert own.seal() == 1
    (segment,) = sealed(tmp_path)
    assert segment.path.read_bytes() == b"one\ntwo\n" and segment.stream == LINES
    assert segment.path.stat().st_mode & 0o777 == 0o600


def test_tokens_are_never_used_twice(tmp_path: Path) -> None:
    tokens = set()
    for folder in (tmp_path / "a", tmp_path / "b"):
        own = spool(folder)
        for _ in range(50):
            own.append(LINES, b"x\n", 5.0)
            own.seal()
        tokens |= {s.token for s in sealed(folder)}
    assert len(tokens) == 100


def test_only_old_or_large_segments_are_sealed(tmp_path: Path) -> None:
    own = spool(tmp_path)
    own.append(LINES, b"x\n", 1.0)
    own.append(Stream("ndjson", "waf"), b"y" * 100 + b"\n", 9.0)
    assert own.seal(older_than=0.5, larger_than=1000) == 0
    assert own.seal(older_than=0.5, larger_than=100) == 1
    assert own.seal(older_than=1.0) == 1


@given(
    st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"") + b"\n"), max_size=9),
    st.binary(max_size=9),
)
def test_recovery_keeps_every_whole_record_and_drops_the_torn_one(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], torn: bytes
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    name = folder / "00000000000000000001~ndjson~access~.open"
    name.write_bytes(b"".join(records) + torn.replace(b"\n", b""))
    assert recover(folder, lambda receiver: whole_lines) == 1
    assert b"".join(s.path.read_bytes() for s in sealed(folder)) == b"".join(records)
    assert not list(folder.glob("*.open"))


def test_a_second_owner_is_refused_with_the_folder_named(tmp_path: Path) -> None:
    first = spool(tmp_path)
    with pytest.raises(TransientError, match="another process uses this folder"):
        spool(tmp_path)
    first.close()
    spool(tmp_path).close()


def test_what_a_killed_process_left_is_recovered_on_open(tmp_path: Path) -> None:
    script = (
        "import sys, os; from pathlib import Path; from deepmoat.kit.spool import *;"
        "s = Spool(Path(sys.argv[1]), whole=lambda r: whole_lines);"
        "s.append(Stream('ndjson', 'access'), b'kept\\n', 1.0); s.sync();"
        "s.append(Stream('ndjson', 'access'), b'torn', 1.0); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=False, timeout=30)
    own = spool(tmp_path)
    (segment,) = sealed(tmp_path)
    assert segment.path.read_bytes() == b"kept\n"
    own.close()


def test_a_full_disk_is_said_and_leaves_whole_records(tmp_path: Path) -> None:
    own = spool(tmp_path)
    own.append(LINES, b"a" * 99 + b"\n", 1.0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, before[1]))
    try:
        with pytest.raises(TransientError) as caught:
            own.append(LINES, b"b" * 99 + b"\n", 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert caught.value.status == 507
    own.append(LINES, b"c\n", 1.0)
    own.seal()
    (segment,) = sealed(tmp_path)
    assert segment.path.read_bytes() == b"a" * 99 + b"\nc\n"


def test_names_round_trip() -> None:
    segment = parse_name(Path("core/00000000000000000007~combined~access~my%20log.seg"))
    assert segment.stream == Stream("combined", "access", "my log")
    assert segment.token == "core/00000000000000000007~combined~access~my%20log"


def test_closing_seals_and_frees_descriptors(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    own = spool(tmp_path)
    own.append(LINES, b"x\n", 1.0)
    own.close()
    assert len(os.listdir("/proc/self/fd")) == before and len(list(sealed(tmp_path))) == 1


def test_while_one_segment_waits_the_next_one_grows(tmp_path: Path) -> None:
    own = spool(tmp_path)
    other = Stream("ndjson", "waf")
    own.append(LINES, b"1\n", 1.0)
    assert own.seal(older_than=1.0) == 1
    own.append(LINES, b"2\n", 2.0)
    own.append(other, b"3\n", 2.0)
    assert own.seal(older_than=9.0) == 1, "only the other stream has none waiting"
    assert own.seal(older_than=9.0, larger_than=2) == 1, "size closes it all the same"
    own.append(LINES, b"4\n", 3.0)
    for segment in sealed(tmp_path):
        segment.path.unlink()
    assert own.seal(older_than=9.0) == 1


def test_a_clock_set_back_ends_what_grows(tmp_path: Path) -> None:
    own = spool(tmp_path)
    own.append(LINES, b"1\n", 7200.0)
    assert own.seal(older_than=7199.5) == 0
    assert own.seal(older_than=3600.0) == 1, "an hour back: nobody waits an hour for its records"
    own.append(LINES, b"2\n", 3601.0)
    assert own.seal(older_than=3600.5) == 0


def test_a_segment_is_never_larger_than_one_load_can_be(tmp_path: Path) -> None:
    own = spool(tmp_path)
    own.append(LINES, b"1\n", 1.0)
    assert own.seal(older_than=1.0) == 1
    for _ in range(32):
        own.append(LINES, b"x" * ((1 << 20) - 1) + b"\n", 2.0)
        assert own.seal(older_than=1.5) == (own.growing() == 0)
    assert own.growing() == 0, "one waits, but 32 MiB are enough"


def test_a_segment_that_cannot_be_sealed_now_is_sealed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = spool(tmp_path)
    own.append(LINES, b"1\n", 1.0)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(TransientError, match="Input/output error"):
            own.seal()
    own.append(LINES, b"2\n", 2.0)
    assert own.seal() == 1
    assert [s.path.read_bytes() for s in sealed(tmp_path)] == [b"1\n2\n"]


@pytest.mark.parametrize("name", ["00000000000000000001~gone~access~x.open", "nonsense.open", "x~a~b~c.open"])
def test_what_nobody_can_cut_is_sealed_as_it_is(tmp_path: Path, name: str) -> None:
    def whole(receiver: str) -> object:
        raise ConfigError("no such receiver")

    (tmp_path / name).write_bytes(b"kept")
    assert recover(tmp_path, whole) == 1  # type: ignore[arg-type]
    assert [p.read_bytes() for p in tmp_path.glob("*.seg")] == [b"kept"]
