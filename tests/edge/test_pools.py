"""Pools, queues, drains and reloads through a real worker."""
# ruff: noqa: PLR0915 - a conversation in one function

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec

from deepmoat.edge.balance.drains import write_drains
from deepmoat.edge.settings import (
    BackendSettings,
    EdgeSettings,
    EjectionSettings,
    HealthSettings,
    PoolSettings,
    QueueSettings,
    RateSettings,
)


def named(name: str) -> Any:
    """A backend that says who it is."""

    async def answer(peer: Any, head: bytes, body: bytes) -> None:
        text = json.dumps({"name": name}).encode()
        peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text)
        )
        peer.send(text)

    return answer


def call(model: str, **more: Any) -> bytes:
    return json.dumps(
        {"messages": [{"role": "user", "content": "x" * 2000}], "model": model, **more}
    ).encode()


async def who(peer: Any, request: bytes) -> str:
    status, _, body = await peer.ask(request)
    assert status == 200, (status, body)
    return str(json.loads(body)["name"])


def test_host_path_and_model_choose_the_pool_even_when_the_model_is_named_last(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        toys = {name: await bench.toy(named(name)) for name in ("big", "small", "images", "rest")}
        at = {name: (BackendSettings(address=toy.address),) for name, toy in toys.items()}
        pools = (
            PoolSettings(name="big", models=("big-*",), backends=at["big"]),
            PoolSettings(name="small", models=("small",), backends=at["small"]),
            PoolSettings(name="images", hosts=("*.img.example",), paths=("/draw",), backends=at["images"]),
        )
        async with bench.running(tmp_path, *toys.values(), pools=pools, backends=at["rest"]) as edge:
            peer = await edge.connect()
            chat = "/v1/chat/completions"
            assert await who(peer, bench.post(chat, call("big-70b"))) == "big"
            assert await who(peer, bench.post(chat, call("small"))) == "small"
            assert await who(peer, bench.post(chat, call("other"))) == "rest"
            assert await who(peer, bench.post(chat, b"no json")) == "rest"
            assert await who(peer, bench.get("/draw/1")) == "rest"
            drawn = bench.get("/draw/1").replace(b"a.example", b"x.img.example")
            assert await who(peer, drawn) == "images"
            peer.send(
                bench.post(chat, b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
            )
            body = call("big-1")
            for start in range(0, len(body), 300):
                piece = body[start : start + 300]
                peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                await asyncio.sleep(0)
            peer.send(b"0\r\n\r\n")
            assert json.loads((await peer.answer())[2]) == {"name": "big"}
            sent = toys["big"].requests[-1]
            assert sent[1] == body and b"Content-Length: %d\r\n" % len(body) in sent[0]
        records = edge.records("llm")
        assert [r["upstream_pool"] for r in records] == ["big", "small", "default", "default", "big"]
        assert records[3]["attributes"]["request"] == "not_json"

    bench.run(work())


def test_a_long_call_streams_on_after_the_inspect_limit_and_is_routed_by_what_was_seen(
    bench: Any, tmp_path: Path
) -> None:
    async def work() -> None:
        from deepmoat.edge.settings import LimitSettings

        big, rest = await bench.toy(named("big")), await bench.toy(named("rest"))
        pools = (PoolSettings(name="big", models=("big",), backends=(BackendSettings(address=big.address),)),)
        settings: dict[str, Any] = {
            "pools": pools,
            "backends": (BackendSettings(address=rest.address),),
            "limits": LimitSettings(inspect_bytes=10_000),
        }
        async with bench.running(tmp_path, big, rest, **settings) as edge:
            peer = await edge.connect()
            first = b'{"model":"big","messages":[{"role":"user","content":"' + b"x" * 50_000
            whole = first + b"y" * 500_000 + b'"}]}'
            request = bench.post("/v1/chat/completions", whole)
            peer.send(request[:-500_000])
            for _ in range(200):
                if big.connections > 1:
                    break
                await asyncio.sleep(0.01)
            peer.send(request[-500_000:])
            assert json.loads((await peer.answer())[2]) == {"name": "big"}
            assert big.requests[-1][1] == whole
        (record,) = edge.records("llm")
        assert record["gen_ai_request_model"] == "big" and record["attributes"]["request"] == "too_large"

    bench.run(work())


def test_at_most_max_requests_are_in_flight_and_keys_take_turns_in_the_queue(
    bench: Any, tmp_path: Path
) -> None:
    flying = most = 0
    order: list[bytes] = []
    gate = asyncio.Semaphore(0)

    async def slow(peer: Any, head: bytes, body: bytes) -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        order.append(head.split()[1])
        await gate.acquire()
        flying -= 1
        await bench.polite(peer, head, body)

    async def work() -> None:
        toy = await bench.toy(slow)
        backend = BackendSettings(address=toy.address, max_requests=2)
        queue = QueueSettings(most=50, most_per_key=8)
        async with bench.running(tmp_path, toy, backends=(backend,), queue=queue) as edge:
            greedy = [await edge.connect() for _ in range(12)]
            for i, peer in enumerate(greedy):
                peer.send(bench.get(f"/greedy{i}", "Authorization: Bearer greedy"))
                await asyncio.sleep(0.01)
            modest = await edge.connect()
            modest.send(bench.get("/modest", "Authorization: Bearer modest"))
            refused = [await asyncio.wait_for(p.answer(), 5) for p in greedy[10:]]
            for status, head, body in refused:
                assert status == 429 and b"\r\nRetry-After: " in head, body
            for _ in range(11):
                gate.release()
                await asyncio.sleep(0.02)
            assert (await modest.answer())[0] == 200
            for peer in greedy[:10]:
                assert (await peer.answer())[0] == 200
            assert most == 2
            assert order.index(b"/modest") <= 4
        waited = [r for r in edge.records("access") if r["http_response_status_code"] == 200]
        assert len(waited) == 11

    bench.run(work())


def test_who_waits_too_long_is_told_503_and_who_leaves_the_queue_frees_his_place(
    bench: Any, tmp_path: Path
) -> None:
    async def stuck(peer: Any, head: bytes, body: bytes) -> None:
        await asyncio.sleep(30)

    async def work() -> None:
        toy = await bench.toy(stuck)
        backend = BackendSettings(address=toy.address, max_requests=1)
        queue = QueueSettings(most=1, seconds=0.4)
        async with bench.running(tmp_path, toy, backends=(backend,), queue=queue) as edge:
            first, waits, third, late = [await edge.connect() for _ in range(4)]
            first.send(bench.get("/1"))
            await asyncio.sleep(0.05)
            waits.send(bench.get("/2"))
            await asyncio.sleep(0.05)
            status, head, _ = await third.ask(bench.get("/3"))
            assert status in (429, 503) and b"\r\nRetry-After: " in head
            waits.close()
            await asyncio.sleep(0.05)
            status, head, _ = await late.ask(bench.get("/4"))
            assert status == 503 and b"\r\nRetry-After: " in head
        errors = {r["url_path"]: r.get("error_type") for r in edge.records("access")}
        assert errors["/2"] == "client_left" and errors["/4"] == "queue_timeout"

    bench.run(work())


def test_a_drained_backend_gets_nothing_new_and_comes_back(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        one, two = await bench.toy(named("one")), await bench.toy(named("two"))
        quick = EjectionSettings(slow_start=0)
        async with bench.running(tmp_path, one, two, ejection=quick) as edge:
            peer = await edge.connect()
            assert {await who(peer, bench.get("/")) for _ in range(6)} == {"one", "two"}
            drained = tmp_path / "run" / "drained.json"
            drained.write_bytes(write_drains({one.address}))
            await asyncio.sleep(0.8)
            assert {await who(peer, bench.get("/")) for _ in range(6)} == {"two"}
            drained.write_bytes(b"nonsense")
            await asyncio.sleep(0.8)
            assert {await who(peer, bench.get("/")) for _ in range(6)} == {"two"}
            drained.unlink()
            await asyncio.sleep(1.2)
            assert {await who(peer, bench.get("/")) for _ in range(6)} == {"one", "two"}

    bench.run(work())


def test_a_failing_backend_is_left_out_by_what_its_requests_say(bench: Any, tmp_path: Path) -> None:
    async def broken(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    async def work() -> None:
        good, bad = await bench.toy(named("good")), await bench.toy(broken)
        ejection = EjectionSettings(failures=3, seconds=60)
        async with bench.running(
            tmp_path, good, bad, ejection=ejection, health=HealthSettings(every=60)
        ) as edge:
            peer = await edge.connect()
            statuses = [(await peer.ask(bench.get("/")))[0] for _ in range(30)]
            assert statuses.count(503) == 3 and statuses[-10:] == [200] * 10

    bench.run(work())


def test_new_settings_are_taken_without_dropping_a_stream_and_wrong_ones_change_nothing(
    bench: Any, tmp_path: Path
) -> None:
    go = asyncio.Event()

    async def waits(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await go.wait()
        peer.send(b"b")

    async def work() -> None:
        old, new = await bench.toy(waits), await bench.toy(named("new"))
        changes: asyncio.Queue[EdgeSettings] = asyncio.Queue()
        async with bench.running(tmp_path, old, new, backends=_at(old), changes=changes) as edge:
            streaming = await edge.connect()
            streaming.send(bench.get("/"))
            await streaming.head()
            fresh = EdgeSettings(
                listen="127.0.0.1:0",
                workers=1,
                backends=_at(new),
                rate=RateSettings(requests_per_second=1, burst=5),
            )
            await changes.put(msgspec.structs.replace(fresh, backends=(*_at(new), *_at(new))))
            await changes.put(fresh)
            await asyncio.sleep(0.1)
            peer = await edge.connect()
            answers = [(await peer.ask(bench.get("/")))[0] for _ in range(7)]
            assert answers[:5] == [200] * 5 and answers[-1] == 429
            go.set()
            assert await streaming.reader.readexactly(2) == b"ab"

    bench.run(work())


def _at(toy: Any) -> tuple[BackendSettings, ...]:
    return (BackendSettings(address=toy.address),)


def test_a_conversation_finds_its_backend_again(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toys = [await bench.toy(named(str(i))) for i in range(5)]
        async with bench.running(tmp_path, *toys, balance="session") as edge:
            homes: dict[str, set[str]] = {}
            for _ in range(4):
                for talk in range(20):
                    peer = await edge.connect()
                    name = await who(peer, bench.get("/", f"X-Session-Id: talk-{talk}"))
                    homes.setdefault(f"talk-{talk}", set()).add(name)
                    peer.close()
            assert all(len(places) == 1 for places in homes.values()), homes
            assert len({next(iter(places)) for places in homes.values()}) >= 3

    bench.run(work())


def test_a_backends_name_is_looked_up_and_its_addresses_are_used(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy(named("local"))
        port = toy.address.rpartition(":")[2]
        async with bench.running(
            tmp_path, toy, backends=(BackendSettings(address=f"localhost:{port}"),)
        ) as edge:
            peer = await edge.connect()
            assert await who(peer, bench.get("/")) == "local"
            assert b"\r\nHost: a.example\r\n" in toy.requests[-1][0]

    bench.run(work())
