"""Mixed load while backends die and return and the settings are read again: nothing is lost in silence.

Two workers and three backends are processes of their own. Every request has a name; its answer and the
backends' logs say it again, so that answers which are mixed up, cut short or doubled are seen.
"""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from edge import load
from hypothesis import settings

from deepmoat.edge.settings import BackendSettings, HealthSettings, TimeoutSettings

pytestmark = pytest.mark.system
SOAK = bool(os.environ.get("DEEPMOAT_SOAK")) or os.environ.get("HYPOTHESIS_PROFILE") == "soak"
SECONDS, RELOAD_EVERY = (600, 20) if SOAK else (20, 4)
CLIENTS, PATIENCE = 16, 60
WORKERS, BACKENDS = 2, 3
HEALTHY, RELOADS = "deepmoat_edge_backend_healthy", "deepmoat_edge_reloads_total"
CLOSED = (asyncio.IncompleteReadError, ConnectionError)

# A settings file, its variants, and one with a mistake. The third backend is there every other time.

TEXT = """
[edge]
listen = "127.0.0.1:{port}"
workers = 2
[edge.timeouts]
connect = 2
reuse = 1
drain = 30
answer = {answer}
[edge.health]
every = 0.3
fall = 1
[edge.ejection]
seconds = 0.5
longest = 0
slow_start = 0
"""
BACKEND = """
[[edge.backends]]
address = "127.0.0.1:{port}"
health = "/healthz"
max_requests = {most}
"""
MISTAKE = '\n[edge.limits]\nno_such_key = "?"\n'


# Errors that dying backends and full queues excuse. A time-out is none: nothing here takes that long.
VISIBLE = frozenset({"backend_unreachable", "backend_closed", "no_backend", "queue_timeout", "queue_full"})


class CutError(Exception):
    """The answer broke off, visibly. ``begun`` is False when not one byte of it came."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__(begun)
        self.begun = begun


def low_port(dice: random.Random) -> int:
    """A free port that no outgoing connection is given.

    A connection to a dead port of that range may be given the same port as its own, and then is connected to
    itself (RFC 9293, simultaneous open).
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = dice.randrange(max(1_025, first - 12_000), first)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Stage:
    """The processes: workers that live through it all, backends that do not."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.folder, self.dice = folder, dice
        self.data, self.file = folder / "data", folder / "moat.toml"
        ports: set[int] = set()
        while len(ports) < BACKENDS + 1:
            ports.add(low_port(dice))
        self.port, *self.backend_ports = sorted(ports)
        self.backends: list[subprocess.Popen[bytes] | None] = [None] * BACKENDS
        self.workers: list[subprocess.Popen[bytes]] = []
        self.kills = self.reloads = self.mistakes = 0

    # Settings.

    def write(self, *, backends: int, most: int, answer: int = 60, mistake: bool = False) -> None:
        text = TEXT.format(port=self.port, answer=answer)
        text += "".join(BACKEND.format(port=p, most=most) for p in self.backend_ports[:backends])
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text + MISTAKE * mistake)
        fresh.replace(self.file)

    def reload(self) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGHUP)

    # Processes.

    def start_backend(self, number: int) -> None:
        command = [sys.executable, load.__file__, str(self.backend_ports[number]), str(self.log(number))]
        with (self.folder / "backends.err").open("ab") as err:
            self.backends[number] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=err, stderr=err
            )

    def kill_backend(self, number: int) -> None:
        process, self.backends[number] = self.backends[number], None
        if process is not None:
            process.kill()
            process.wait(30)

    def log(self, number: int) -> Path:
        return self.folder / f"backend-{number}.log"

    def start_workers(self) -> None:
        for number in range(WORKERS):
            command = [sys.executable, "-m", "deepmoat.cli.main", "edge", "--worker", str(number)]
            command += ["--settings", str(self.file), "--data", str(self.data)]
            with self.worker_log(number).open("ab") as log:
                self.workers.append(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                )

    def worker_log(self, number: int) -> Path:
        return self.folder / f"worker-{number}.log"

    def end(self) -> None:
        for process in (*self.workers, *self.backends):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(30)

    # What can be seen from outside.

    def meter(self, worker: int, name: str, **labels: str) -> float | None:
        """The sum over ``name`` with ``labels`` in the worker's meters; None before it has any."""
        try:
            samples = json.loads((self.data / "run" / f"meters-edge-{worker}.json").read_bytes())
        except FileNotFoundError:
            return None
        return sum(
            s["value"]
            for s in samples
            if s["name"] == name and labels.items() <= dict(map(tuple, s["labels"])).items()
        )

    def sockets(self, worker: int) -> tuple[int, int]:
        """Open sockets and open files of a worker."""
        folder = Path(f"/proc/{self.workers[worker].pid}/fd")
        links = []
        for entry in folder.iterdir():
            with suppress(FileNotFoundError):
                links.append(os.readlink(entry))
        return sum(link.startswith("socket:") for link in links), len(links)

    def executed(self) -> list[Counter[str]]:
        """Of each backend: "METHOD name" → how often it was carried out."""
        return [
            Counter(self.log(n).read_text().splitlines()) if self.log(n).exists() else Counter()
            for n in range(BACKENDS)
        ]

    def access(self) -> Counter[tuple[str, int]]:
        """(query, status) → how many records say so."""
        found: Counter[tuple[str, int]] = Counter()
        for path in self.data.glob("spool/edge-*/*~records~access~*"):
            for line in path.read_bytes().splitlines():
                record = json.loads(line)
                found[record["url_query"], record["http_response_status_code"]] += 1
        return found


async def until(what: Callable[[], Any], why: str, seconds: float = PATIENCE) -> Any:
    """The first true value of ``what()``."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"not in {seconds} s: {why}"
        await asyncio.sleep(0.1)
    return found


# A client that reads strictly.


class Line:
    """One connection to the edge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.open = True

    @classmethod
    async def dial(cls, port: int, *, buffer: int = 0) -> "Line":
        sock = socket.socket()
        sock.setblocking(False)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        return cls(*await asyncio.open_connection(sock=sock, limit=buffer or 65_536))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def flush(self) -> None:
        with suppress(ConnectionError):  # an answer may be there all the same
            await self.writer.drain()

    async def answer(self, pause: float = 0) -> tuple[int, dict[str, str], bytes]:
        """Status, fields and body of the next answer; CutError when it ends too early."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as exc:
            raise CutError(begun=bool(exc.partial)) from exc
        except ConnectionError as exc:
            raise CutError(begun=False) from exc
        lines = head.decode().split("\r\n")
        fields = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:] if line)}
        try:
            body = await self._body(fields, pause)
        except CLOSED as exc:
            raise CutError(begun=True) from exc
        if fields.get("connection", "").lower() == "close":
            self.open = False
        return int(lines[0].split()[1]), fields, body

    async def _body(self, fields: dict[str, str], pause: float) -> bytes:
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
            return body
        left, body = int(fields["content-length"]), b""
        while left:
            piece = await self.reader.readexactly(min(left, 16_384))
            left, body = left - len(piece), body + piece
            await asyncio.sleep(pause)
        return body

    async def close(self) -> None:
        self.open = False
        self.writer.close()
        with suppress(ConnectionError, OSError):
            await self.writer.wait_closed()

    async def leave(self) -> None:
        self.writer.transport.abort()
        await self.close()


def get(name: str, size: int) -> bytes:
    return f"GET /get?id={name}&size={size} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()


def post(path: str, name: str, body: bytes, size: int = 0) -> bytes:
    head = f"POST {path}?id={name}&size={size} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def chat(name: str, count: int, *, usage: bool) -> bytes:
    asked: dict[str, Any] = {
        "model": "load-1",
        "stream": True,
        "messages": [{"role": "user", "content": name}],
    }
    if usage:
        asked["stream_options"] = {"include_usage": True}
    return post("/v1/chat/completions", name, json.dumps(asked).encode(), count)


class Crowd:
    """What clients do, and how each request ended."""

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self.stage, self.dice = stage, dice
        self.tally: Counter[str] = Counter()
        self.whole: dict[str, str] = {}  # name → method
        self.posts: set[str] = set()
        self.names = 0
        self.errors: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.over = False
        self.kinds: tuple[Callable[[], Awaitable[None]], ...] = (
            *(self.plain, self.plain, self.echo, self.upload, self.streamed, self.streamed),
            *(self.pipelined, self.slow, self.leaving),
        )

    def name(self, kind: str, method: str = "GET") -> str:
        self.names += 1
        made = f"{kind}-{self.names}"
        if method == "POST":
            self.posts.add(made)
        return made

    async def client(self) -> None:
        """One thing after the other until it is over."""
        while not self.over:
            what = self.dice.choice(self.kinds)
            try:
                async with asyncio.timeout(PATIENCE):
                    await what()
            except TimeoutError:
                self.wrong.append(f"{what.__name__}: no end after {PATIENCE} s")
            except OSError as exc:
                self.wrong.append(f"{what.__name__}: {exc!r}")

    async def expect(
        self, line: Line, kind: str, name: str, body: Callable[[dict[str, str]], bytes], **how: Any
    ) -> bool:
        """Hear the answer to ``name`` and judge it; False when nothing can follow on the connection."""
        begin = time.monotonic()
        try:
            status, fields, got = await line.answer(**how)
        except CutError as exc:
            line.open = False
            self.tally[f"{kind} cut"] += 1
            if not exc.begun:
                self.wrong.append(f"{name}: closed without a word")
            return False
        if status == 200:
            self._whole(kind, name, fields, got, body(fields))
        elif status >= 500 and "x-load-id" not in fields and (reason := _reason(got)) in VISIBLE:
            self.tally[f"{kind} error"] += 1
            self.errors[reason] += 1
        else:
            took = time.monotonic() - begin
            self.wrong.append(f"{name}: {status} {fields} {got[:200]!r} after {took:.1f} s")
        return line.open

    def _whole(self, kind: str, name: str, fields: dict[str, str], got: bytes, wanted: bytes) -> None:
        if fields.get("x-load-id") != name:
            self.wrong.append(f"{name} was answered with {fields.get('x-load-id')}")
        elif got != wanted:
            self.wrong.append(f"{name}: {len(got)} bytes in place of {len(wanted)}: {got[-200:]!r}")
        elif name in self.whole:
            self.wrong.append(f"{name} was answered twice")
        else:
            self.whole[name] = "POST" if name in self.posts else "GET"
            self.tally[f"{kind} whole"] += 1

    async def plain(self) -> None:
        """Some requests over one connection."""
        line = await Line.dial(self.stage.port)
        try:
            for _ in range(self.dice.randint(1, 12)):
                name, size = self.name("plain"), self.dice.choice((0, 10, 1_000, 100_000))
                line.send(get(name, size))
                if not await self.expect(line, "plain", name, lambda _, n=name, s=size: load.text(n, s)):
                    break
        finally:
            await line.close()

    async def echo(self) -> None:
        line = await Line.dial(self.stage.port)
        try:
            for _ in range(self.dice.randint(1, 6)):
                name = self.name("echo", "POST")
                body = load.text(name, self.dice.choice((1, 500, 60_000, 300_000)))
                line.send(post("/echo", name, body))
                await line.flush()

                def same(fields: dict[str, str], body: bytes = body) -> bytes:
                    return body if fields["x-sum"] == load.digest(body) else b"another sum"

                if not await self.expect(line, "echo", name, same):
                    break
        finally:
            await line.close()

    async def upload(self) -> None:
        """Chunks that come slowly."""
        line = await Line.dial(self.stage.port)
        try:
            name = self.name("upload", "POST")
            body = load.text(name, self.dice.randint(1, 200_000))
            line.send(
                f"POST /sum?id={name} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            )
            for start in range(0, len(body), 20_000):
                piece = body[start : start + 20_000]
                line.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                await line.flush()
                await asyncio.sleep(0.005)
            line.send(b"0\r\n\r\n")
            wanted = json.dumps({"id": name, "size": len(body), "sum": load.digest(body)}).encode()
            await self.expect(line, "upload", name, lambda _: wanted)
        finally:
            await line.close()

    async def streamed(self) -> None:
        line = await Line.dial(self.stage.port)
        try:
            name, count, usage = (
                self.name("stream", "POST"),
                self.dice.randint(1, 30),
                self.dice.random() < 0.3,
            )
            line.send(chat(name, count, usage=usage))
            wanted = b"".join(load.events(name, count, usage=usage))
            await self.expect(line, "stream", name, lambda _: wanted)
        finally:
            await line.close()

    async def pipelined(self) -> None:
        line = await Line.dial(self.stage.port)
        try:
            sent: list[tuple[str, bytes]] = []
            for n in range(6):
                name = self.name("pipelined", "POST" if n == 3 else "GET")
                body = load.text(name, self.dice.choice((5, 3_000)))
                line.send(post("/echo", name, body) if n == 3 else get(name, len(body)))
                sent.append((name, body))
            for at, (name, body) in enumerate(sent):
                if not await self.expect(line, "pipelined", name, lambda _, body=body: body):
                    self.tally["pipelined behind"] += len(sent) - at - 1
                    break
        finally:
            await line.close()

    async def slow(self) -> None:
        """Reads more slowly than the backend sends."""
        line = await Line.dial(self.stage.port, buffer=8_192)
        try:
            name = self.name("slow")
            line.send(get(name, 1_000_000))
            await self.expect(line, "slow", name, lambda _: load.text(name, 1_000_000), pause=0.005)
        finally:
            await line.close()

    async def leaving(self) -> None:
        """Goes away in mid-answer, or in mid-request."""
        line = await Line.dial(self.stage.port)
        try:
            name = self.name("leaving", "POST")
            if self.dice.random() < 0.5:
                line.send(chat(name, 40, usage=False))
                with suppress(ConnectionError):
                    await line.reader.read(self.dice.randint(1, 400))
            else:
                line.send(post("/echo", name, load.text(name, 100_000))[: self.dice.randint(30, 90_000)])
                await asyncio.sleep(self.dice.uniform(0, 0.05))
            self.tally["left"] += 1
        finally:
            await line.leave()


def _reason(body: bytes) -> str:
    """Why the edge says that it has no answer; model calls have it as a code."""
    error = json.loads(body)["error"]
    return str(error.get("code") or error["type"])


# What goes on meanwhile.


async def dying(stage: Stage, crowd: Crowd) -> None:
    """One backend after the other is killed and comes back; now and then none is left."""
    dice = stage.dice
    while not crowd.over:
        await asyncio.sleep(dice.uniform(0.7, 1.6))
        number = dice.randrange(2)
        await asyncio.to_thread(stage.kill_backend, number)
        stage.kills += 1
        if dice.random() < 0.2:
            await asyncio.to_thread(stage.kill_backend, 1 - number)
            stage.kills += 1
        await asyncio.sleep(dice.uniform(0.2, 0.8))
        for one in (0, 1):
            if stage.backends[one] is None:
                stage.start_backend(one)


async def changing(stage: Stage, crowd: Crowd) -> None:
    while not crowd.over:
        stage.reloads += 1
        mistake = stage.reloads % 3 == 0
        stage.mistakes += mistake
        third = stage.reloads % 2 == 1
        stage.write(backends=2 + third, most=6 if third else 0, answer=60 + stage.reloads, mistake=mistake)
        stage.reload()
        await asyncio.sleep(RELOAD_EVERY)


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    made = Stage(tmp_path, random.Random(settings().max_examples))
    try:
        yield made
    finally:
        made.end()


def test_every_request_ends_in_one_whole_answer_or_one_visible_error(stage: Stage) -> None:
    async def work() -> None:
        async with asyncio.timeout(SECONDS + 300):
            before = await begin(stage)
            crowd = Crowd(stage, stage.dice)
            await storm(stage, crowd)
            await calm(stage, crowd)
            await no_leak(stage, before)
            await drained(stage, crowd)
            judge(stage, crowd)

    asyncio.run(work())


async def begin(stage: Stage) -> list[tuple[int, int]]:
    """Start everything; open sockets and files of each worker while nothing goes on."""
    stage.write(backends=2, most=0)
    for number in range(BACKENDS):
        stage.start_backend(number)
    stage.start_workers()
    for number in range(WORKERS):
        await until(lambda n=number: (stage.meter(n, HEALTHY) or 0) >= 2, f"worker {number} is ready")
    seen: list[list[tuple[int, int]]] = [[] for _ in range(WORKERS)]
    for _ in range(20):  # a health check has a socket of its own for a moment
        await asyncio.sleep(0.05)
        for number in range(WORKERS):
            seen[number].append(stage.sockets(number))
    return [min(samples) for samples in seen]


async def storm(stage: Stage, crowd: Crowd) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(crowd.client())
        group.create_task(dying(stage, crowd))
        group.create_task(changing(stage, crowd))
        await asyncio.sleep(SECONDS)
        crowd.over = True


async def reloaded(stage: Stage, *, most: int) -> None:
    """All three backends, and both workers say that they know."""
    before = [stage.meter(n, RELOADS, outcome="taken") or 0 for n in range(WORKERS)]
    stage.write(backends=3, most=most)
    stage.reload()
    stage.reloads += 1
    for number in range(WORKERS):
        await until(
            lambda n=number: (stage.meter(n, RELOADS, outcome="taken") or 0) > before[n],
            f"worker {number} has read its settings again",
        )


async def calm(stage: Stage, crowd: Crowd) -> None:
    """All backends are there again and one request at a time is allowed to each: all are answered.

    A backend that is counted as busy for ever by what went on before would refuse.
    """
    for number in range(BACKENDS):
        if stage.backends[number] is None:
            stage.start_backend(number)
    await reloaded(stage, most=1)
    await asyncio.sleep(2)  # within that, health checks and ejections have forgotten
    before = crowd.tally["plain whole"]
    for _ in range(60):
        line = await Line.dial(stage.port)
        one = crowd.name("plain")
        line.send(get(one, 1_000))
        assert await crowd.expect(line, "plain", one, lambda _, n=one: load.text(n, 1_000)), crowd.wrong
        await line.close()
    assert crowd.tally["plain whole"] == before + 60, (crowd.errors, crowd.wrong)


async def no_leak(stage: Stage, before: list[tuple[int, int]]) -> None:
    """Connections and their descriptors are gone. What is pooled closes after ``reuse``."""
    for number in range(WORKERS):
        for meter in ("deepmoat_edge_connections", "deepmoat_edge_requests_in_flight"):
            await until(lambda n=number, m=meter: stage.meter(n, m) == 0, f"{meter} of worker {number} is 0")
        most = before[number]
        await until(
            lambda n=number, m=most: stage.sockets(n)[0] <= m[0] and stage.sockets(n)[1] <= m[1] + 4,
            f"worker {number} has as few sockets as before: {most}, now {stage.sockets(number)}",
        )


async def drained(stage: Stage, crowd: Crowd) -> None:
    """SIGTERM with streams under way: each comes to its end, then the workers go in order."""
    await reloaded(stage, most=0)
    lines = [await Line.dial(stage.port) for _ in range(12)]
    waiting = []
    for line in lines:
        name = crowd.name("drained", "POST")
        line.send(chat(name, 60, usage=False))
        wanted = b"".join(load.events(name, 60))
        waiting.append(asyncio.ensure_future(crowd.expect(line, "drained", name, lambda _, w=wanted: w)))
    flying = "deepmoat_edge_requests_in_flight"
    await until(
        lambda: sum(stage.meter(n, flying) or 0 for n in range(WORKERS)) == len(lines), "all are under way"
    )
    for worker in stage.workers:
        worker.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*waiting)
    for line in lines:
        await line.close()
    for number, worker in enumerate(stage.workers):
        assert await asyncio.to_thread(worker.wait, PATIENCE) == 0, stage.worker_log(number).read_text()[
            -2_000:
        ]


def judge(stage: Stage, crowd: Crowd) -> None:
    tally, executed = crowd.tally, stage.executed()
    total = sum(executed, Counter())
    summary = dict(sorted(tally.items())) | {"kills": stage.kills, "reloads": stage.reloads}
    print(f"\nmixed load, {SECONDS} s: {summary}; errors {dict(crowd.errors)}")
    assert not crowd.wrong, crowd.wrong[:10]
    doubled = {what: n for what, n in total.items() if n > 1 and what.startswith("POST")}
    assert not doubled
    assert not {what: n for what, n in total.items() if n > 3}
    missing = [name for name, method in crowd.whole.items() if not total[f"{method} {name}"]]
    assert not missing
    answered_once(stage, crowd)
    assert tally["drained whole"] == 12
    assert sum(executed[2].values()) > 20, "no reload brought the third backend in"
    for number in range(WORKERS):
        assert "Traceback" not in stage.worker_log(number).read_text()
        assert stage.meter(number, RELOADS, outcome="refused"), "the mistake was not seen"
        assert (stage.meter(number, "deepmoat_edge_requests_total") or 0) > 100
    least = 20 if not SOAK else 500
    for kind in ("plain", "echo", "upload", "stream", "pipelined", "slow"):
        assert tally[f"{kind} whole"] >= least, kind
    assert tally["left"] >= least
    assert sum(n for what, n in tally.items() if what.endswith((" cut", " error"))) >= 5
    assert stage.kills >= SECONDS / 4 and stage.mistakes >= 1


def answered_once(stage: Stage, crowd: Crowd) -> None:
    """Each whole answer is one line of ``access`` with status 200."""
    named: Counter[str] = Counter()
    for (query, status), count in stage.access().items():
        if status == 200:
            named[query.partition("&")[0].removeprefix("id=")] += count
    assert not [(name, named[name]) for name in crowd.whole if named[name] != 1][:10]


def test_a_body_that_waited_for_a_silent_backend_goes_on_over_a_pooled_connection(
    bench: Any, tmp_path: Path
) -> None:
    """Reading pauses while a connection is made; it goes on, whatever the request is sent over in the end."""

    async def work() -> None:
        silent, full = Silent(), []
        toy = await bench.toy()
        backends = (BackendSettings(address=silent.address), BackendSettings(address=toy.address))
        timeouts = TimeoutSettings(connect=0.5, reuse=60, body=30)
        more = {"timeouts": timeouts, "health": HealthSettings(every=60, fall=1_000)}
        async with bench.running(tmp_path, toy, backends=backends, **more) as edge:
            peer = await edge.connect()
            for _ in range(2):
                assert (await peer.ask(bench.get("/")))[0] == 200  # the toy has a pooled connection now
            for number in range(3):
                body = load.text(f"body-{number}", 1_000_000)
                async with asyncio.timeout(10):
                    assert (await peer.ask(bench.post("/", body)))[0] == 200
                assert toy.requests[-1][1] == body
                full.append(body)
        silent.close()
        assert len(full) == 3

    bench.run(work())


class Silent:
    """A port where connections are neither made nor refused: nobody takes the first ones, so no more fit."""

    def __init__(self) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.waiting = [socket.socket() for _ in range(4)]
        for one in self.waiting:
            one.setblocking(False)
            one.connect_ex(self.listener.getsockname())

    def close(self) -> None:
        for one in (*self.waiting, self.listener):
            one.close()
