"""Every bad input that comes by HTTP, as data: what is sent, what is answered, what is stored."""

import gzip
import json
from typing import Any

import msgspec
import pytest
from web_rig import NOW, Rig

from deepmoat.api.ingest import SHOWN
from deepmoat.api.settings import ApiSettings
from deepmoat.kit.errors import TransientError
from deepmoat.kit.meters import dropped

pytestmark = pytest.mark.anyio

GOOD = json.dumps({"time": NOW - 1, "client_address": "8.8.8.8", "url_path": "/good", "status": 200}).encode()
GOOD += b"\n"
COMBINED = b'8.8.8.8 - - [27/Jan/2026:02:59:00 +0000] "GET /good HTTP/1.1" 200 5 "-" "curl/8"\n'


def row(**fields: object) -> bytes:
    return json.dumps({"time": NOW - 1, "url_path": "/bad", **fields}).encode() + b"\n"


class Case(msgspec.Struct, frozen=True):
    """One line between two good ones: it is refused and named, they are kept."""

    name: str
    bad: bytes


BAD_LINES = (
    Case("no JSON", b"hello\n"),
    Case("cut JSON", GOOD[:-20] + b"\n"),
    Case("a list", b"[1, 2]\n"),
    Case("a number", b"42\n"),
    Case("not UTF-8", b'{"time": 1, "url_path": "\xff\xfe"}\n'),
    Case("UTF-16", '{"time": 1}'.encode("utf-16-le").replace(b"\n", b"") + b"\n"),
    Case("year 2500", row(time="2500-01-01T00:00:00Z")),
    Case("year 2500 in seconds", row(time=16_725_225_600)),
    Case("1970", row(time="1970-01-01T00:00:01Z")),
    Case("no time at all", row(time="tomorrow")),
    Case("status 70000", row(http_response_status_code=70000)),
    Case("negative status", row(http_response_status_code=-1)),
    Case("negative size", row(http_response_body_size=-5)),
    Case("a line of 10 MB", row(body="x" * 10_000_000)),
    Case("a nest a thousand deep", b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"\n"),
)


async def stored(rig: Rig, logstore: str = "access") -> list[dict[str, Any]]:
    async with rig.client("analyst") as client:
        answer = await client.post("/api/query", json={"text": "*", "logstore": logstore, "limit": 1000})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return rows


@pytest.mark.parametrize("case", BAD_LINES, ids=lambda c: c.name)
async def test_a_bad_line_is_named_and_its_good_neighbours_are_kept(rig: Rig, case: Case) -> None:
    before = dropped("ndjson", "refused")
    async with rig.client("ingest") as client:
        answer = await client.post("/ingest/access", content=GOOD + case.bad + GOOD)
    body = answer.json()
    assert answer.status_code == 400, answer.text
    assert body["accepted"] == 2
    assert [line["line"] for line in body["refused"]] == [2]
    assert body["refused"][0]["reason"]
    assert body["error"]["code"] == "refused_records"
    assert [r["url_path"] for r in await stored(rig)] == ["/good", "/good"]
    assert await stored(rig, "rejected") == [], "what is refused at the door never reaches the store"
    assert dropped("ndjson", "refused") == before + 1


def test_the_bad_lines_are_all_here() -> None:
    assert len(BAD_LINES) == len({c.name for c in BAD_LINES}) == 15


BAD_ACCESS_LINES = (
    b"hello world\n",
    COMBINED.replace(b"2026", b"2500"),
    COMBINED.replace(b"2026", b"1970"),
    COMBINED.replace(b" 200 ", b" 70000 "),
    COMBINED[:-20] + b"\n",
)


@pytest.mark.parametrize("bad", BAD_ACCESS_LINES)
async def test_a_bad_line_of_a_log_format_is_kept_apart_with_the_reason(rig: Rig, bad: bytes) -> None:
    async with rig.client("ingest") as client:
        answer = await client.post("/ingest/access?parser=combined", content=COMBINED + bad + COMBINED)
    assert answer.status_code in (200, 400)
    refused = len(answer.json().get("refused", ()))
    assert [r["url_path"] for r in await stored(rig)] == ["/good", "/good"]
    aside = await stored(rig, "rejected")
    assert refused + len(aside) == 1
    assert all(r["reason"] and r["body"] == bad.decode().rstrip("\n") for r in aside)


async def test_good_lines_are_stored_when_the_answer_comes(rig: Rig) -> None:
    async with rig.client("ingest") as client:
        answer = await client.post("/ingest/access", content=GOOD * 3)
        packed = await client.post(
            "/ingest/access",
            content=gzip.compress(GOOD * 2) + gzip.compress(GOOD),
            headers={"Content-Encoding": "gzip"},
        )
        log = await client.post("/ingest/access?parser=combined", content=COMBINED)
    assert [a.status_code for a in (answer, packed, log)] == [200, 200, 200], packed.text + log.text
    assert [a.json()["accepted"] for a in (answer, packed, log)] == [3, 3, 1]
    rows = await stored(rig)
    assert len(rows) == 7
    assert {(r["client_address"], r["client_country"], r["source"]) for r in rows} == {
        ("8.8.8.8", "US", "test ingest")
    }


async def test_an_unknown_field_is_kept_as_an_attribute(rig: Rig) -> None:
    async with rig.client("ingest") as client:
        answer = await client.post("/ingest/access", content=row(tenant="acme", deep={"a": 1}))
    assert answer.status_code == 200, answer.text
    assert (await stored(rig))[0]["attributes"]["tenant"] == "acme"


async def test_a_flood_of_bad_lines_is_counted_in_full_and_listed_in_part(rig: Rig) -> None:
    async with rig.client("ingest") as client:
        answer = await client.post("/ingest/access", content=b"x\n" * 500)
    body = answer.json()
    assert (body["accepted"], len(body["refused"]), body["refused_total"]) == (0, SHOWN, 500)
    assert len(answer.content) < 20_000


async def test_an_empty_body_is_nothing_and_no_error(rig: Rig) -> None:
    async with rig.client("ingest") as client:
        answer = await client.post("/ingest/access", content=b"")
    assert (answer.status_code, answer.json()) == (200, {"accepted": 0})


class Wrong(msgspec.Struct, frozen=True):
    """A request that is refused as a whole."""

    name: str
    status: int
    says: str
    url: str = "/ingest/access"
    body: bytes = GOOD
    headers: dict[str, str] = {}


WRONG = (
    Wrong(
        "gzip cut off", 400, "cut off", body=gzip.compress(GOOD)[:-4], headers={"Content-Encoding": "gzip"}
    ),
    Wrong("no gzip", 400, "no gzip", headers={"Content-Encoding": "gzip"}),
    Wrong(
        "gzip with a wrong checksum",
        400,
        "no gzip",
        body=gzip.compress(GOOD)[:-8] + b"\0" * 8,
        headers={"Content-Encoding": "gzip"},
    ),
    Wrong("unknown coding", 415, "br", headers={"Content-Encoding": "br"}),
    Wrong("two codings", 415, "gzip, gzip", headers={"Content-Encoding": "gzip, gzip"}),
    Wrong(
        "protobuf to the wrong door", 415, "x-protobuf", headers={"Content-Type": "application/x-protobuf"}
    ),
    Wrong("no such logstore", 404, "no such logstore", url="/ingest/acess"),
    Wrong("a logstore that is SQL", 404, "no such logstore", url="/ingest/access;drop"),
    Wrong("our own logstore", 403, "only deepmoat itself", url="/ingest/audit"),
    Wrong("our own logstore, too", 403, "only deepmoat itself", url="/ingest/rejected"),
    Wrong("no such parser", 400, "no such parser", url="/ingest/access?parser=combind"),
    Wrong("our own format", 400, "no such parser", url="/ingest/access?parser=records"),
    Wrong("a parser outside", 400, "no such parser", url="/ingest/access?parser=../../etc/passwd"),
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: w.name)
async def test_a_wrong_request_says_what_is_wrong_and_stores_nothing(rig: Rig, wrong: Wrong) -> None:
    async with rig.client("ingest") as client:
        answer = await client.post(wrong.url, content=wrong.body, headers=wrong.headers)
    error = answer.json()["error"]
    assert (answer.status_code, wrong.says in error["message"]) == (wrong.status, True), answer.text
    assert error["code"]
    assert rig.committer.taken == []


def test_the_wrong_requests_are_all_here() -> None:
    assert len(WRONG) == 13


async def test_a_body_that_is_too_large_is_refused_however_it_comes(rig: Rig) -> None:
    rig.api = ApiSettings(body_bytes=10_000, inflated_bytes=100_000)

    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(200):
            yield GOOD

    bomb = gzip.compress(b"\n" * 5_000_000)
    assert len(bomb) < 10_000
    async with rig.client("ingest") as client:
        announced = await client.post("/ingest/access", content=GOOD * 200)
        in_pieces = await client.post("/ingest/access", content=pieces())
        inflated = await client.post("/ingest/access", content=bomb, headers={"Content-Encoding": "gzip"})
    assert [a.status_code for a in (announced, in_pieces, inflated)] == [413, 413, 413]
    assert rig.committer.taken == []


async def test_a_body_of_too_many_lines_is_refused_before_any_of_them_is_read(rig: Rig) -> None:
    rig.api = ApiSettings(lines=1000)
    gzipped = {"Content-Encoding": "gzip"}
    async with rig.client("ingest") as client:
        at_most = await client.post("/ingest/access", content=b"{}\n" * 1000)
        too_many = await client.post("/ingest/access", content=b"{}\n" * 1001)
        packed = await client.post(
            "/ingest/app?parser=plain", content=gzip.compress(b"\n" * 1001), headers=gzipped
        )
    assert [a.status_code for a in (at_most, too_many, packed)] == [200, 413, 413]
    assert "1000 lines" in too_many.json()["error"]["message"]
    assert len(rig.committer.taken) == 1


async def test_what_a_body_inflates_to_is_counted_as_held(rig: Rig) -> None:
    rig.api = ApiSettings(in_flight_bytes=50_000)
    packed = gzip.compress(GOOD * 1000)
    assert len(packed) * 5 < 50_000 < len(GOOD * 1000)
    async with rig.client("ingest") as client:
        answer = await client.post("/ingest/access", content=packed, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 429, answer.text


async def test_too_many_bodies_at_once_are_told_to_wait(rig: Rig) -> None:
    rig.api = ApiSettings(in_flight_bytes=100)
    async with rig.client("ingest") as client:
        answer = await client.post("/ingest/access", content=GOOD * 10)
        assert answer.status_code == 429
        assert answer.headers["retry-after"]
        small = await client.post("/ingest/access", content=GOOD)
    assert small.status_code == 200, "what was held is given back"


async def test_a_full_disk_is_told_as_507_and_nothing_is_acknowledged(rig: Rig) -> None:
    async with rig.client("ingest") as client:
        rig.committer.trouble = TransientError(
            "cannot write: No space left on device", status=507, where="spool"
        )
        answer = await client.post("/ingest/access", content=GOOD)
        rig.committer.trouble = None
    assert answer.status_code == 507
    assert answer.json()["error"]["code"] == "disk_full"
    assert "No space left" in answer.json()["error"]["message"]
    assert answer.headers["retry-after"]
    assert await stored(rig) == []


TOKENS = (
    "",
    "Bearer",
    "Bearer ",
    "Bearer moatkey_0123456789ab_" + "0" * 64,
    "Basic YWRtaW46YWRtaW4=",
    "Bearer " + "x" * 8000,
    "Bearer ' or 1=1 --",
)


@pytest.mark.parametrize("token", TOKENS)
async def test_a_wrong_token_is_401_in_our_shape(rig: Rig, token: str) -> None:
    async with rig.client() as client:
        answer = await client.post("/ingest/access", content=GOOD, headers={"Authorization": token})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"]["code"] == "no_credential"
    assert rig.committer.taken == []


async def test_a_parser_sends_its_lines_where_the_sender_says(rig: Rig) -> None:
    line = b"Jan 27 02:59:01 web sshd[1]: Failed password for root from 8.8.8.8 port 4711 ssh2\n"
    async with rig.client("ingest") as client:
        sshd = await client.post("/ingest/security?parser=sshd", content=line)
        plain = await client.post("/ingest/app?parser=plain", content=b"anything at all\n")
    assert (sshd.status_code, plain.status_code) == (200, 200), sshd.text + plain.text
    (record,) = await stored(rig, "security")
    assert (record["user_name"], record["event_outcome"]) == ("root", "failure")
    assert (await stored(rig, "app"))[0]["body"] == "anything at all"
