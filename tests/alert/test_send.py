"""Sending, against real servers on loopback: good ones, failing ones, hanging ones, none at all."""

import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deepmoat.alert.channel import Message, channel
from deepmoat.alert.incidents import Notice
from deepmoat.alert.send import Sender, Told, deliver, example, send_test
from deepmoat.alert.settings import AlertSettings
from deepmoat.kit import meters
from deepmoat.kit.errors import ConfigError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "do-not-tell"


class Hook(ThreadingHTTPServer):
    """A webhook that answers what it is told to, in order; the last answer for ever after."""

    daemon_threads = True

    def __init__(self, answers: list[Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.got = answers, queue.SimpleQueue[tuple[str, dict[str, str], bytes]]()
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/in?key={SECRET}"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.put((self.path, dict(self.headers), body))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer == "hang":
            self.server.release.wait(20)
            return
        status, text = answer if isinstance(answer, tuple) else (answer, b"{}")
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if status == 302:
            self.send_header("Location", self.server.url)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def hook() -> Iterator[Any]:
    started: list[Hook] = []

    def start(*answers: Any) -> Hook:
        server = Hook(list(answers))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.release.set()
        server.shutdown()
        server.server_close()


def table(url: str, **more: Any) -> dict[str, Any]:
    return {"kind": "webhook", "url": url, "timeout_seconds": 0.3, "backoff_seconds": 0.01} | more


def message(event: Any = "test") -> Message:
    return Message(Notice(event, example(NOW)))


def sent(channel: str, outcome: str) -> int:
    key = (("channel", channel), ("outcome", outcome))
    return int(
        sum(s.value for s in meters.snapshot() if (s.name, s.labels) == ("deepmoat_alert_notices_total", key))
    )


class Ear:
    """Hears how messages end."""

    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[Told] = queue.SimpleQueue()

    def __call__(self, told: Told) -> None:
        self.heard.put(told)

    def next(self) -> Told:
        return self.heard.get(timeout=10)


def test_a_message_arrives_with_its_whole_incident(hook: Any) -> None:
    server, ear = hook(200), Ear()
    sender = Sender(AlertSettings(channels=(table(server.url, name="one"),)), ear)
    sender.start()
    assert sender.tell(message()) == 1
    path, headers, body = server.got.get(timeout=10)
    assert path == f"/in?key={SECRET}" and headers["Content-Type"] == "application/json"
    assert json.loads(body)["incident"]["id"] == "test" and json.loads(body)["event"] == "test"
    told = ear.next()
    assert (told.channel, told.ending) == ("one", "sent") and sent("one", "sent") == 1
    sender.close()


ENDINGS = [
    ("a failure is tried again", (500, 503, 200), {}, "sent", 3),
    ("too many requests is tried again", (429, 200), {}, "sent", 2),
    ("failures without an end are given up", (500,), {"attempts": 3}, "failed", 3),
    ("a refusal is not tried again", (403,), {}, "refused", 1),
    ("a redirect is not followed", (302,), {}, "refused", 1),
    ("a hanging server is left and tried again", ("hang", 200), {}, "sent", 2),
]


def test_endings(hook: Any) -> None:
    done = 0
    for name, answers, more, ending, posts in ENDINGS:
        server, ear = hook(*answers), Ear()
        sender = Sender(AlertSettings(channels=(table(server.url, **more),)), ear)
        sender.start()
        sender.tell(message())
        assert ear.next().ending == ending, name
        assert server.got.qsize() == posts, name
        sender.close()
        done += 1
    assert done == len(ENDINGS) == 6


def test_a_hanging_channel_holds_up_neither_the_caller_nor_another_channel(hook: Any) -> None:
    slow, fast, ear = hook("hang"), hook(200), Ear()
    tables = (table(slow.url, name="slow", timeout_seconds=20.0), table(fast.url, name="fast"))
    sender = Sender(AlertSettings(channels=tables), ear)
    sender.start()
    start = time.monotonic()
    for _ in range(5):
        sender.tell(message())
    assert time.monotonic() - start < 1
    assert [ear.next().channel for _ in range(5)] == ["fast"] * 5
    slow.release.set()
    sender.close(grace=0.2)


def test_a_full_queue_and_what_is_left_at_the_end_are_counted(hook: Any) -> None:
    server, ear = hook("hang"), Ear()
    tables = (table(server.url, name="full", timeout_seconds=20.0, attempts=1),)
    sender = Sender(AlertSettings(channels=tables, queue=2), ear)
    sender.start()
    sender.tell(message())
    server.got.get(timeout=10)
    for _ in range(4):
        sender.tell(message())
    sender.close(grace=0.05)
    server.release.set()
    endings = sorted(ear.next().ending for _ in range(4))
    assert endings == ["failed", "failed", "queue_full", "queue_full"]
    assert sent("full", "queue_full") == 2


def test_an_answer_that_never_ends_is_cut(hook: Any) -> None:
    server = hook((200, b"x" * 1_000_000))
    assert deliver(channel(table(server.url)), message()) == "sent"


def test_a_listener_that_fails_does_not_end_the_channel(hook: Any) -> None:
    server, ear = hook(200), Ear()

    def listen(told: Told) -> None:
        ear(told)
        raise RuntimeError("listener")

    sender = Sender(AlertSettings(channels=(table(server.url),)), listen)
    sender.start()
    sender.tell(message())
    sender.tell(message())
    assert [ear.next().ending, ear.next().ending] == ["sent", "sent"]
    sender.close()


def test_a_proxy_is_used_but_never_towards_this_machine(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server, proxy = hook(200), hook(204)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
    assert deliver(channel(table(server.url)), message()) == "sent"
    assert (server.got.qsize(), proxy.got.qsize()) == (1, 0)
    assert deliver(channel(table("http://hook.example/in")), message()) == "sent"
    assert proxy.got.get(timeout=10)[0] == "http://hook.example/in"


def test_no_secret_is_ever_logged(hook: Any, caplog: pytest.LogCaptureFixture) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    tables = [
        table(f"http://127.0.0.1:{port}/{SECRET}", attempts=1),
        table(hook(500).url, attempts=1),
        table(hook(400).url),
        table(f"http://127.0.0.1:{port}/{SECRET}\x00 bad", attempts=1),
        {"kind": "apprise", "url": f"json://user:{SECRET}@127.0.0.1:{port}/", "attempts": 1},
        {"kind": "apprise", "url": f"nosuch://{SECRET}", "attempts": 1},
        {"kind": "apprise", "url": f"dingtalk://{SECRET}", "attempts": 1},
    ]
    with caplog.at_level(logging.DEBUG):
        outcomes = [_deliver(t) for t in tables]
    assert outcomes == ["again", "again", "refused", "refused", "again", "refused", "refused"]
    assert SECRET not in caplog.text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # apprise imports imghdr
def _deliver(settings: dict[str, Any]) -> str:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return deliver(channel(settings), message())


def test_apprise_makes_the_request_its_service_documents(hook: Any) -> None:
    server = hook(200)
    settings = {"kind": "apprise", "url": f"json://127.0.0.1:{server.server_port}/notify"}
    assert _deliver(settings) == "sent"
    path, _, body = server.got.get(timeout=10)
    assert path == "/notify" and json.loads(body)["title"] == "[REPORT] test: deepmoat can reach you here"


def test_a_mail_reaches_an_smtp_server() -> None:
    with _Mailbox() as mailbox:
        settings = {"kind": "email", "host": "127.0.0.1", "port": mailbox.port, "security": "none"}
        outcome = _deliver(settings | {"sender": "moat@x.example", "to": ["me@y.example"]})
        assert outcome == "sent" and mailbox.rcpt == ["<me@y.example>"]
        assert "deepmoat can reach you here" in mailbox.data


def test_dingtalk_is_told_over_http_and_its_refusal_is_seen(hook: Any) -> None:
    ok, wrong = hook((200, b'{"errcode":0}')), hook((200, b'{"errcode":310000}'))
    base = {"kind": "dingtalk", "token": "t", "secret": "SECabc"}
    assert deliver(channel(base | {"url": ok.url.split("?")[0]}), message()) == "sent"
    assert deliver(channel(base | {"url": wrong.url.split("?")[0]}), message()) == "refused"
    path, _, body = ok.got.get(timeout=10)
    assert "access_token=t&timestamp=" in path and path.endswith("%3D")
    assert json.loads(body)["msgtype"] == "text"


def test_a_test_message_goes_through_every_channel(hook: Any) -> None:
    tables = (table(hook(200).url, name="good"), table(hook(404).url, name="bad"))
    assert list(send_test(AlertSettings(channels=tables), NOW)) == [("good", "sent"), ("bad", "refused")]
    with pytest.raises(ConfigError, match="there is no channel"):
        list(send_test(AlertSettings(), NOW))


class _Mailbox:
    """As much SMTP (RFC 5321) as one mail needs."""

    def __enter__(self) -> "_Mailbox":
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port, self.rcpt, self.data = self._server.getsockname()[1], [], ""  # type: ignore[var-annotated]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(10)
        self._server.close()

    def _serve(self) -> None:
        peer, _ = self._server.accept()
        with peer, peer.makefile("rwb") as lines:
            self._say(lines, "220 here")
            for line in lines:
                word = line[:4].upper()
                if word == b"DATA":
                    self._say(lines, "354 go on")
                    self.data = b"".join(iter(lines.readline, b".\r\n")).decode()
                if word == b"RCPT":
                    self.rcpt.append(line.decode().split(":")[1].split()[0])
                self._say(lines, "221 bye" if word == b"QUIT" else "250 ok")
                if word == b"QUIT":
                    return

    @staticmethod
    def _say(lines: Any, text: str) -> None:
        lines.write(text.encode() + b"\r\n")
        lines.flush()
