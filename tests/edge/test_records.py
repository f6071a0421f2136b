"""Records: columns that exist, text that any JSON reader takes, floods summed up exactly."""

import json
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.collect.rows import checker
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
from deepmoat.model import LOGSTORES, Request

RECORDS: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    ("access", AccessRecord),
    ("llm", LlmRecord),
    ("ddos", DdosRecord),
)
OTHERS = {"source", "client_country", "body", "attributes"}
FLOOD = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["challenge", "limit", "block", "pass"]),
        st.text(max_size=3),
        st.none() | st.builds(Request, st.just("a"), st.just("GET"), st.text(max_size=400)),
    ),
    max_size=200,
)


@pytest.mark.parametrize(("logstore", "record"), RECORDS)
def test_a_record_fills_every_column_of_its_logstore_that_is_not_made_in_the_load(
    logstore: str, record: type[msgspec.Struct]
) -> None:
    columns = {c.name for c in LOGSTORES[logstore].columns}
    assert set(record.__struct_fields__) | OTHERS == columns


@pytest.mark.parametrize(("logstore", "record"), RECORDS)
def test_a_whole_record_is_a_row_that_the_load_takes(logstore: str, record: type[msgspec.Struct]) -> None:
    kinds = {float: 1.5, int: 7, str: "x", dict[str, str]: {"x": "y"}}
    made = record(**{f.name: kinds[f.type] for f in msgspec.structs.fields(record)})
    (line,) = b"".join(encoded([made])).splitlines()
    assert set(json.loads(line)) == set(record.__struct_fields__)
    row = checker(logstore).decode(line)
    assert all(getattr(row, name) == getattr(made, name) for name in record.__struct_fields__)


def test_what_a_record_does_not_say_is_not_written() -> None:
    known = {"time", "client_address", "http_request_method", "server_address", "url_path", "url_query"}
    known |= {"http_response_status_code", "url_scheme", "network_protocol_version", "duration"}
    known |= {"request_id", "verdict"}
    made = AccessRecord(1.5, "192.0.2.1", "GET", "a", "/", "", 200, "http", "1.1", 0.1, "e-1", "pass")
    assert set(json.loads(b"".join(encoded([made])))) == known


@given(st.binary(max_size=200))
def test_any_bytes_become_text_that_survives_json(raw: bytes) -> None:
    line = msgspec.json.encode(text(raw))
    assert json.loads(line.decode("utf-8")) == text(raw)
    path, query = split_target(raw)
    assert b"\n" not in msgspec.json.encode([path, query])


@given(FLOOD)
def test_the_sums_of_refused_requests_are_exact_however_few_keys_are_kept(
    refused: list[tuple[str, str, str, Request | None]],
) -> None:
    refusals = Refusals(most=4)
    first = sum(
        refusals.add(client, "rate", said, "rate", host, request) for client, said, host, request in refused
    )
    records = refusals.take(1.0)
    assert sum(r.requests for r in records) == len(refused)
    assert first == len(records) <= 4 * 16 + 4
    for client in "abc":
        asked = sum(1 for c, *_ in refused if c == client)
        assert sum(r.requests for r in records if r.client_address == client) == asked
    for said in ("challenge", "limit", "block", "pass"):
        assert sum(r.requests for r in records if r.verdict == said) == sum(
            1 for _, v, *_ in refused if v == said
        )
    assert all(r.time == 1.0 and len(r.url_path) <= 256 for r in records)
    assert refusals.take(2.0) == []


@pytest.mark.parametrize(("said", "blocks", "result"), [
    ("challenge", 0, "failed"),
    ("limit", 1, "failed"),
    ("block", 1, "failed"),
    ("pass", 0, "ok"),
])  # fmt: skip
def test_a_verdict_is_told_in_the_words_of_anti_ddos_too(said: str, blocks: int, result: str) -> None:
    refusals = Refusals()
    assert [refusals.add("192.0.2.1", "challenge", said, "challenge/always", "a") for _ in range(3)] == [
        True,
        False,
        False,
    ]
    (record,) = refusals.take(1.0)
    assert (record.cc_phase, record.verdict, record.requests) == ("challenge", said, 3)
    assert (record.cc_blocks, record.last_result) == (blocks, result)


def test_the_first_of_a_kind_says_how_it_asked() -> None:
    refusals = Refusals()
    for n, method in enumerate(["POST", "GET"]):
        request = Request("192.0.2.1", method, f"/{n}", "q=1", "a", {}, f"k{n}", f"s{n}", f"t{n}")
        refusals.add("192.0.2.1", "rate", "limit", "rate/a", "a", request)
    refusals.add("192.0.2.2", "http", "block", "http/bad_target", "")
    one, two = refusals.take(1.0)
    assert (one.http_request_method, one.url_path, one.tls_client_ja4) == ("POST", "/0", "t0")
    assert (one.key_hash, one.session_hash, one.requests) == ("k0", "s0", 2)
    assert (two.http_request_method, two.url_path, two.key_hash, two.requests) == ("", "", "", 1)


def test_a_flood_of_made_up_clients_and_paths_has_bounded_memory() -> None:
    refusals = Refusals()
    tracemalloc.start()
    try:
        for n in range(100_000):
            client, made_up = f"2001:db8:{n >> 8:x}:{n & 255:x}::1", f"{n:064x}"
            request = Request(client, "GET", f"/{n}" * 600, "", "", {}, made_up, made_up, made_up[:36])
            refusals.add(client, "rate", "limit", "rate/a", f"host-{n}", request)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    records = refusals.take(1.0)
    assert len(records) == 16 * 4096 + 1 and sum(r.requests for r in records) == 100_000
    assert {len(r.session_hash) for r in records[:4096]} == {64}
    assert {(r.url_path, r.server_address, r.key_hash, r.session_hash) for r in records[4096:]} == {("",) * 4}
    assert {len(r.tls_client_ja4) for r in records[4096:-1]} == {36} and records[-1].client_address == "::"
    assert held < 40_000_000


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
