"""The whole of it as real processes on loopback."""

import gzip
import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from system.moat import Moat, deepmoat, running

pytestmark = pytest.mark.system
BY_PATH = "status >= 500 | select url_path, count(*) as n group by url_path"
JSON = {"Content-Type": "application/json"}


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def backend() -> object:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def through(moat: Moat, address: str, path: str = "/") -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{moat.edge}{path}", headers={"X-Forwarded-For": address}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def wait_for(what: object, seconds: float = 10) -> object:
    """The first true value of ``what()``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()  # type: ignore[operator]
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing in {seconds} s")


def test_up_serves_records_blocks_and_stops(tmp_path: Path, backend: int) -> None:
    moat = Moat(tmp_path, backend=backend)
    with running(moat, "up"):
        key = moat.key("admin")
        wait_for(lambda: _answers(moat))
        assert through(moat, "81.2.69.142", "/hello?x=1") == 200
        text = "url_path:/hello | select client_address, client_country, http_response_status_code as s"
        (row,) = wait_for(lambda: moat.rows(text, key))  # type: ignore[misc]
        assert row == {"client_address": "81.2.69.142", "client_country": "GB", "s": 200}

        order = json.dumps({"addresses": ["81.2.69.142"], "reason": "a test", "minutes": 1}).encode()
        status, action = moat.call(
            "/api/actions", order, key=key, headers={"Content-Type": "application/json"}
        )
        assert status in (200, 201), action
        begin = time.monotonic()
        wait_for(lambda: through(moat, "81.2.69.142") == 403, 2)
        assert time.monotonic() - begin < 1.0
        assert through(moat, "81.2.69.143") == 200

        for name in ("deepmoat_edge_requests_total", "deepmoat_store_segments_total"):
            assert wait_for(lambda name=name: name in moat.call("/metrics", key=key)[1])  # type: ignore[misc]
        status, seconds = moat.stop()
        assert status == 0 and seconds < 10


def _answers(moat: Moat) -> bool:
    try:
        return through(moat, "192.0.2.7") == 200
    except OSError:
        return False


def test_the_edge_goes_on_without_core_and_its_records_arrive_later(tmp_path: Path, backend: int) -> None:
    edge = Moat(tmp_path, backend=backend)
    edge.start("edge", ready=False)
    try:
        wait_for(lambda: _answers(edge))
        for n in range(20):
            assert through(edge, "192.0.2.9", f"/alone/{n}") == 200
        core = Moat(tmp_path, edge.settings.read_text().replace("{", "{{"))
        core.core = edge.core
        with running(core, "core"):
            key = core.key("analyst")
            text = "* | select count(*) as n where url_path like '/alone/%'"
            wait_for(lambda: core.rows(text, key)[0]["n"] == 20)
            core.kill()
            assert through(edge, "192.0.2.9", "/still") == 200
    finally:
        assert edge.stop()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_core_stops_cleanly_and_what_was_acknowledged_is_there_again(tmp_path: Path, number: int) -> None:
    moat = Moat(tmp_path)
    key = moat.key("admin")
    moat.start()
    line = json.dumps({"time": time.time(), "url_path": "/kept"}).encode() + b"\n"
    status, _ = moat.call(
        "/ingest/access", gzip.compress(line), key=key, headers={"Content-Encoding": "gzip"}
    )
    assert status == 200
    status, seconds = moat.stop(number)
    assert status == 0 and seconds < 10
    with running(moat):
        assert wait_for(
            lambda: moat.rows("* | select count(*) as n where url_path = '/kept'", key)[0]["n"] == 1
        )


def test_a_second_process_on_the_data_folder_is_refused_with_the_reason(tmp_path: Path) -> None:
    with running(Moat(tmp_path)) as moat:
        second = deepmoat("core", "--settings", str(moat.settings))
        assert second.returncode != 0 and "another process uses this folder" in second.stderr
        assert "Traceback" not in second.stderr
        assert moat.call("/healthz")[0] == 200


def test_a_misspelt_key_stops_up_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "moat.toml"
    path.write_text('[edge]\nlistn = "127.0.0.1:1"\n')
    done = deepmoat("up", "--settings", str(path))
    assert done.returncode == 1 and "unknown key 'listn'" in done.stderr and "moat.toml" in done.stderr
    assert not (tmp_path / "moat-data").exists()


def test_a_taken_port_ends_up_with_the_reason(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    try:
        moat = Moat(tmp_path, backend=1)
        taken = f"127.0.0.1:{server.server_address[1]}"
        text = moat.settings.read_text().replace(f"127.0.0.1:{moat.core}", taken)
        moat.settings.write_text(text)
        done = deepmoat("up", "--settings", str(moat.settings), timeout=60)
        assert done.returncode == 1 and "cannot listen" in done.stderr and "Traceback" not in done.stderr
    finally:
        server.server_close()


def test_the_command_line_asks_the_running_core_without_a_key(tmp_path: Path) -> None:
    with running(Moat(tmp_path)) as moat:
        key = moat.key("ingest")
        line = json.dumps({"time": time.time(), "url_path": "/asked", "status": 503}).encode() + b"\n"
        assert moat.call("/ingest/access", line, key=key)[0] == 200

        def asked() -> object:
            done = deepmoat(
                "query",
                BY_PATH,
                "--json",
                "--settings",
                str(moat.settings),
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)["rows"]

        assert wait_for(asked) == [{"url_path": "/asked", "n": 1}]
        wrong = deepmoat("query", "* | select nope(", "--settings", str(moat.settings))
        assert wrong.returncode == 1 and "Traceback" not in wrong.stderr and "hint" in wrong.stderr
        assert oct(os.stat(moat.folder / "moat-data" / "run" / "local.json").st_mode)[-3:] == "600"
    done = deepmoat("query", "*", "--settings", str(moat.settings))
    assert done.returncode == 1 and "no deepmoat runs" in done.stderr


def test_backup_of_a_running_core_restores_to_the_same_records(tmp_path: Path) -> None:
    with running(Moat(tmp_path / "one")) as moat:
        key = moat.key("ingest")
        lines = b"".join(
            json.dumps({"time": time.time(), "url_path": f"/{n}"}).encode() + b"\n" for n in range(50)
        )
        assert moat.call("/ingest/access", lines, key=key)[0] == 200
        done = deepmoat("backup", str(tmp_path / "copy"), "--settings", str(moat.settings))
        assert done.returncode == 0, done.stderr
    done = deepmoat("restore", str(tmp_path / "copy"), "--data", str(tmp_path / "two" / "moat-data"))
    assert done.returncode == 0, done.stderr
    with running(Moat(tmp_path / "two")) as again:
        status, _ = again.call("/api/query?text=*", key=key)
        assert status == 403, "the restored keys must be the same: an ingestion key may not query"
        assert again.rows("* | select count(*) as n", again.key("analyst")) == [{"n": 50}]


def test_the_supervisors_death_drains_its_children(tmp_path: Path, backend: int) -> None:
    moat = Moat(tmp_path, backend=backend)
    moat.start("up")
    assert moat.process is not None
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(moat.process.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    assert len(children) == 2
    moat.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 15)


def test_an_attack_while_core_was_away_is_found_when_it_is_back(tmp_path: Path) -> None:
    moat = Moat(tmp_path, backend=1)
    begin = time.time() - 1800
    lines = [
        {
            "time": begin + n / 2,
            "client_address": "81.2.69.142",
            "event_action": "login",
            "event_outcome": "failure",
            "user_name": f"u{n}",
            "service_name": "web",
        }
        for n in range(120)
    ]
    spool = tmp_path / "moat-data" / "spool" / "edge-7"
    spool.mkdir(parents=True)
    segment = spool / f"{int(begin * 1e9):020d}-00000000~records~security~edge-7.seg"
    segment.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    with running(moat):
        key = moat.key("admin")

        def found() -> object:
            incidents = moat.call("/api/incidents", key=key)[1]["incidents"]
            return [i for i in incidents if i["detector"] == "login_bruteforce"]

        (incident,) = wait_for(found, 20)  # type: ignore[misc]
        assert ["client_address", "81.2.69.142"] in incident["subjects"]
        actions = moat.call("/api/actions", key=key)[1]["actions"]
        assert not [a for a in actions if a["cause"] == incident["id"]], "an attack long over blocks nobody"
