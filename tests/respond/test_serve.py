"""The push server with real unix-socket clients, quick ones, stuck ones and ones that leave."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from deepmoat.edge.guard.actions import InForce
from deepmoat.kit.errors import ConfigError
from deepmoat.model import Action
from deepmoat.respond.enforce.edge import Orders, decode, encode, next_version
from deepmoat.respond.ledger import in_force, next_end
from deepmoat.respond.serve import ActionServer


def action(name: str = "A", seconds: float = 600, targets: int = 1) -> Action:
    now = datetime.now(UTC)
    return Action(
        id=name,
        kind="block",
        targets=tuple(
            (("client_address", f"10.{n // 65536}.{n // 256 % 256}.{n % 256}"),) for n in range(targets)
        ),
        cause="test",
        reason="test",
        start=now,
        end=now + timedelta(seconds=seconds),
    )


@asynccontextmanager
async def running(folder: Path, stuck: float = 10.0) -> AsyncIterator[ActionServer]:
    server, ready = ActionServer(folder, stuck=stuck), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.serve(ready))
        await asyncio.wait_for(ready.wait(), 5)
        yield server
        task.cancel()


async def line(reader: asyncio.StreamReader) -> Orders:
    return decode(await asyncio.wait_for(reader.readuntil(b"\n"), 5))


async def whole(reader: asyncio.StreamReader, known: InForce, version: int) -> None:
    """Read until ``known`` knows ``version``."""
    while known.version < version:
        assert known.take(await asyncio.wait_for(reader.readuntil(b"\n"), 5)) == "ok"


async def connect(server: ActionServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(str(server.socket), limit=100_000_000)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_each_client_gets_the_whole_state_on_connect_and_on_every_change(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path / "run") as server:
            server.publish([action("A")])
            pairs = [await connect(server) for _ in range(4)]
            firsts = [await line(reader) for reader, _ in pairs]
            assert {tuple(a.id for a in o.actions) for o in firsts} == {("A",)}
            server.publish([action("A"), action("B")])
            seconds = [await line(reader) for reader, _ in pairs]
            assert all(two.version > one.version for one, two in zip(firsts, seconds, strict=True))
            assert {len(o.actions) for o in seconds} == {2}
            for _, writer in pairs:
                writer.close()
            await until(lambda: server.clients == 0)

    run(test)


def test_the_socket_and_the_snapshot_belong_to_their_owner_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path / "run") as server:
            await until(server.snapshot.exists)
            modes = [
                stat.S_IMODE(p.stat().st_mode) for p in (server.socket, server.snapshot, tmp_path / "run")
            ]
            assert modes == [0o600, 0o600, 0o700]
        assert not server.socket.exists() and server.snapshot.exists()

    run(test)


def test_a_client_that_never_reads_holds_up_nobody_and_is_cut_off(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path / "run", stuck=0.3) as server:
            stuck_reader, stuck = await connect(server)
            stuck.transport.pause_reading()  # type: ignore[attr-defined]
            reader, writer = await connect(server)
            assert (await line(reader)).actions == ()
            known = InForce()
            for n in range(5):
                server.publish([action(f"A{n}", targets=20_000)])
                await whole(reader, known, server.orders.version)
                assert list(known._book.orders) == [f"A{n}"]
            await until(lambda: server.clients == 1)
            writer.close()
            stuck.close()

    run(test)


def test_of_a_large_state_only_what_changed_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        many, known = [action(f"A{n}", targets=5_000) for n in range(4)], InForce()
        now = datetime.now(UTC).timestamp() + 1
        async with running(tmp_path / "run") as server:
            server.publish(many)
            reader, writer = await connect(server)
            await whole(reader, known, server.orders.version)
            assert known.in_force(now) == 20_000
            grown = msgspec.structs.replace(many[1], targets=(*many[1].targets, (("url_path", "/x"),)))
            server.publish([many[0], grown, *many[2:]])
            change = await asyncio.wait_for(reader.readuntil(b"\n"), 5)
            assert len(change) < 200 and known.take(change) == "ok"
            assert known.in_force(now) == 20_001
            server.publish([many[0], grown, many[3], action("B")])
            change = await asyncio.wait_for(reader.readuntil(b"\n"), 5)
            assert b'"removed":["A2"]' in change and len(change) < 400
            later, another = await connect(server)
            fresh = InForce()
            await whole(later, fresh, server.orders.version)
            assert fresh.in_force(now) == 15_002
            server.publish([action("B")])
            assert len((await line(later)).actions) == 1  # few enough for one line
            writer.close()
            another.close()

    run(test)


def test_what_was_pushed_is_in_the_files_for_an_edge_that_starts_alone(tmp_path: Path) -> None:
    async def test() -> None:
        now = datetime.now(UTC).timestamp() + 1

        def restored() -> InForce:
            known = InForce()
            delta = server.delta.read_bytes() if server.delta.exists() else b""
            with server.snapshot.open("rb") as snapshot:
                known.restore(snapshot, delta)
            return known

        async with running(tmp_path / "run") as server:
            many = [action(f"A{n}", targets=2_000) for n in range(3)]
            server.publish(many)
            await until(lambda: server._written == server.orders.version)
            size, before = server.snapshot.stat().st_size, server.delta.stat().st_size
            for n in range(5):
                server.publish([*many, *(action(f"B{i}") for i in range(n + 1))])
                await until(lambda: server._written == server.orders.version)
                assert restored().version == server.orders.version
                assert restored().in_force(now) == 6_001 + n
            assert server.snapshot.stat().st_size == size
            assert 0 < server.delta.stat().st_size - before < 5_000  # nothing large was written again
            version = server.orders.version
        again = ActionServer(tmp_path / "run")
        assert again.orders.version == version

    run(test)


def test_a_client_that_fell_far_behind_gets_everything_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepmoat.respond.serve._MOST_REMEMBERED", 2_000)
    monkeypatch.setattr("deepmoat.respond.serve._MOST_CHANGED", 2_500)

    async def test() -> None:
        now = datetime.now(UTC).timestamp() + 1
        async with running(tmp_path / "run") as server:
            base, known = action("A", targets=1_200), InForce()
            server.publish([base])
            reader, writer = await connect(server)
            await whole(reader, known, server.orders.version)
            for n in range(50):  # without a chance to read in between
                server.publish([base, *(action(f"B{i}") for i in range(n + 1))])
            await whole(reader, known, server.orders.version)
            assert known.in_force(now) == 1_250
            server.publish([base, action("C", targets=2_600)])  # too much to tell as a change
            await whole(reader, known, server.orders.version)
            assert known.in_force(now) == 3_800
            writer.close()

    run(test)


def test_edges_are_told_whom_nothing_may_hit(tmp_path: Path) -> None:
    async def test() -> None:
        server, ready = ActionServer(tmp_path / "run", allow=["10.0.0.0/8"]), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.serve(ready))
            await asyncio.wait_for(ready.wait(), 5)
            for targets in (1, 3_000):
                server.publish([action(targets=targets)])
                reader, writer = await connect(server)
                known = InForce()
                await whole(reader, known, server.orders.version)
                assert known._book.spares("10.1.2.3") and not known._book.spares("192.0.2.1")
                writer.close()
            task.cancel()

    run(test)


def test_a_slow_client_skips_versions_and_gets_the_newest(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path / "run") as server:
            reader, writer = await connect(server)
            await line(reader)
            for n in range(50):
                server.publish([action(f"A{n}")])
            got = await line(reader)
            while got.actions[0].id != "A49":
                got = await line(reader)
            assert got == server.orders
            writer.close()

    run(test)


def test_an_action_is_taken_back_when_it_ends(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path / "run") as server:
            reader, writer = await connect(server)
            await line(reader)
            server.publish([action("short", seconds=0.2), action("long")])
            assert {a.id for a in (await line(reader)).actions} == {"long", "short"}
            assert [a.id for a in (await line(reader)).actions] == ["long"]
            writer.close()

    run(test)


def test_noise_from_a_client_is_ignored(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path / "run") as server:
            reader, writer = await connect(server)
            writer.write(os.urandom(100_000))
            await line(reader)
            server.publish([action()])
            assert len((await line(reader)).actions) == 1
            writer.close()

    run(test)


def test_a_stale_socket_of_a_dead_process_is_replaced_and_versions_go_on(tmp_path: Path) -> None:
    async def test() -> None:
        folder = tmp_path / "run"
        async with running(folder) as server:
            server.publish([action()])
            await until(server.snapshot.exists)
            await until(lambda: decode(server.snapshot.read_bytes()).version == server.orders.version)
            before = server.orders.version
        server.socket.touch()
        server.snapshot.write_bytes(encode(Orders(before + 10**9)))
        async with running(folder) as again:
            again.publish([])
            assert again.orders.version > before + 10**9

    run(test)


def test_a_socket_path_that_is_too_long_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        server = ActionServer(tmp_path / ("x" * 120))
        with pytest.raises(ConfigError, match="107 bytes"):
            await server.serve()

    run(test)


PROGRAM = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_serve import ActionServer, action
async def main():
    server = ActionServer(Path(sys.argv[1]))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve())
        for n in range(10**9):
            server.publish([action(f"A{{n}}", targets=300)])
            await asyncio.sleep(0.001)
            if server.snapshot.exists() and n > 20: print("going", flush=True)
asyncio.run(main())
"""


@pytest.mark.system
def test_a_killed_core_leaves_a_whole_snapshot(tmp_path: Path) -> None:
    program = PROGRAM.format(here=str(Path(__file__).parent))
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "run")], stdout=subprocess.PIPE
        )
        assert child.stdout is not None and child.stdout.readline() == b"going\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        orders = decode((tmp_path / "run" / "actions.json").read_bytes())
        assert len(orders.actions) == 1 and len(orders.actions[0].targets) == 300


def test_what_is_in_force_and_when_that_changes() -> None:
    now = datetime.now(UTC)
    actions = [action("A", seconds=-1), action("B", seconds=50), action("C", seconds=20)]
    assert [a.id for a in in_force(actions, now)] == ["B", "C"]
    assert next_end(actions, now) == actions[2].end and next_end([], now) is None


def test_versions_only_grow() -> None:
    assert next_version(5, 0.0) == 6 and next_version(5, 1.0) == 1000


def test_an_edge_that_connects_while_core_ends_is_turned_away(tmp_path: Path) -> None:
    async def test() -> bytes:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        edge, closing = await asyncio.open_connection(sock=theirs)
        async with asyncio.TaskGroup() as group:
            pass
        ActionServer(tmp_path)._connected(group, reader, writer)
        try:
            return await asyncio.wait_for(edge.read(), 5)
        finally:
            closing.close()

    assert asyncio.run(test()) == b""
