"""The command line asks a core over HTTP; its errors arrive as they left."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deepmoat.app import local
from deepmoat.kit.errors import ConfigError, PeerError, QueryError, TransientError

ANSWERS = {
    "/caret": (
        400,
        {"code": "bad_query", "message": "no (line 1, column 3)", "where": "a )\n  ^", "hint": "x"},
    ),
    "/plain": (400, {"code": "bad_request", "message": "no time", "where": "since", "hint": ""}),
    "/denied": (403, {"code": "not_allowed", "message": "no", "where": "", "hint": ""}),
}


class _Core(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        status, error = ANSWERS[self.path]
        body = json.dumps({"error": error}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def core() -> Iterator[local.Local]:
    with HTTPServer(("127.0.0.1", 0), _Core) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield local.Local(f"http://127.0.0.1:{server.server_port}", "key")
        server.shutdown()
        thread.join()


def test_the_caret_stands_under_its_place_and_alone(core: local.Local) -> None:
    with pytest.raises(QueryError) as caught:
        local.ask(core, "POST", "/caret", {})
    assert str(caught.value) == "no (line 1, column 3)\na )\n  ^\nhint: x"


def test_other_errors_are_one_line(core: local.Local) -> None:
    with pytest.raises(QueryError, match="^since: no time$"):
        local.ask(core, "POST", "/plain", {})
    with pytest.raises(PeerError, match=": no$") as caught:
        local.ask(core, "POST", "/denied", {})
    assert caught.value.status == 403


def test_a_core_that_is_gone_is_said_to_be(core: local.Local) -> None:
    with pytest.raises(TransientError, match="core does not answer"):
        local.ask(local.Local("http://127.0.0.1:1", ""), "POST", "/plain", {})


def test_a_core_that_dies_while_it_answers_is_said_to(core: local.Local) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dying:
        thread = threading.Thread(target=lambda: dying.accept()[0].close())
        thread.start()
        with pytest.raises(TransientError, match="core does not answer"):
            local.ask(local.Local(f"http://127.0.0.1:{dying.getsockname()[1]}", ""), "POST", "/plain", {})
        thread.join()


def test_this_machine_is_not_asked_through_a_proxy(
    core: local.Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(QueryError, match="no time"):
        local.ask(core, "POST", "/plain", {})


def test_a_url_that_is_none_is_the_operators_mistake() -> None:
    with pytest.raises(ConfigError, match="is no URL"):
        local.find(Path(), "moat.example:8600", "key")
