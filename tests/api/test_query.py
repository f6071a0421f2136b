import asyncio
import csv
import io
import json
import threading
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web_rig import NOW, Rig

from deepmoat.kit.spool import Stream
from deepmoat.model import Query, Result

pytestmark = pytest.mark.anyio


async def put(rig: Rig, *rows: dict[str, Any]) -> None:
    body = b"".join(json.dumps({"time": NOW - 60 + n, **row}).encode() + b"\n" for n, row in enumerate(rows))
    await rig.committer.commit(Stream("records", "access", "edge-0"), body)


async def test_rows_come_in_select_order_with_what_they_cost(rig: Rig) -> None:
    await put(rig, {"url_path": "/a"}, {"url_path": "/b"}, {"url_path": "/a"})
    text = "* | select url_path as z, count(*) as a group by z order by a desc"
    async with rig.client("analyst") as client:
        answer = await client.post("/api/query", json={"text": text})
    body = answer.json()
    assert [list(row.items()) for row in body["rows"]] == [[("z", "/a"), ("a", 2)], [("z", "/b"), ("a", 1)]]
    assert body["columns"] == ["z", "a"]
    assert body["rows_read"] >= 1
    assert body["elapsed"] > 0
    assert body["limited"] == ""


async def test_get_and_post_and_each_format_say_the_same(rig: Rig) -> None:
    await put(rig, {"url_path": '/a,"b'}, {"url_path": "=1+1"})
    asked = {"text": "* | select url_path order by url_path", "since": "-1h"}
    async with rig.client("analyst") as client:
        posted = (await client.post("/api/query", json=asked)).json()["rows"]
        got = (await client.get("/api/query", params=asked)).json()["rows"]
        lines = (await client.get("/api/query", params=asked | {"format": "ndjson"})).text.splitlines()
        table = await client.get("/api/query", params=asked | {"format": "csv"})
        sheet = await client.get("/api/query", params=asked | {"format": "csv", "spreadsheet": "true"})
    rows = [{"url_path": '/a,"b'}, {"url_path": "=1+1"}]
    assert posted == got == [json.loads(line) for line in lines] == rows
    assert list(csv.DictReader(io.StringIO(table.text, newline=""))) == rows
    assert "'=1+1" in sheet.text
    assert table.headers["content-disposition"] == 'attachment; filename="access.csv"'


SPANS = (
    ({"since": "-30s"}, 30),
    ({"since": "-1h"}, 60),
    ({"since": NOW - 30}, 30),
    ({"since": str(NOW - 30)}, 30),
    ({"since": "2026-01-27T02:59:30Z"}, 30),
    ({"since": "2026-01-27T10:59:30+08:00"}, 30),
    ({"until": "-30s"}, 30),
    ({"since": "-50s", "until": "-40s"}, 10),
    ({}, 60),
)


@pytest.mark.parametrize(("span", "n"), SPANS)
async def test_a_time_range_is_since_included_until_excluded(rig: Rig, span: dict[str, Any], n: int) -> None:
    await put(rig, *({} for _ in range(60)))
    async with rig.client("analyst") as client:
        answer = await client.post("/api/query", json={"text": "* | select count(*) as n", **span})
    assert answer.json()["rows"] == [{"n": n}], answer.text


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"text": "* | select nope("}, "select nope("),
    ({"text": "* | select nope(1)"}, ""),
    ({"text": "* | select * from system.tables"}, ""),
    ({"text": "* | select file('/etc/passwd')"}, ""),
    ({"text": "(status:200"}, ""),
    ({"text": "*", "since": "yesterday"}, "since"),
    ({"text": "*", "until": "99999-01-01"}, "until"),
    ({"text": "*", "since": "-99999999d"}, "since"),
    ({"text": "*", "since": "-1h", "until": "-2h"}, "since"),
    ({"text": "*", "logstore": "nope"}, "logstore"),
    ({"text": "*", "logstore": "system.tables"}, "logstore"),
    ({"text": "*", "limit": 0}, "limit"),
    ({"text": "*", "limit": 10**9}, "limit"),
    ({"text": "*", "limit": "many"}, "body"),
    ({"text": "*", "format": "xml"}, "body"),
    ({"text": "*", "zone": "Mars/Olympus"}, ""),
    ({"text": "*", "misspelt": 1}, "body"),
    ({"text": "\ud800"}, "body"),
    ({"text": "a\0b"}, ""),
)


@pytest.mark.parametrize(("asked", "where"), WRONG)
async def test_a_wrong_query_is_400_and_says_where(rig: Rig, asked: dict[str, Any], where: str) -> None:
    async with rig.client("analyst") as client:
        answer = await client.post("/api/query", content=json.dumps(asked).encode("utf-8", "surrogatepass"))
    error = answer.json()["error"]
    assert answer.status_code == 400, answer.text
    assert error["message"]
    assert "\n" not in error["message"]
    assert where in error["where"]
    assert "DB::Exception" not in answer.text


async def test_the_place_of_a_mistake_is_a_caret_under_it(rig: Rig) -> None:
    async with rig.client("analyst") as client:
        answer = await client.post("/api/query", json={"text": "status:200 )"})
    line, caret = answer.json()["error"]["where"].split("\n")
    assert line == "status:200 )"
    assert caret.index("^") == line.index(")")


async def test_a_body_that_is_no_object_or_too_large_is_refused(rig: Rig) -> None:
    async with rig.client("analyst") as client:
        answers = [
            await client.post("/api/query", content=body) for body in (b"[]", b"{", b"\xff", b" " * 2_000_000)
        ]
    assert [a.status_code for a in answers] == [400, 400, 400, 413]


async def test_every_query_is_in_the_audit_log_with_who_and_from_where(rig: Rig) -> None:
    async with rig.client("analyst") as client:
        await client.post("/api/query", json={"text": "status:500"})
        await client.post("/api/query", json={"text": "* | nope"})
        audit = await client.post("/api/query", json={"text": "event_action:query", "logstore": "audit"})
    found = {
        (r["body"], r["event_outcome"], r["user_name"], r["client_address"]) for r in audit.json()["rows"]
    }
    assert found == {
        ("status:500", "success", "test analyst", "203.0.113.9"),
        ("* | nope", "failure", "test analyst", "203.0.113.9"),
    }


class Slow:
    """A door that waits until it is told."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Semaphore(0), threading.Event()

    def ask(self, query: Query, now: datetime) -> Result:
        self.begun.release()
        self.go.wait(20)
        return Result(("n",), [(1,)])


async def test_one_key_runs_so_many_queries_at_once_and_another_is_not_held_up(rig: Rig) -> None:
    slow = Slow()
    rig.desk.door = slow
    async with rig.client("analyst") as one, rig.client("analyst") as other:
        waiting = [asyncio.ensure_future(one.post("/api/query", json={})) for _ in range(4)]
        for _ in waiting:
            assert await asyncio.to_thread(slow.begun.acquire, timeout=10)
        fifth = await one.post("/api/query", json={})
        theirs = asyncio.ensure_future(other.post("/api/query", json={}))
        assert await asyncio.to_thread(slow.begun.acquire, timeout=10)
        slow.go.set()
        done = await asyncio.gather(*waiting, theirs)
        after = await one.post("/api/query", json={})
    assert (fifth.status_code, fifth.json()["error"]["code"]) == (429, "too_many")
    assert [a.status_code for a in (*done, after)] == [200] * 6


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=60), st.sampled_from(("*", "* | select ", "status:", '"', "* | select count(*) where "))
)
def test_no_text_at_all_is_our_fault(rig: Rig, text: str, head: str) -> None:
    async def ask() -> int:
        async with rig.client("analyst") as client:
            body = json.dumps({"text": head + text})
            return (await client.post("/api/query", content=body)).status_code

    assert asyncio.run(ask()) in (200, 400)
