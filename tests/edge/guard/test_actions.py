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

from deepmoat.edge.guard.actions import FIELDS, InForce
from deepmoat.edge.guard.challenge import Challenge
from deepmoat.edge.guard.fields import readers
from deepmoat.edge.guard.orders import spelled
from deepmoat.edge.guard.settings import ChallengeSettings
from deepmoat.kit.addresses import canonical
from deepmoat.kit.errors import PeerError
from deepmoat.kit.meters import dropped
from deepmoat.model import Action, Request, Target
from deepmoat.respond.enforce import edge

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = NOW.timestamp()
REQUEST = Request(
    "192.0.2.1",
    "POST",
    "/login",
    "",
    "a.example",
    {"user-agent": "curl/8"},
    key_hash="0123456789abcdef",
    session="5e55",
    ja4="t13d",
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
    checks.take(msgspec.json.encode({"version": 1, "actions": actions}))
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
    ((("client_address", "192.0.2.1"), ("client_asn", "64496")), False),  # cannot be told: nobody is hit
    ((("client_address", "192.0.2.1"), ("unheard_of", "")), False),
    ((("client_address", "192.0.2.0/24"),), True),
    ((("client_address", "192.0.2.77/24"),), True),
    ((("client_address", "192.0.2.1/32"),), True),
    ((("client_address", "::ffff:192.0.2.0/120"),), True),
    ((("client_address", "0.0.0.0/0"),), True),
    ((("client_address", "192.0.2.2/31"),), False),
    ((("client_address", "2001:db8::/32"),), False),
    ((("client_address", "::/0"),), False),
    ((("client_address", "192.0.2.0/33"),), False),
    ((("client_address", "192.0.2.0/24"), ("url_path", "/login")), True),
    ((("client_address", "192.0.2.0/24"), ("url_path", "/")), False),
    ((("client_country", ""), ("url_path", "/login")), True),  # documentation addresses are nowhere
    ((("client_country", "NL"),), False),
    ((("session", "5e55"),), True),
    ((("tls_client_ja4", "t13d"),), True),
    ((("tls_client_ja4", "t13d"), ("session", "5e55"), ("http_request_method", "GET")), False),
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
    assert evaluated == len(TARGETS) == 34


def test_an_action_begins_and_ends_on_time_without_anybody_saying_so() -> None:
    checks = in_force(action((("client_address", "192.0.2.1"),), seconds=10))
    hits = [checks.check(REQUEST, AT + t) is not None for t in (-1, 0, 9.9, 10, 1000)]
    assert hits == [False, True, True, False, False]
    assert [checks.in_force(AT + t) for t in (-1, 0, 10)] == [0, 1, 0]


def test_a_limit_lets_a_few_through_and_answers_the_rest_429() -> None:
    checks = in_force(action((("url_path", "/login"),), kind="limit"))
    verdicts = [checks.check(REQUEST, AT) for _ in range(10)]
    assert verdicts[:5] == [None] * 5
    assert {(v.decision, v.status, v.retry_after) for v in verdicts[5:] if v} == {("limit", 429, 1)}
    assert checks.check(REQUEST, AT + 2) is None
    assert checks.check(msgspec.structs.replace(REQUEST, client_address="192.0.2.9"), AT) is None


def test_a_block_goes_before_a_limit_and_the_longer_before_the_shorter() -> None:
    target: Target = (("client_address", "192.0.2.1"),)
    three = action(target, seconds=5), action(target, kind="limit", seconds=99), action(target)
    short, limit, long = (msgspec.structs.replace(a, id=f"a-{n}") for n, a in enumerate(three))
    for order in ((short, limit, long), (long, short, limit), (limit, long, short)):
        verdict = in_force(*order).check(REQUEST, AT + 30)
        assert verdict is not None and verdict.decision == "block"


def test_the_last_message_holds_alone() -> None:
    checks = in_force(action((("client_address", "192.0.2.1"),)))
    checks.take(b'{"version":2,"actions":[]}')
    assert checks.check(REQUEST, AT) is None


def test_a_challenge_asks_browsers_for_work_and_programs_for_patience() -> None:
    checks = in_force(action((("url_path", "/login"),), kind="challenge"))
    browser = Request("192.0.2.1", "GET", "/login", headers={"accept": "text/html", "user-agent": "m"})
    verdict = checks.check(browser, AT)
    assert verdict and (verdict.decision, verdict.status, verdict.rule) == ("challenge", 403, "action/a-1")
    assert checks.headers == {b"accept", b"cookie", b"user-agent"}
    program = checks.check(REQUEST, AT)
    assert program and (program.decision, program.status, program.retry_after) == ("limit", 429, 30)


def test_nobody_on_the_allow_list_is_hit_by_an_order_that_names_no_address() -> None:
    for allow, hit in ((["192.0.2.0/24"], False), (["198.51.100.0/24"], True), ([], True)):
        message = {"version": 1, "allow": allow, "actions": [action((("url_path", "/login"),))]}
        checks = InForce()
        checks.take(msgspec.json.encode(message))
        assert (checks.check(REQUEST, AT) is not None) is hit
    with pytest.raises(PeerError):
        checks.take(b'{"version":1,"allow":["x"],"actions":[]}')
    assert checks.check(REQUEST, AT) is not None


def test_fields_that_only_a_file_of_systems_knows_are_counted_without_it() -> None:
    target: Target = (("client_asn", "AS64496"),)
    before = dropped("edge.actions", "unknown_target")
    assert in_force(action(target)).unknown == 1
    assert dropped("edge.actions", "unknown_target") == before + 1
    checks = InForce(readers(lambda address: "64496" if address == "192.0.2.1" else ""))
    checks.take(msgspec.json.encode({"version": 1, "actions": [action(target)]}))
    assert checks.unknown == 0 and checks.check(REQUEST, AT) is not None
    assert checks.adopt(readers(), Challenge(ChallengeSettings(), b"")) is True
    assert checks.adopt(readers(), Challenge(ChallengeSettings(), b"")) is False


def test_a_state_that_was_read_by_half_never_takes_effect() -> None:
    checks = in_force(action((("client_address", "192.0.2.9"),)))
    part = msgspec.json.encode({"part": 7, "actions": [action((("client_address", "192.0.2.1"),))]})
    nine = msgspec.structs.replace(REQUEST, client_address="192.0.2.9")

    def now() -> tuple[bool, bool]:
        return checks.check(REQUEST, AT) is not None, checks.check(nine, AT) is not None

    assert checks.take(part) == "gap"
    assert checks.take(b'{"begin":7}') == "ok" and checks.take(part) == "ok"
    assert now() == (False, True)
    assert checks.take(b'{"end":7,"targets":2}') == "gap" and now() == (False, True)  # one never came
    assert checks.take(b'{"end":7,"targets":1}') == "gap" and now() == (False, True)
    assert [checks.take(line) for line in (b'{"begin":7}', part)] == ["ok", "ok"]
    with pytest.raises(PeerError):
        checks.take(b"{" + part)
    assert checks.take(b'{"end":7,"targets":1}') == "ok" and now() == (True, False)
    assert checks.version == 7


def test_a_change_that_does_not_follow_is_a_gap_and_one_that_is_old_is_nothing() -> None:
    checks = in_force()
    gained = msgspec.json.encode(
        {"from": 1, "version": 2, "added": [action((("client_address", "192.0.2.1"),))]}
    )
    assert checks.take(gained) == "ok" and checks.check(REQUEST, AT) is not None
    assert checks.take(b'{"from":3,"version":4,"removed":["a-1"]}') == "gap"
    assert checks.take(b'{"from":0,"version":1,"removed":["a-1"]}') == "ok"
    assert checks.check(REQUEST, AT) is not None
    assert checks.take(b'{"from":2,"version":3,"removed":["a-1"]}') == "ok"
    assert checks.check(REQUEST, AT) is None


SMALL = st.integers(0, 7).map(lambda n: (("client_address", f"192.0.2.{n}"),)) | st.sampled_from(
    [(("client_address", "192.0.2.0/30"),), (("client_address", "192.0.2.1"), ("url_path", "/"))]
)
STATES = st.lists(
    st.dictionaries(
        st.sampled_from("ABCD"),
        st.tuples(
            st.lists(SMALL, max_size=7, unique=True), st.integers(1, 3), st.sampled_from(["block", "limit"])
        ),
        max_size=4,
    ),
    min_size=1,
    max_size=6,
)


def seen(checks: InForce) -> list[object]:
    """What an edge would do with every request of a small world, at two moments."""
    requests = [Request(f"192.0.2.{n}", "GET", path) for n in range(8) for path in ("/", "/x")]
    found: list[object] = [checks.in_force(AT)]
    for request in requests:
        places: list[Any] = [(FIELDS["client_address"], checks._book.addresses), *checks._book.others]
        entries = [table.get(read(request)) for read, table in places if table is not None]
        orders = [o for e in entries if e is not None for o in (e if isinstance(e, tuple) else (e,))]
        found.append(sorted((o.verdict.rule, o.kind, o.end) for o in orders if o.end > 0))
    return found


@given(STATES, st.integers(1, 4), st.data())
def test_whatever_was_published_an_edge_knows_the_last_state_by_changes_as_by_the_whole(
    states: list[Any], piece: int, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge, "PIECE", piece)
        follower, orders = InForce(), edge.Orders(1)
        for line in edge.pieces(orders):
            assert follower.take(line) == "ok"
        for n, state in enumerate(states):
            actions = tuple(
                msgspec.structs.replace(action(*targets, kind=kind, seconds=end), id=id)
                for id, (targets, end, kind) in state.items()
            )
            steps = edge.changes(orders.actions, actions)
            lines = list(edge.deltas(steps, orders.version, orders.version + 1 + n))
            for _, _, line in lines:
                assert follower.take(line) == "ok"
            orders = edge.Orders(lines[-1][1], actions)
            fresh = InForce()
            for line in edge.pieces(orders):
                assert fresh.take(line) == "ok"
            assert follower.version == fresh.version == orders.version
            assert seen(follower) == seen(fresh)


@given(st.ip_addresses(v=6).flatmap(lambda a: st.sampled_from([str(a), a.exploded, str(a).upper()])))
def test_an_address_is_spelled_as_the_requests_have_it(text: str) -> None:
    assert spelled(text) == canonical(text)


@given(
    st.lists(st.sampled_from(["0", "00", "1", "db8", "0db8", "DB8", "ffff", "", ":"]), min_size=3, max_size=9)
)
def test_an_address_in_any_spelling_is_the_same_address(groups: list[str]) -> None:
    text = ":".join(groups)
    assert spelled(text) == (canonical(text) or text)


def test_entries_of_ended_actions_are_swept_out() -> None:
    checks = in_force()
    for n in range(20):
        many = action(*((("client_address", f"10.{n}.{i >> 8}.{i & 255}"),) for i in range(1000)))
        checks.take(msgspec.json.encode({"from": n + 1, "version": n + 2, "added": [many]}))
    held = sum(len(part) for table in checks._book.tables.values() for part in table.parts)
    assert 1000 <= held < 7000 and checks.in_force(AT) == 1000


def test_what_core_left_in_its_files_holds_and_a_torn_end_changes_nothing() -> None:
    first = action((("client_address", "192.0.2.1"),))
    snapshot = [
        b'{"begin":5}\n',
        msgspec.json.encode({"part": 5, "actions": [first]}),
        b'{"end":5,"targets":1}',
    ]
    delta = b'{"from":4,"version":5}\n{"from":5,"version":6,"removed":["a-1"]}\n'
    checks = InForce()
    checks.restore(snapshot, b"")
    assert checks.check(REQUEST, AT) is not None
    with pytest.raises(PeerError):
        checks.restore(snapshot, delta + b'{"from":6,"ver')
    assert checks.check(REQUEST, AT) is None and checks.version == 6


BROKEN = (
    b'{"from":1}',
    b'{"from":0,"version":9,"removed":[1]}',
    b'{"end":"x"}',
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
    checks = in_force(action((("client_address", "192.0.2.1"),)))
    with pytest.raises(PeerError):
        checks.take(line)
    assert checks.check(REQUEST, AT) is not None and checks.version == 1


PLAIN = st.sampled_from(sorted(FIELDS.keys() - {"client_country", "client_address"}))


@given(
    st.dictionaries(PLAIN, st.text(max_size=20), max_size=4),
    st.dictionaries(PLAIN, st.text(max_size=20), min_size=1, max_size=4),
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
        session=has.get("session", ""),
        ja4=has.get("tls_client_ja4", ""),
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
        async with bench.running(tmp_path, toy) as running:
            await core.here.wait()
            open_before, other = await running.connect(), await running.connect("127.0.0.2")

            async def says() -> int:
                return (await open_before.ask(bench.get("/")))[0]  # type: ignore[no-any-return]

            assert await says() == 200
            start = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 - the edge reads the same clock
            core.push(bench.orders(action((("client_address", "127.0.0.1"),), start=start, seconds=0.8)))
            await _until(says, 403)
            assert (await other.ask(bench.get("/")))[0] == 200
            late = await running.connect()
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
        blocked = [r for r in running.records("access") if r["verdict"] == "block"]
        flood = running.records("ddos")
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
        async with bench.running(tmp_path, toy) as running:
            peer = await running.connect()
            status, head, body = await peer.ask(bench.get("/"))
            assert status == 403 and b"burst" not in body  # why is for us to know
            assert (await peer.ask(bench.get("/")))[0] == 403  # a refusal keeps the connection: it is cheaper
        assert not toy.requests

    bench.run(work())
