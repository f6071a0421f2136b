"""A real deepmoat on loopback, for tests: start, ask, kill, stop. Ends only what it started."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def deepmoat(
    *args: str, timeout: float = 120, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one verb to its end."""
    command = [sys.executable, "-m", "deepmoat.cli.main", *args]
    full = {**os.environ, **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=full)


SETTINGS = """
[api]
listen = "127.0.0.1:{core}"
[edge]
listen = "127.0.0.1:{edge}"
workers = 1
trusted_forwarders = ["127.0.0.1/32"]
[[edge.backends]]
address = "127.0.0.1:{backend}"
"""


class Moat:
    """One data folder, one settings file, and the process that runs on them."""

    def __init__(self, folder: Path, settings: str = "", *, backend: int = 9) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.core, self.edge = folder, free_port(), free_port()
        self.settings = folder / "moat.toml"
        text = settings or SETTINGS
        self.settings.write_text(text.format(edge=self.edge, core=self.core, backend=backend))
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.core}"

    def start(self, verb: str = "core", *, ready: bool = True) -> None:
        """Start ``verb`` and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deepmoat.cli.main", verb, "--settings", str(self.settings)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        if ready:
            self.wait_ready()

    def wait_ready(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"not ready in {seconds} s:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """End it in order; the exit status and how long it took."""
        assert self.process is not None
        begin = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(30)
        return status, time.monotonic() - begin

    def key(self, role: str = "admin") -> str:
        """A fresh API key."""
        made = deepmoat("key", "create", "test", "--role", role, "--settings", str(self.settings))
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def call(
        self, path: str, body: bytes | None = None, *, key: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """One HTTP call of the API: status and decoded body."""
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {})
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, _decoded(answer.read())
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, _decoded(exc.read())

    def rows(
        self, text: str, key: str, logstore: str = "access", limit: int = 100_000
    ) -> list[dict[str, Any]]:
        """The rows of a query."""
        body = json.dumps({"text": text, "logstore": logstore, "limit": limit}).encode()
        status, answer = self.call("/api/query", body, key=key, headers={"Content-Type": "application/json"})
        assert status == 200, answer
        rows: list[dict[str, Any]] = answer["rows"]
        return rows


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


@contextmanager
def running(moat: Moat, verb: str = "core") -> Iterator[Moat]:
    """``moat`` for as long as the block lasts; whatever still runs at the end is ended."""
    moat.start(verb)
    try:
        yield moat
    finally:
        if moat.process is not None and moat.process.poll() is None:
            try:
                moat.stop()
            except subprocess.TimeoutExpired:
                moat.kill()
