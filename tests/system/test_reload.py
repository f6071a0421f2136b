"""`deepmoat reload`, `deepmoat backend` and orders on more than addresses, on a real `deepmoat up`."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from system.moat import SETTINGS, Moat, deepmoat, running

pytestmark = pytest.mark.system


class Toy(BaseHTTPRequestHandler):
    """Answers any GET with one word."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def backend() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Toy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def status(moat: Moat, path: str, agent: str = "test") -> int:
    headers = {"User-Agent": agent, "X-Forwarded-For": "203.0.113.7"}  # forwarders themselves are spared
    request = Request(f"http://127.0.0.1:{moat.edge}{path}", headers=headers)
    try:
        with urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as exc:
        return exc.code
    except OSError:
        return 0


def until(what: Any, seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing in {seconds} s")


def verb(moat: Moat, *args: str) -> Any:
    return deepmoat(*args, "--settings", str(moat.settings))


def test_settings_backends_and_orders_change_while_it_runs(tmp_path: Path, backend: int) -> None:  # noqa: PLR0915
    moat = Moat(tmp_path, backend=backend)
    address = f"127.0.0.1:{backend}"
    with running(moat, "up"):
        until(lambda: status(moat, "/") == 200)

        def listed() -> Any:
            return json.loads(verb(moat, "backend", "list", "--json").stdout)["backends"]

        (seen,) = until(listed)
        assert (seen["backend"], seen["workers"], seen["drained"]) == (address, 1, False)
        assert verb(moat, "backend", "drain", "127.0.0.1:1").returncode == 1
        assert verb(moat, "backend", "drain", address).returncode == 0
        until(lambda: status(moat, "/") == 503)
        assert listed()[0]["drained"] is True
        assert verb(moat, "backend", "restore", address).returncode == 0
        until(lambda: status(moat, "/") == 200)

        good = SETTINGS.format(edge=moat.edge, core=moat.core, backend=backend)
        rule = '[[edge.rates]]\nname = "few"\nlimit = 2\nseconds = 600\npaths = ["/few"]\n'
        moat.settings.write_text(good + rule)
        done = verb(moat, "reload", "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, {"taken": 1, "refused": 0})
        assert [status(moat, "/few") for _ in range(3)] == [200, 200, 429]
        moat.settings.write_text(good + rule.replace("limit", "limits"))
        done = verb(moat, "reload")
        assert done.returncode == 1 and "unknown key 'limits'" in done.stderr
        assert status(moat, "/few") == 429 and status(moat, "/") == 200
        moat.settings.write_text(good + rule)

        key = moat.key("admin")
        target = [{"url_path": "/closed", "user_agent_original": "bad"}]
        order = json.dumps({"targets": target, "kind": "block", "minutes": 1}).encode()
        sent, answer = moat.call("/api/actions", order, key=key, headers={"Content-Type": "application/json"})
        assert sent == 201, answer
        until(lambda: status(moat, "/closed", "bad") == 403, 2)
        assert status(moat, "/closed") == 200 and status(moat, "/", "bad") == 200
        wrong = json.dumps({"targets": [{"url_pth": "/"}], "minutes": 1}).encode()
        sent, answer = moat.call("/api/actions", wrong, key=key, headers={"Content-Type": "application/json"})
        assert 400 <= sent < 500 and "url_path" in json.dumps(answer)


def test_a_reload_where_nothing_runs_says_so(tmp_path: Path) -> None:
    moat = Moat(tmp_path)
    done = verb(moat, "reload")
    assert done.returncode == 1 and "no `deepmoat up` runs here" in done.stderr
