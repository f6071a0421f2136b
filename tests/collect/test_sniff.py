"""A file's first lines say which parser reads it."""

import pytest

from deepmoat.collect.readers import PARSERS, RECEIVERS, Readers
from deepmoat.collect.settings import CollectSettings
from deepmoat.collect.sniff import FORMATS, LOGSTORE, sniff

READERS = Readers(CollectSettings(), bytes(32))
SAMPLES = {name: READERS.get(name).SAMPLE for name in ("combined", "common", "sshd", "plain", "ndjson")}


@pytest.mark.parametrize("name", SAMPLES)
def test_each_format_is_known_by_its_own_sample(name: str) -> None:
    assert sniff(SAMPLES[name] * 3) == name


def test_every_format_has_a_reader_and_a_logstore() -> None:
    assert {name for name, _ in FORMATS} | {"plain"} == set(LOGSTORE)
    assert set(LOGSTORE) <= {*PARSERS.names(), *RECEIVERS.names()}


@pytest.mark.parametrize("sample", [b"", b"\n\n", b"\0" * 1000, b"\xff\xfe", b"{", b"[" * 100_000])
def test_anything_else_is_plain(sample: bytes) -> None:
    assert sniff(sample) == "plain"


def test_some_odd_lines_do_not_change_the_answer() -> None:
    odd = b"\x16\x03\x01\nTraceback (most recent call last):\n"
    assert sniff(odd * 3 + SAMPLES["combined"] * 5) == "combined"
    other = b"Mar  3 06:55:46 web1 CRON[7]: session opened\n"
    assert sniff(other * 8 + SAMPLES["sshd"]) == "sshd"
