"""Records: columns that exist, text that any JSON reader takes, floods summed up exactly."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.records import (
    AccessRecord,
    DdosRecord,
    Journal,
    LlmRecord,
    Refusals,
    encoded,
    split_target,
    text,
)
from deepmoat.model import LOGSTORES


def test_the_fields_of_every_record_are_columns_of_its_logstore() -> None:
    for logstore, record in (("access", AccessRecord), ("llm", LlmRecord), ("ddos", DdosRecord)):
        columns = {c.name for c in LOGSTORES[logstore].columns}
        assert set(record.__struct_fields__) <= columns, logstore


@given(st.binary(max_size=200))
def test_any_bytes_become_text_that_survives_json(raw: bytes) -> None:
    line = msgspec.json.encode(text(raw))
    assert json.loads(line.decode("utf-8")) == text(raw)
    path, query = split_target(raw)
    assert b"\n" not in msgspec.json.encode([path, query])


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.text(max_size=3)), max_size=200))
def test_the_sums_of_refused_requests_are_exact_however_few_keys_are_kept(
    refused: list[tuple[str, str]],
) -> None:
    refusals = Refusals(most=4)
    first = sum(refusals.add(client, "rate", "limit", "rate", host) for client, host in refused)
    records = refusals.take(1.0)
    assert sum(r.requests for r in records) == len(refused)
    assert first == len(records) <= 4 * 16 + 1
    for client in "abc":
        asked = sum(1 for c, _ in refused if c == client)
        assert sum(r.requests for r in records if r.client_address == client) == asked
    assert refusals.take(2.0) == []


def test_lines_are_whole_however_many_there_are() -> None:
    for count in (0, 1, 256, 257, 1000):
        records = [DdosRecord(1.0, "192.0.2.1", "http", "rate", "limit", "rate", "", i) for i in range(count)]
        lines = b"".join(encoded(records)).splitlines()
        assert [json.loads(line)["requests"] for line in lines] == list(range(count))


def test_a_journal_that_is_full_says_so_and_is_empty_after_take() -> None:
    journal = Journal(most=1)
    record = DdosRecord(1.0, "192.0.2.1", "http", "rate", "limit", "rate", "", 7)
    assert [journal.add("ddos", record) for _ in range(3)] == [True, False, False]
    ((logstore, records),) = journal.take().items()
    assert logstore == "ddos" and records == [record]
    assert journal.take() == {} and journal.add("ddos", record)
