"""What the edge passes on is what h11 reads in the same bytes: as many requests, the same, ended alike.

One worker runs for all examples, in a thread with its backend. Each example is one client connection. The
rule has one direction: the edge may refuse what h11 takes, and never takes what h11 refuses. h11 differs
from RFC 9112 in two places that matter here. An empty line before a request, which the RFC tells servers to
skip (section 2.2), is an error to it, so the lines are skipped before it looks. And it reads nothing after
an HTTP/1.0 request, though ``Connection: keep-alive`` allows that (appendix C.2.2): so it is asked again.
"""
# ruff: noqa: E501 - bytes on the wire stay on one line

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import h11
import pytest
import uvloop
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from deepmoat.edge.settings import BackendSettings, HealthSettings, TimeoutSettings
from deepmoat.edge.wire.path import BadPath, normal_path

pytestmark = pytest.mark.system
USUAL = 100
EXAMPLES = 1_500 if settings().max_examples <= USUAL else settings().max_examples
SLACK = 2**20
PHASES = (Phase.generate,) if EXAMPLES == 1_500 else (Phase.generate, Phase.shrink)  # shrinking takes minutes
GONE = (BrokenPipeError, ConnectionResetError)


def attack(**given_args: Any) -> Any:
    """Run the function below for many examples."""

    def decorate(function: Any) -> Any:
        quiet = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
        return settings(max_examples=EXAMPLES, suppress_health_check=quiet, phases=PHASES)(
            given(**given_args)(function)
        )

    return decorate


# What the edge talks to: a backend that notes every byte, and the thread they both live in.


class Recorder(asyncio.Protocol):
    """One backend connection: one request, one answer. ``raw`` is all that came."""

    def __init__(self, rig: "Rig") -> None:
        self.rig = rig
        self.raw = b""
        self.method, self.complete = "", False
        self.transport: Any = None
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=SLACK)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.rig.open.add(self)

    def data_received(self, data: bytes) -> None:
        if not self.raw:
            self.rig.seen.append(self)
            self.serial = len(self.rig.seen)
        self.raw += data
        if self.complete:
            return
        try:
            self.http.receive_data(data)
            while (got := self.http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(got, h11.Request):
                    self.method = got.method.decode()
                if isinstance(got, h11.EndOfMessage):
                    self.complete = True
                    self.rig.loop.create_task(self.answer())
                    return
        except h11.RemoteProtocolError:
            self.transport.close()

    async def answer(self) -> None:
        script = self.rig.script
        if script is None:
            body = b"" if self.method == "HEAD" else b"answer %d" % self.serial
            head = b"HTTP/1.1 200 OK\r\nX-Serial: %d\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            self.transport.write(head % (self.serial, len(body)) + body)
            return
        for piece in script.pieces:
            if self.transport.is_closing():
                return
            self.transport.write(piece)
            await rounds(4)
        if script.end == "reset" and not self.transport.is_closing():
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        elif script.end == "close":
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.rig.open.discard(self)


@dataclass
class Script:
    """What the backend answers: bytes, in pieces, and how it ends."""

    pieces: Sequence[bytes]
    end: str


async def rounds(count: int) -> None:
    """Let the loop go round, so that what was sent has been read."""
    for _ in range(count):
        await asyncio.sleep(0)


class Rig:
    """An edge worker and its recording backend, in a thread of their own."""

    def __init__(self, bench: Any, data: Any) -> None:
        self.bench, self.data = bench, data
        self.open: set[Recorder] = set()
        self.seen: list[Recorder] = []
        self.script: Script | None = None
        self.port = 0
        self.loop: Any = None
        self.end: Any = None
        self.failed: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(60)
        if self.failed:
            raise self.failed

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.end.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.failed:
            raise self.failed

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as exc:  # noqa: BLE001 - handed to the test's thread
            self.failed = exc
            self._ready.set()

    async def _serve(self) -> None:
        self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
        server = await self.loop.create_server(lambda: Recorder(self), "127.0.0.1", 0)
        backend = BackendSettings(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        more = {
            "health": HealthSettings(every=3600, fall=1_000_000),
            "timeouts": TimeoutSettings(head=3, body=3, answer=3),
        }
        try:
            async with self.bench.running(self.data, backends=(backend,), **more) as edge:
                self.port = edge.port
                await self.quiet()  # the health check has come and gone
                self._ready.set()
                await self.end.wait()
        finally:
            server.close()
            for recorder in list(self.open):
                recorder.transport.abort()

    async def quiet(self) -> None:
        """Until no connection to the backend is left. One that the edge may use again ends by the backend."""
        async with asyncio.timeout(30):
            await rounds(8)
            if self.script is not None and self.script.end == "stay":
                for recorder in list(self.open):
                    recorder.transport.close()
            while self.open:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.001)

    def wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def begin(self, script: Script | None = None) -> None:
        self.wait(self.quiet())
        self.seen.clear()
        self.script = script

    def converse(self, pieces: Sequence[bytes], methods: Sequence[str], end: str = "half") -> "Heard":
        """Send ``pieces`` over one connection, hear the answers to ``methods``, then close."""
        heard = Heard(list(methods))
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number, piece in enumerate(pieces):
                if number:
                    self.wait(rounds(4))
                try:
                    client.sendall(piece)
                except GONE:
                    break
            heard.listen(client)
            if not heard.over:
                self.wait(rounds(12))  # a request too many would be on its way by now
                try:
                    client.shutdown(socket.SHUT_WR)
                except OSError:
                    heard.over = True
                heard.drain(client)
        self.wait(self.quiet())
        return heard


@dataclass
class Answer:
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False


@dataclass
class Heard:
    """What a client hears. ``reset`` says that the connection was broken off, not closed."""

    methods: list[str]
    raw: bytes = b""
    over: bool = False
    reset: bool = False

    def listen(self, client: socket.socket) -> None:
        """Until each request has its answer, or the connection ends."""
        while not self.over and sum(a.complete for a in self.answers()) < len(self.methods):
            self._read(client)

    def drain(self, client: socket.socket) -> None:
        while not self.over:
            self._read(client)

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(65_536)
        except GONE:
            self.reset = self.over = True
            return
        self.raw += data
        self.over = not data

    def answers(self) -> list[Answer]:
        """The answers so far, as h11 reads them; the last may be incomplete."""
        return read_answers(self.raw, self.methods, ended=self.over and not self.reset)


def read_answers(raw: bytes, methods: Sequence[str], *, ended: bool) -> list[Answer]:
    """``raw`` as answers to ``methods``, then to refused requests; the last one may be incomplete.

    Raises h11.RemoteProtocolError for what is none; ``ended`` says that the sender closed in order.
    """
    answers: list[Answer] = []
    while raw:
        method = methods[len(answers)] if len(answers) < len(methods) else "GET"
        answer, raw = read_answer(raw, method, ended=ended)
        answers.append(answer)
        if not answer.complete:
            break
    return answers


def read_answer(raw: bytes, method: str, *, ended: bool) -> tuple[Answer, bytes]:
    """The first answer in ``raw``, and what follows it. An end that comes too early leaves it incomplete."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=SLACK)
    http.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    http.send(h11.EndOfMessage())
    http.receive_data(raw)
    answer = Answer()
    _take(http, answer)
    if ended and not answer.complete:
        with suppress(h11.RemoteProtocolError):  # only the end is wrong
            http.receive_data(b"")
            _take(http, answer)
    return answer, http.trailing_data[0] if answer.complete else b""


def _take(http: h11.Connection, answer: Answer) -> None:
    """Put what ``http`` has read into ``answer``."""
    while not answer.complete and (got := http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(got, h11.Response):
            answer.status, answer.headers = got.status_code, dict(got.headers)
        elif isinstance(got, h11.Data):
            answer.body += bytes(got.data)
        elif isinstance(got, h11.EndOfMessage):
            answer.complete = True
        elif isinstance(got, h11.ConnectionClosed):
            return


@pytest.fixture(scope="module")
def rig(long_bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(long_bench, tmp_path_factory.mktemp("fuzz"))
    made.start()
    yield made
    made.stop()


# How h11 reads a client's bytes.


@dataclass
class Asked:
    method: str
    target: bytes
    host: bytes
    body: bytes = b""
    complete: bool = False
    lasting: bool = False  # HTTP/1.0, and more may follow


def read_requests(raw: bytes) -> list[Asked]:
    """The requests h11 finds in ``raw``; the last may be incomplete. What follows an error is not there."""
    asked: list[Asked] = []
    while raw := raw.lstrip(b"\r\n"):
        before = len(asked)
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=SLACK)
        http.receive_data(raw)
        try:
            while (got := http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(got, h11.Request):
                    host = dict(got.headers).get(b"host", b"")
                    asked.append(Asked(got.method.decode(), got.target, host, lasting=_lasting(got)))
                elif isinstance(got, h11.Data):
                    asked[-1].body += bytes(got.data)
                elif isinstance(got, h11.EndOfMessage):
                    asked[-1].complete = True
                    break
        except h11.RemoteProtocolError:
            return asked
        over = http.their_state is h11.MUST_CLOSE and not asked[-1].lasting
        if len(asked) == before or not asked[-1].complete or over:
            return asked
        raw = http.trailing_data[0]
    return asked


def _lasting(got: h11.Request) -> bool:
    values = b",".join(value for name, value in got.headers if name == b"connection").lower().split(b",")
    options = {value.strip() for value in values}
    return got.http_version == b"1.0" and b"keep-alive" in options and b"close" not in options


def comparable(target: bytes, host: bytes) -> bytes:
    """``target`` in origin form, its path normalised where the edge does that."""
    for scheme in (b"http://", b"https://"):
        if target.lower().startswith(scheme + host.lower()):
            rest = target[len(scheme + host) :]
            target = rest if rest[:1] == b"/" else b"/" + rest
    path, mark, query = target.partition(b"?")
    return _normal(path) + mark + query


def _normal(path: bytes) -> bytes:
    try:
        return normal_path(path)
    except BadPath:
        return b"(refused)"


# Requests: a grammar whose every part is right most of the time.


def mostly(right: Sequence[bytes], odd: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    return st.sampled_from(tuple(right) * -(-20 * len(odd) // len(right)) + tuple(odd))  # one in 21 is odd


METHOD = mostly(
    (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"),
    (b"get", b"GETX", b"", b"G ET", b"CONNECT", b"TRACE", b"PRI", b"PROPFIND", b"G\0T", b"M-SEARCH", b" GET"),
)
TARGET = mostly(
    (b"/", b"/a?b=c", b"/a/b%20c", b"/v1/messages", b"http://a.example/x?y", b"/%7Ea;p=1"),
    (
        *(b"/a/../../b", b"//a", b"/%2e%2e/x", b"/a%00", b"*", b"http://b.example/", b"/a b", b"/\xc3\xa9"),
        *(b"/a#f", b"a", b"/\x7f", b"/a\\..\\b", b"/?x=\xff", b"", b"/a\tb", b"/\x01", b"http://a.example"),
        *(
            b"/a\rb",
            b"/%zz",
            b"/<>",
            b'/"',
            b"/{x}|^`",
            b"http://a.example#x",
            b"HTTP://A.EXAMPLE/x",
            b"/./a/.",
        ),
    ),
)
VERSION = mostly(
    (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"),
    (
        b"HTTP/1.2",
        b"HTTP/2.0",
        b"http/1.1",
        b"HTTP/1.1 ",
        b" HTTP/1.1",
        b"HTTP/01.1",
        b"HTTP/1.10",
        b"",
        b"HTTP/0.9",
    ),
)
EOL = mostly((b"\r\n",), (b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\r\n ", b"\x0b\r\n"))
COLON = mostly((b": ", b":"), (b" :", b"\t:", b":\t ", b"", b"::", b": \r\n ", b":\x0b", b":\x00"))
NAME = mostly(
    (b"X-A", b"Accept", b"Connection", b"User-Agent", b"Cookie", b"Expect", b"Upgrade", b"TE", b"Trailer"),
    (
        b"",
        b"X A",
        b"X\0A",
        b"X(",
        b"X\xe9",
        b"Content_Length",
        b"Transfer_Encoding",
        b"\tX",
        b" Content-Length",
    ),
)
VALUE = mostly(
    (b"a", b"close", b"keep-alive", b"100-continue", b"a, b", b"", b"h2c", b"websocket", b"X-A"),
    (
        b"a\x00b",
        b"a\rb",
        b"a\nb",
        b"\xff\xfe",
        b"a\x7f",
        b"a\x01",
        b" a ",
        b"a\t",
        b"Content-Length",
        b"\x0ba",
    ),
)
HOST = mostly(
    (b"Host: a.example\r\n",),
    (
        *(
            b"",
            b"Host: a.example\r\nHost: a.example\r\n",
            b"Host: a/b\r\n",
            b"host:a.example\r\n",
            b"Host:\r\n",
        ),
        *(
            b"Host : a.example\r\n",
            b"Host: a.example, b\r\n",
            b"Host: a.example:99999\r\n",
            b"Host: [::1]:1\r\n",
        ),
    ),
)
BODY = st.one_of(
    st.just(b""),
    st.binary(max_size=40),
    st.sampled_from((b"{}", b"x" * 300, b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n")),
)
CHUNKED = mostly(
    (b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:chunked\r\n", b"Transfer-Encoding: CHUNKED\r\n"),
    (
        *(b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding:\tchunked\r\n"),
        *(b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: chunked, chunked\r\n"),
        *(b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        *(b"Transfer-Encoding: chunked;q=1\r\n", b"Transfer-Encoding:\r\n chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n"),
        *(b"Transfer-Encoding: \r\n", b"Transfer-Encoding: chunked,\r\n", b"Transfer-Encoding: ,chunked\r\n"),
        *(b'Transfer-Encoding: "chunked"\r\n', b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
        *(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked \r\n"),
    ),
)  # fmt: skip
LENGTH = mostly(
    (b"Content-Length: %d\r\n", b"content-length:%d\r\n"),
    (
        *(b"Content-Length: %d\r\nContent-Length: %d\r\n", b"Content-Length: %d, %d\r\n", b"Content-Length: +%d\r\n"),
        *(b"Content-Length: %d\r\nContent-Length: 1%d\r\n", b"Content-Length: 0%d\r\n", b"Content-Length: -%d\r\n"),
        *(b"Content-Length: %d\t\r\n", b"Content-Length: 0x%d\r\n", b"Content-Length: %d.0\r\n", b"Content-Length : %d\r\n"),
        *(b"Content-Length: %d\r\n 0\r\n", b"Content-Length:\x0b%d\r\n", b"Content-Length: %d \r\n", b"Content-Length:\r\n"),
        *(b"Content-Length: 1%d\r\n", b"Content-Length: %d\r\nTransfer-Encoding: identity\r\n", b"Content-Length: %d;\r\n"),
        *(b"Content-Length: 0\r\n", b"Content-Length: %d\xb2\r\n", b"Content-Length: 99999999999999999999%d\r\n"),
    ),
)  # fmt: skip
EXTENSION = mostly(
    (b"", b"", b";a=b"), (b";", b' ;a="b\r"', b";a\nb", b" ", b"\t", b';x="\xff"', b";a=b;c", b"x", b";\0")
)
ENDING = mostly((b"\r\n",), (b"\n", b"\r", b"", b"\r\r\n", b"\r\nX", b" \r\n", b"xy"))
SIZE = mostly(
    (b"%x", b"%X", b"0%x"),
    (b"0x%x", b"+%x", b"-%x", b" %x", b"%x ", b"%xg", b"1%x", b"fffffffffffffffff%x", b""),
)
TRAILER = mostly(
    (b"", b"", b"X-T: 1\r\n"),
    (
        b"X-T: 1\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b" x\r\n",
        b"X-T 1\r\n",
        b"X\0: 1\r\n",
        b"\n",
    ),
)
LAST_CHUNK = mostly((b"0",), (b"00", b"000000", b"", b"0x0", b"-0", b"0;a=b", b"0 "))


@st.composite
def header(draw: Any) -> bytes:
    return b"".join((draw(NAME), draw(COLON), draw(VALUE), draw(EOL)))


@st.composite
def chunk(draw: Any) -> bytes:
    data = draw(st.binary(min_size=1, max_size=20))
    size = draw(SIZE)
    return b"".join(
        (size % len(data) if b"%" in size else size, draw(EXTENSION), draw(ENDING), data, draw(ENDING))
    )


@st.composite
def request(draw: Any) -> bytes:
    """One request, right in most of its parts."""
    head = b"%b %b %b" % (draw(METHOD), draw(TARGET), draw(VERSION)) + draw(EOL) + draw(HOST)
    headers = draw(st.lists(header(), max_size=2))
    framing = draw(st.sampled_from(("none", "length", "length", "chunked", "chunked")))
    body = b""
    if framing == "length":
        body, line = draw(BODY), draw(LENGTH)
        headers.append(line.replace(b"%d", b"%d" % len(body)))
    if framing == "chunked":
        headers.append(draw(CHUNKED))
        body = b"".join(draw(st.lists(chunk(), max_size=3)))
        body += draw(LAST_CHUNK) + draw(ENDING) + draw(TRAILER) + draw(ENDING)
    return head + b"".join(draw(st.permutations(headers))) + draw(EOL) + body


BYTES = st.sampled_from(
    [bytes([b]) for b in b"\0\t\n\x0b\x0c\r !#%,:;?0159AFaf\x7f\x80\xa0\xff"] + [b"\r\n", b"\n\n"]
)


@st.composite
def mutated(draw: Any, whole: st.SearchStrategy[bytes]) -> bytes:
    """``whole`` with a few bytes put in, left out, changed or said twice, or cut short."""
    data = draw(whole)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(("in", "out", "change", "twice", "cut")))
        if how == "in":
            data = data[:at] + draw(BYTES) + data[at:]
        elif how == "out":
            data = data[:at] + data[at + draw(st.integers(1, 3)) :]
        elif how == "change":
            data = data[:at] + draw(BYTES) + data[at + 1 :]
        elif how == "twice":
            data = data[:at] + data[max(0, at - draw(st.integers(1, 30))) : at] + data[at:]
        elif draw(st.booleans()):
            data = data[:at]
    return data


@st.composite
def split(draw: Any, whole: st.SearchStrategy[bytes]) -> list[bytes]:
    """``whole`` in up to five pieces, none of them empty."""
    data = draw(whole)
    cuts = draw(st.lists(st.integers(0, max(0, len(data))), max_size=4))
    edges = [0, *sorted(cuts), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False) if a < b]


HONEST = st.sampled_from(
    (
        b"GET /h?a=1 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"POST /h HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /h HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nT: 1\r\n\r\n",
        b"HEAD /h HTTP/1.0\r\n\r\n",
        b"PUT /h HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
        b"GET /h HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    )
)  # fmt: skip
ONE = st.one_of(request(), mutated(HONEST), mutated(request()))
SENT = split(st.lists(st.one_of(ONE, HONEST), min_size=1, max_size=3).map(b"".join))


def test_what_the_edge_passes_on_is_what_h11_reads_in_the_same_bytes(rig: Rig) -> None:
    tally: Counter[str] = Counter()

    @attack(pieces=SENT)
    def every(pieces: list[bytes]) -> None:
        tally["examples"] += 1
        asked = read_requests(b"".join(pieces))
        wanted = [a.method for a in asked if a.complete]
        rig.begin()
        heard = rig.converse(pieces, wanted)
        passed = [(r, *one_request(r.raw, complete=r.complete)) for r in rig.seen]
        judge_passed(asked, passed, tally)
        judge_answers(heard, [r for r in rig.seen if r.complete], tally)
        event(f"h11 {len(wanted)}, edge {sum(r.complete for r in rig.seen)}")

    every()
    print(f"\nframing of requests: {dict(tally)}")
    assert tally["examples"] >= EXAMPLES * 0.9
    assert tally["passed on"] >= EXAMPLES / 3
    assert tally["refused"] >= EXAMPLES / 5
    assert tally["bodies passed on"] >= EXAMPLES / 10


def one_request(raw: bytes, *, complete: bool) -> tuple[Asked | None, bytes]:
    """The one request in what a backend got, and what followed it."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=SLACK)
    http.receive_data(raw)
    asked: Asked | None = None
    while (got := http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):  # raises: not what h11 would read
        if isinstance(got, h11.Request):
            asked = Asked(got.method.decode(), got.target, dict(got.headers)[b"host"])
        elif isinstance(got, h11.Data) and asked is not None:
            asked.body += bytes(got.data)
        elif isinstance(got, h11.EndOfMessage) and asked is not None:
            asked.complete = True
            break
    assert (asked is not None and asked.complete) == complete
    return asked, http.trailing_data[0]


def judge_passed(
    asked: list[Asked], passed: list[tuple[Recorder, Asked | None, bytes]], tally: Counter[str]
) -> None:
    """Each request a backend saw is the one that h11 sees at the same place, as far as it got."""
    for number, (recorder, got, more) in enumerate(passed):
        assert not more, f"the backend got more than one request: {recorder.raw!r}"
        if got is None:
            assert not recorder.complete  # a head that never got whole
            continue
        assert number < len(asked), f"h11 finds {len(asked)} requests: {recorder.raw!r}"
        wanted = asked[number]
        assert got.method == wanted.method
        assert comparable(got.target, got.host) == comparable(wanted.target, wanted.host)
        if got.complete:
            assert wanted.complete, f"h11 finds no end: {recorder.raw!r}"
            assert got.body == wanted.body
            tally["passed on"] += 1
            tally["bodies passed on"] += bool(got.body)
        else:
            assert wanted.body.startswith(got.body) or got.body.startswith(wanted.body)
            tally["begun"] += 1


def judge_answers(heard: Heard, served: list[Recorder], tally: Counter[str]) -> None:
    """The client has the answers of its own requests, in their order, and at most a refusal behind them."""
    answers = [a for a in heard.answers() if a.complete]
    ours = [a for a in answers if b"x-serial" in a.headers]
    assert [int(a.headers[b"x-serial"]) for a in ours] == [r.serial for r in served][: len(ours)]
    others = answers[len(ours) :]
    assert ours == answers[: len(ours)]
    assert all(400 <= a.status < 600 for a in others) and len(others) <= 1
    tally["answered"] += len(ours)
    tally["refused"] += len(others)


LAST = (
    b"GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, close\r\n\r\n",
    b"GET /a HTTP/1.0\r\n\r\n",
    b"GET /a HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n",
    b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
)


def test_behind_a_request_that_ends_the_connection_nothing_is_read(rig: Rig) -> None:
    followed = []
    for last in LAST:
        for pieces in (
            [last + b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"],
            [last, b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n"],
        ):
            rig.begin()
            heard = rig.converse(pieces, ["GET", "GET"])
            assert [a.status for a in heard.answers()][:1] == [200]
            if len(rig.seen) != 1 or len(heard.answers()) != 1:
                followed.append(pieces)
    assert not followed


# The same for answers.


STATUS = mostly(
    (
        b"200 OK",
        b"404 Not Found",
        b"201 Created",
        b"301 Moved",
        b"204 No Content",
        b"304 Not Modified",
        b"500 Oh",
    ),
    (
        b"20 OK",
        b"2000",
        b"200",
        b"200 ",
        b"101 Switching",
        b"099 X",
        b"abc X",
        b"200 \xff",
        b"200 a\rb",
        b"999 Y",
        b"+20 X",
    ),
)
ANSWER_VERSION = mostly(
    (b"HTTP/1.1 ",), (b"HTTP/1.0 ", b"HTTP/2.0 ", b"HTTP/1.1", b"http/1.1 ", b"ICY ", b"HTTP/1.9 ", b"")
)
INTERIM = mostly(
    (b"", b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"),
    (
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 199 X\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 101 Y\r\n\r\n",
        b"\r\n",
    ),
)


@st.composite
def answer(draw: Any) -> bytes:
    """One answer, right in most of its parts."""
    head = draw(INTERIM) + draw(ANSWER_VERSION) + draw(STATUS) + draw(EOL)
    headers = draw(st.lists(header(), max_size=2))
    framing = draw(st.sampled_from(("close", "length", "length", "chunked", "chunked")))
    body = draw(BODY)
    if framing == "length":
        headers.append(draw(LENGTH).replace(b"%d", b"%d" % len(body)))
    if framing == "chunked":
        headers.append(draw(CHUNKED))
        body = b"".join(draw(st.lists(chunk(), max_size=3)))
        body += draw(LAST_CHUNK) + draw(ENDING) + draw(TRAILER) + draw(ENDING)
    return head + b"".join(draw(st.permutations(headers))) + draw(EOL) + body


HONEST_ANSWER = st.sampled_from(
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nT: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nup to the end",
        b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nup to the end",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
)
ANSWERED = split(st.one_of(answer(), mutated(HONEST_ANSWER), mutated(answer())))
ASKED = st.sampled_from(("GET", "GET", "GET", "HEAD", "POST"))
END = st.sampled_from(("close", "close", "reset", "stay"))
ASK = b"%b /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"


def expected(raw: bytes, method: str, end: str) -> Answer | None:
    """How h11 reads a backend's bytes; None for what it takes for no answer."""
    try:
        return read_answer(raw, method, ended=end == "close")[0]
    except h11.RemoteProtocolError:
        return None


def test_an_answer_reaches_the_client_whole_or_visibly_not(rig: Rig) -> None:
    tally: Counter[str] = Counter()

    @attack(pieces=ANSWERED, method=ASKED, end=END)
    def every(pieces: list[bytes], method: str, end: str) -> None:
        tally["examples"] += 1
        wanted = expected(b"".join(pieces), method, end)
        if end == "stay" and (wanted is None or not wanted.complete):
            end = "close"  # or it would wait for the time-out
            wanted = expected(b"".join(pieces), method, end)
        rig.begin(Script(pieces, end))
        heard = rig.converse([ASK % method.encode()], [method])
        assert all(r.complete for r in rig.seen)
        if method == "POST":
            assert len(rig.seen) == 1  # it may have been carried out: never asked again
        judge_answer(heard, wanted, tally)

    every()
    print(f"\nframing of answers: {dict(tally)}")
    assert tally["examples"] >= EXAMPLES * 0.9
    assert tally["whole"] >= EXAMPLES / 4
    assert tally["error"] >= EXAMPLES / 10
    assert tally["broken off"] >= EXAMPLES / 50


def judge_answer(heard: Heard, wanted: Answer | None, tally: Counter[str]) -> None:
    answers = heard.answers()
    assert len(answers) <= 1
    if not answers or not answers[0].complete:
        tally["broken off"] += 1
        return
    got = answers[0]
    if got.status in (502, 504) and got.headers.get(b"cache-control") == b"no-store":  # the edge's own
        tally["error"] += 1
        return
    assert wanted is not None, "h11 takes it for no answer"
    assert wanted.complete, "a cut answer ended as if it were whole"
    assert (got.status, got.body) == (wanted.status, wanted.body)
    tally["whole"] += 1


OK = b"HTTP/1.1 200 OK\r\n"
# what the backend sends, the method asked with, how the backend ends
BAD_ANSWERS: tuple[tuple[bytes, str, str], ...] = (
    (OK + b"\r\nnot all of it", "GET", "reset"),
    (OK + b"Content-Length: 9\r\n\r\nnot all", "GET", "close"),
    (OK + b"Content-Length: 9\r\n\r\nnot all", "GET", "reset"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "GET", "close"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "GET", "close"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "GET", "close"),
    (OK + b"Transfer-Encoding: gzip\r\n\r\nabc", "GET", "close"),
    (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "GET", "close"),
    (OK + b"Content-Length: +3\r\n\r\nabc", "GET", "close"),
    (OK + b"Content-Length: +3\r\n\r\n", "HEAD", "close"),
    (OK + b"Transfer-Encoding: xchunked\r\n\r\n", "HEAD", "close"),
    (b"HTTP/1.1 304 X\r\nContent-Length: x\r\n\r\n", "GET", "close"),
    (OK + b"X : a\r\nContent-Length: 3\r\n\r\nabc", "GET", "close"),
    (OK + b"X(: a\r\nContent-Length: 3\r\n\r\nabc", "GET", "close"),
    (OK + b"X: a\x0bb\r\nContent-Length: 3\r\n\r\nabc", "GET", "close"),
    (OK + b"X: a\0b\r\nContent-Length: 3\r\n\r\nabc", "GET", "close"),
    (b"HTTP/1.1 200 OK\x0b\r\nContent-Length: 3\r\n\r\nabc", "GET", "close"),
    (b"HTTP/1.1 2000\r\nContent-Length: 3\r\n\r\nabc", "GET", "close"),
    (b"HTTP/1.\t 200 OK\r\nContent-Length: 3\r\n\r\nabc", "GET", "close"),
    (b"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "GET", "close"),
    (b"\0HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "GET", "close"),
    (b"200 OK\r\nContent-Length: 3\r\n\r\nabc", "GET", "close"),
    (b"H", "HEAD", "close"),
    (b"", "POST", "reset"),
)


def test_an_answer_that_is_cut_or_malformed_is_never_handed_on_as_a_whole_one(rig: Rig) -> None:
    passed: list[tuple[bytes, str, str]] = []
    for raw, method, end in BAD_ANSWERS:
        rig.begin(Script([raw], end))
        try:
            judge_answer(rig.converse([ASK % method.encode()], [method]), None, Counter())
        except (AssertionError, h11.RemoteProtocolError):
            passed.append((raw, method, end))
    assert not passed
    assert len(BAD_ANSWERS) == 24


def test_well_formed_answers_all_arrive(rig: Rig) -> None:
    """The other direction for what has nothing wrong with it: refusing everything would prove nothing."""
    tally: Counter[str] = Counter()

    @attack(pieces=split(HONEST_ANSWER), method=ASKED)
    def every(pieces: list[bytes], method: str) -> None:
        wanted = expected(b"".join(pieces), method, "close")
        rig.begin(Script(pieces, "close"))
        heard = rig.converse([ASK % method.encode()], [method])
        assert wanted is not None and wanted.complete
        assert [(a.status, a.body) for a in heard.answers()] == [(wanted.status, wanted.body)]
        tally["whole"] += 1

    every()
    assert tally["whole"] >= 50


def test_well_formed_requests_all_arrive(rig: Rig) -> None:
    tally: Counter[str] = Counter()

    @attack(pieces=split(HONEST))
    def every(pieces: list[bytes]) -> None:
        (wanted,) = read_requests(b"".join(pieces))
        rig.begin()
        heard = rig.converse(pieces, [wanted.method])
        ((recorder,), (got,)) = rig.seen, heard.answers()
        assert (recorder.complete, got.status, got.complete) == (True, 200, True)
        tally["whole"] += 1

    every()
    assert tally["whole"] >= 50
