"""What every receiver and parser owes us."""

import pytest

from deepmoat.collect.readers import PARSERS, RECEIVERS, Readers
from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.spool import Stream
from deepmoat.model import LOGSTORES
from tests.collect.conftest import KEY, NOW, Intake

READERS = Readers(CollectSettings(), KEY)
HOME = {"records": "access", "ndjson": "access", "combined": "access", "common": "access", "sshd": "security"}
HOSTILE = (b"", b"\n", b"\0", b"\xff\xfe", b"{", b"}" * 9, b"[]", b"[" * 10_000, b"{}\n" * 3, b"\n\n\n")


def test_both_families_are_here() -> None:
    assert set(Readers.names()) == {
        *("records", "ndjson", "otlp_protobuf", "otlp_json", "rejects"),
        *("combined", "common", "sshd", "plain"),
    }
    assert not set(RECEIVERS.names()) & set(PARSERS.names())


@pytest.mark.parametrize("name", Readers.names())
def test_the_sample_is_taken_and_stored_once(name: str, intake: Intake) -> None:
    reader, logstore = READERS.get(name), HOME.get(name, "app")
    assert reader.__doc__
    checked = intake.put(name, logstore, reader.SAMPLE)
    assert checked.records >= 1 and not checked.refused
    logins = intake.count("security") if logstore == "access" else 0
    assert sum(map(intake.count, LOGSTORES)) - logins == checked.records
    assert intake.count("rejected") == (checked.records if name == "rejects" else 0)


@pytest.mark.parametrize("name", Readers.names())
def test_no_two_loads_go_to_one_logstore(name: str) -> None:
    loads = READERS.get(name).loads(Stream(name, HOME.get(name, "app")))
    assert len({load.logstore for load in loads}) == len(loads)


@pytest.mark.parametrize("name", Readers.names())
def test_a_segment_is_the_sum_of_its_records(name: str) -> None:
    reader = READERS.get(name)
    data = reader.check(reader.SAMPLE, NOW, HOME.get(name, "app")).good * 3
    assert b"".join(reader.split(data)) == data
    assert len(reader.split(data)) % 3 == 0
    assert reader.whole(data) == len(data)
    assert reader.whole(data[:-1]) == len(data) - len(reader.split(data)[-1])
    assert reader.whole(b"") == 0


@pytest.mark.parametrize("name", Readers.names())
@pytest.mark.parametrize("body", HOSTILE)
def test_nothing_makes_a_check_raise(name: str, body: bytes) -> None:
    checked = READERS.get(name).check(body, NOW, HOME.get(name, "app"))
    assert checked.records >= 0
    assert bool(checked.good) == bool(checked.records)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="combined.*ndjson"):
        READERS.get("nginx2")


def test_settings_that_cannot_work_name_their_key() -> None:
    with pytest.raises(ValueError, match="zone 'Mars/Base'"):
        CollectSettings(zone="Mars/Base")
    with pytest.raises(ValueError, match="max_line_bytes"):
        CollectSettings(max_line_bytes=0)
