"""Limits through real workers: connections, slow clients, rates over two processes, a browser's work."""
# ruff: noqa: PLR0915 - a conversation in one function

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from deepmoat.edge.settings import (
    ChallengeSettings,
    LimitSettings,
    RateRuleSettings,
    TimeoutSettings,
)

CHROMIUM = Path("/usr/bin/chromium")


def test_connections_are_bounded_for_each_client_and_in_all(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        limits = LimitSettings(connections=8, connections_per_client=3)
        async with bench.running(tmp_path, toy, limits=limits) as edge:
            mine = [await edge.connect() for _ in range(3)]
            for peer in mine:
                assert (await peer.ask(bench.get("/")))[0] == 200
            refused = await edge.connect()
            status, head, _ = await refused.answer()
            assert status == 503 and b"Connection: close" in head
            refused.close()
            others = [await edge.connect(f"127.0.0.{i}") for i in range(2, 6)]
            for peer in others:
                assert (await peer.ask(bench.get("/")))[0] == 200
            mine[0].close()
            await asyncio.sleep(0.05)
            assert (await (await edge.connect()).ask(bench.get("/")))[0] == 200
            last = await edge.connect("127.0.0.9")
            assert (await last.ask(bench.get("/")))[0] == 200
            status, _, _ = await (await edge.connect("127.0.0.10")).answer()
            assert status == 503

    bench.run(work())


def test_a_body_that_drips_is_ended_though_no_pause_is_long(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        timeouts, limits = TimeoutSettings(body=0.5), LimitSettings(body_rate=1000)
        async with bench.running(tmp_path, toy, timeouts=timeouts, limits=limits) as edge:
            peer = await edge.connect()
            peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
            ended = asyncio.ensure_future(peer.answer())
            for _ in range(100):
                peer.send(b"x")
                await asyncio.sleep(0.05)
                if ended.done():
                    break
            assert (await ended)[0] == 408

    bench.run(work())


def test_a_client_that_does_not_take_its_answer_is_ended(bench: Any, tmp_path: Path) -> None:
    async def endless(peer: Any, head: bytes, body: bytes) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            peer.send(bytes(100_000))
            await peer.writer.drain()

    async def work() -> None:
        toy = await bench.toy(endless)
        async with bench.running(tmp_path, toy, timeouts=TimeoutSettings(send=0.5)) as edge:
            taken = socket.create_connection(("127.0.0.1", edge.port))
            taken.sendall(bench.get("/"))
            await asyncio.wait_for(toy.left.acquire(), 10)
            await asyncio.wait_for(toy.left.acquire(), 10)
            taken.close()
        (record,) = edge.records("access")
        assert record["error_type"] == "send_timeout"

    bench.run(work())


def test_rules_count_by_key_and_path_and_bytes(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        rules = (
            RateRuleSettings(
                name="login", limit=3, seconds=60, paths=("/login",), then="block", block_seconds=60
            ),
            RateRuleSettings(name="keys", limit=5, seconds=60, by=("key_hash",), paths=("/api",)),
            RateRuleSettings(
                name="bytes", limit=3 * len(bench.ANSWER), seconds=60, unit="bytes", paths=("/big",)
            ),
        )
        async with bench.running(tmp_path, toy, rates=rules) as edge:
            peer = await edge.connect()

            async def many(path: str, n: int, *lines: str) -> list[int]:
                return [(await peer.ask(bench.get(path, *lines)))[0] for _ in range(n)]

            assert await many("/login", 5) == [200] * 3 + [403] * 2
            assert await many("/other", 8) == [200] * 8
            assert await many("/api", 7, "X-Api-Key: a") == [200] * 5 + [429] * 2
            assert await many("/api", 5, "X-Api-Key: b") == [200] * 5
            assert (await many("/big", 6)).count(200) in (3, 4)
        rules_hit = {r["verdict_rule"]: r for r in edge.records("ddos")}
        assert set(rules_hit) == {"rate/login", "rate/keys", "rate/bytes"}
        assert rules_hit["rate/login"]["requests"] == 2 and rules_hit["rate/login"]["url_path"] == "/login"

    bench.run(work())


SETTINGS = """
[edge]
listen = "127.0.0.1:{edge}"
workers = 2
[[edge.backends]]
address = "127.0.0.1:{backend}"
[[edge.rates]]
name = "all"
limit = 400
seconds = 600
by = ["url_path"]
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def workers(folder: Path, settings: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Edge workers as processes of their own."""
    (folder / "moat.toml").write_text(settings)
    command = (sys.executable, "-m", "deepmoat.cli.main", "edge", "--settings", str(folder / "moat.toml"))
    command = (*command, "--data", str(folder / "data"))
    processes = [
        subprocess.Popen([*command, "--worker", str(n)], stdin=subprocess.DEVNULL) for n in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            assert process.wait(20) == 0


@pytest.mark.system
def test_two_workers_hold_one_rate_within_five_percent(bench: Any, tmp_path: Path) -> None:
    port, backend = free_ports(2)

    async def work() -> None:
        toy = bench.Toy(bench.polite)
        await toy.start(backend)
        with workers(tmp_path, SETTINGS.format(edge=port, backend=backend), 2) as processes:
            await asyncio.to_thread(_both_listen, processes, port)
            statuses: list[int] = []

            async def client() -> None:
                peer = bench.Peer(*await asyncio.open_connection("127.0.0.1", port))
                statuses.extend([(await peer.ask(bench.get("/")))[0] for _ in range(50)])
                peer.close()

            await asyncio.gather(*(client() for _ in range(24)))
            assert len(statuses) == 1200 and set(statuses) == {200, 429}
            assert 380 <= statuses.count(200) <= 420
        await toy.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work(), 60))


def _both_listen(processes: list[subprocess.Popen[bytes]], port: int) -> None:
    """Wait until each process has a socket on ``port``."""
    wanted = f":{port:04X}"
    for _ in range(300):
        with Path("/proc/net/tcp").open() as table:
            listening = {
                line.split()[9] for line in table if line.split()[1].endswith(wanted) and " 0A " in line
            }
        if len(listening) >= len(processes):
            return
        assert all(p.poll() is None for p in processes)
        time.sleep(0.05)
    raise AssertionError("they do not listen")


@pytest.fixture
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    arguments = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
    arguments += ("--disable-background-networking", "--disable-component-update")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(arguments))
        yield browser
        browser.close()


@pytest.mark.browser
def test_a_browser_solves_the_challenge_on_plain_http_and_a_program_is_told_429(
    bench: Any, tmp_path: Path, browser: Any
) -> None:
    ready, done = threading.Event(), threading.Event()
    place: dict[str, Any] = {}

    async def page(peer: Any, head: bytes, body: bytes) -> None:
        text = b"<!doctype html><title>Moat</title><h1>Welcome</h1>"
        peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
        )

    async def work() -> None:
        toy = await bench.toy(page)
        settings = {"challenge": ChallengeSettings(always=True, difficulty=12, exempt_paths=("/free",))}
        async with bench.running(tmp_path, toy, **settings) as edge:
            place["port"], place["edge"] = edge.port, edge
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.05)

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.wait_for(work(), 60))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(20)
        url = f"http://127.0.0.1:{place['port']}/start?a=1#b"
        tab = browser.new_page()
        answers: list[int] = []
        tab.on("response", lambda r: answers.append(r.status))
        tab.goto(url)
        tab.get_by_role("heading", name="Welcome").wait_for(timeout=20_000)
        assert answers[0] == 403 and answers[-1] == 200
        assert tab.url == url
        tab.goto(f"http://127.0.0.1:{place['port']}/again")
        assert tab.title() == "Moat"
        tab.close()
    finally:
        done.set()
        thread.join(30)
    assert not thread.is_alive()
    records = place["edge"].records("access")
    first, later = records[0], records[1:]
    assert (first["verdict"], first["http_response_status_code"]) == ("challenge", 403)
    assert all(r["verdict"] == "pass" for r in later if r["url_path"] in ("/start", "/again"))
    (counted,) = [r for r in place["edge"].records("ddos") if r["verdict"] == "challenge"]
    assert (counted["cc_phase"], counted.get("cc_blocks", 0), counted["last_result"]) == (
        "challenge",
        0,
        "failed",
    )


def test_a_challenge_ordered_by_an_action_lets_programs_wait_and_browsers_work(
    bench: Any, tmp_path: Path
) -> None:
    from datetime import UTC, datetime, timedelta

    from deepmoat.model import Action

    now = datetime.now(UTC)
    action = Action(
        id="a-1",
        kind="challenge",
        targets=((("url_path", "/login"),),),
        cause="i-1",
        reason="a flood",
        start=now - timedelta(seconds=1),
        end=now + timedelta(minutes=5),
    )

    async def work() -> None:
        toy = await bench.toy()
        run = tmp_path / "run"
        run.mkdir()
        (run / "actions.json").write_bytes(bench.orders(action))
        async with bench.running(tmp_path, toy) as edge:
            peer = await edge.connect()
            assert (await peer.ask(bench.get("/")))[0] == 200
            status, head, _ = await peer.ask(bench.get("/login"))
            assert status == 429 and b"\r\nRetry-After: " in head
            status, head, body = await peer.ask(
                bench.get("/login", "Accept: text/html", "User-Agent: Mozilla/5.0")
            )
            assert status == 403 and b"text/html" in head and re.search(rb"<script[^>]*nonce=", body)
            status, _, body = await peer.ask(
                bench.get(
                    "/login", "Accept: text/html", "User-Agent: Mozilla/5.0", "Cookie: deepmoat_pass=1.2.3"
                )
            )
            assert status == 403

    bench.run(work())


def test_the_workers_memory_file_is_ours_alone(bench: Any, tmp_path: Path) -> None:
    async def work() -> None:
        toy = await bench.toy()
        rules = (RateRuleSettings(name="one", limit=3, seconds=60),)
        async with bench.running(tmp_path, toy, rates=rules):
            for path in (tmp_path / "run").iterdir():
                assert os.stat(path).st_mode & 0o077 == 0, path

    bench.run(work())
