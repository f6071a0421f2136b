"""Actions in force: what they hit, what they leave alone, and that they end by themselves."""
# ruff: noqa: E501, PLR0915 - bytes on the wire stay on one line, a conversation in one function

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.guard.actions import FIELDS, InForce, read_orders
from deepmoat.kit.errors import PeerError
from deepmoat.kit.meters import dropped
from deepmoat.model import Action, Request, Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = NOW.timestamp()
REQUEST = Request(
    "192.0.2.1", "POST", "/login", "", "a.example", {"user-agent": "curl/8"}, key_hash="0123456789abcdef"
)


def action(*targets: Target, kind: str = "block", start: datetime = NOW, seconds: float = 60) -> Action:
    return Action(
        id="a-1",
        kind=kind,  # type: ignore[arg-type]
        targets=targets,
        cause="i-1",
        reason="a burst of requests",
        start=start,
        end=start + timedelta(seconds=seconds),
    )


def in_force(*actions: Action) -> InForce:
    checks = InForce()
    checks.replace(read_orders(msgspec.json.encode({"version": 1, "actions": actions})))
    return checks


# target, does it hit REQUEST
TARGETS: tuple[tuple[Target, bool], ...] = (
    ((("client_address", "192.0.2.1"),), True),
    ((("client_address", "::ffff:192.0.2.1"),), True),
    ((("client_address", "192.0.2.2"),), False),
    ((("url_path", "/login"),), True),
    ((("url_path", "/login/"),), False),
    ((("server_address", "a.example"),), True),
    ((("key_hash", "0123456789abcdef"),), True),
    ((("key_hash", ""),), False),
    ((("user_agent_original", "curl/8"),), True),
    ((("user_agent_original", "curl"),), False),
    ((("http_request_method", "POST"),), True),
    ((("client_address", "192.0.2.1"), ("url_path", "/login")), True),
    ((("url_path", "/login"), ("client_address", "192.0.2.1")), True),
    ((("client_address", "192.0.2.1"), ("url_path", "/other")), False),
    (
        (("client_address", "192.0.2.1"), ("client_country", "NL")),
        False,
    ),  # the edge cannot tell: nobody is hit
    ((("client_address", "192.0.2.1"), ("client_address", "192.0.2.2")), False),  # nobody has two addresses
    ((), False),
)


def test_a_target_hits_exactly_the_requests_that_match_all_of_it() -> None:
    evaluated = 0
    for target, hits in TARGETS:
        verdict = in_force(action(target)).check(REQUEST, AT)
        assert (verdict is not None) is hits, target
        if verdict:
            assert (verdict.decision, verdict.status, verdict.rule) == ("block", 403, "action/a-1")
        evaluated += 1
    assert evaluated == len(TARGETS) == 17


def test_an_action_begins_and_ends_on_time_without_anybody_saying_so() -> None:
    checks = in_force(action((("client_address", "192.0.2.1"),), seconds=10))
    hits = [checks.check(REQUEST, AT + t) is not None for t in (-1, 0, 9.9, 10, 1000)]
    assert hits == [False, True, True, False, False]
    assert [checks.orders.in_force(AT + t) for t in (-1, 0, 10)] == [0, 1, 0]


def test_a_limit_lets_a_few_through_and_answers_the_rest_429() -> None:
    checks = in_force(action((("url_path", "/login"),), kind="limit"))
    verdicts = [checks.check(REQUEST, AT) for _ in range(10)]
    assert verdicts[:5] == [None] * 5
    assert {(v.decision, v.status, v.retry_after) for v in verdicts[5:] if v} == {("limit", 429, 1)}
    assert checks.check(REQUEST, AT + 2) is None
    assert checks.check(msgspec.structs.replace(REQUEST, client_address="192.0.2.9"), AT) is None


def test_a_block_goes_before_a_limit_and_the_longer_before_the_shorter() -> None:
    target: Target = (("client_address", "192.0.2.1"),)
    short, limit, long = action(target, seconds=5), action(target, kind="limit", seconds=99), action(target)
    for order in ((short, limit, long), (long, short, limit), (limit, long, short)):
        verdict = in_force(*order).check(REQUEST, AT + 30)
        assert verdict is not None and verdict.decision == "block"


def test_the_last_message_holds_alone() -> None:
    checks = in_force(action((("client_address", "192.0.2.1"),)))
    checks.replace(read_orders(b'{"version":2,"actions":[]}'))
    assert checks.check(REQUEST, AT) is None


BROKEN = (
    b"",
    b"{",
    b"[]",
    b'{"version":1}',
    b'{"version":1,"actions":[{}]}',
    b"\xff",
    b"[" * 100_000,
    b"null\n",
)


@pytest.mark.parametrize("line", BROKEN, ids=range(len(BROKEN)))
def test_a_message_that_is_none_is_an_error_and_not_an_empty_list(line: bytes) -> None:
    with pytest.raises(PeerError):
        read_orders(line)


@given(
    st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=20), max_size=4),
    st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=20), min_size=1, max_size=4),
)
def test_any_target_hits_a_request_exactly_when_every_field_is_equal(
    has: dict[str, str], wants: dict[str, str]
) -> None:
    request = Request(
        has.get("client_address", ""),
        has.get("http_request_method", ""),
        has.get("url_path", ""),
        "",
        has.get("server_address", ""),
        {"user-agent": has.get("user_agent_original", "")},
        key_hash=has.get("key_hash", ""),
    )
    wanted = all(has.get(k, "") == v for k, v in wants.items())
    assert (in_force(action(tuple(wants.items()))).check(request, AT) is not None) is wanted


class Core:
    """Core's end of the push socket."""

    def __init__(self, path: Path) -> None:
        self.path, self.writers = path, list[asyncio.StreamWriter]()
        self.here = asyncio.Event()

    async def start(self) -> None:
        self.server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.here.set()

    def push(self, line: bytes) -> None:
        for writer in self.writers:
            writer.write(line)

    async def stop(self) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()
        self.writers.clear()
        self.here.clear()
        self.path.unlink(missing_ok=True)


async def _until(edge_says: Any, status: int) -> int:
    """Ask until the answer is ``status``: how many asks it took."""
    for asks in range(1, 2000):
        if await edge_says() == status:
            return asks
        await asyncio.sleep(0.005)
    raise AssertionError(f"never answered {status}")


def test_a_pushed_block_hits_open_connections_ends_by_itself_and_survives_core(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toy = await bench.toy()
        (tmp_path / "run").mkdir()
        core = Core(tmp_path / "run" / "actions.sock")
        await core.start()
        async with bench.running(tmp_path, toy) as edge:
            await core.here.wait()
            open_before, other = await edge.connect(), await edge.connect("127.0.0.2")

            async def says() -> int:
                return (await open_before.ask(bench.get("/")))[0]  # type: ignore[no-any-return]

            assert await says() == 200
            start = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 - the edge reads the same clock
            core.push(bench.orders(action((("client_address", "127.0.0.1"),), start=start, seconds=0.8)))
            await _until(says, 403)
            assert (await other.ask(bench.get("/")))[0] == 200
            late = await edge.connect()
            assert (await late.ask(bench.post("/", b"x" * 100)))[0] == 403
            await core.stop()  # core dies; the order ends all the same
            await _until(says, 200)
            await core.start()
            await asyncio.wait_for(core.here.wait(), 5)
            core.push(b"nonsense\n")
            start = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251
            core.push(bench.orders(action((("url_path", "/x"),), start=start)))
            asks = await _until(lambda: _status(other, bench.get("/x")), 403)
            assert asks < 1000
            assert dropped("edge.actions", "unreadable") >= 1
            await core.stop()
        blocked = [r for r in edge.records("access") if r["verdict"] == "block"]
        flood = edge.records("ddos")
        assert {r["verdict_rule"] for r in blocked} == {"action/a-1"} == {r["verdict_rule"] for r in flood}
        assert {r["cc_phase"] for r in flood} == {"action"}
        assert sum(r["requests"] for r in flood) >= len(blocked) > 0

    bench.run(work())


async def _status(peer: Any, request: bytes) -> int:
    return (await peer.ask(request))[0]  # type: ignore[no-any-return]


def test_the_snapshot_holds_before_core_is_there(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        (tmp_path / "run").mkdir()
        start = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 - the edge reads the same clock
        snapshot = bench.orders(action((("client_address", "127.0.0.1"),), start=start))
        (tmp_path / "run" / "actions.json").write_bytes(snapshot)
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            status, head, body = await peer.ask(bench.get("/"))
            assert status == 403 and b"burst" not in body  # why is for us to know
            assert (await peer.ask(bench.get("/")))[0] == 403  # a refusal keeps the connection: it is cheaper
        assert not toy.requests

    bench.run(work())
