"""CPU time of a request through the edge beside nginx: same backend, same load, same run, logs on.

    .venv/bin/python bench/edge.py [--json] [--rounds 5] [--requests 6000]

Rounds of the two proxies alternate, so that a busy machine is busy for both; what is compared is the CPU
time of the proxy's own processes (/proc/<pid>/stat), never the wall clock. `plain` is a POST of 0.7 KB over
kept-alive connections, answered with a small JSON object; the edge writes an `access` record and makes it
durable, nginx writes a JSON access log. `chat` is the same to a chat endpoint: the edge then also reads model
and tokens from request and answer and writes an `llm` record, which nginx cannot do. `sse` is a stream of
small chat events at a steady pace, unbuffered, in microseconds for each event.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httptools
import uvloop

TICK = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 32
STREAMS, EVENTS, PACE = 50, 100, 0.01
KINDS = {
    "plain": ("/v1/plain", CONNECTIONS),
    "chat": ("/v1/chat/completions", CONNECTIONS),
    "sse": ("/v1/stream/chat/completions", STREAMS),
}
PROMPT = "Tell me, in a few plain words, what a moat is for and how deep it ought to be. " * 7
BODY = json.dumps({"model": "m-1", "messages": [{"role": "user", "content": PROMPT}]}).encode()
USAGE = {"prompt_tokens": 120, "completion_tokens": 40, "total_tokens": 160}
CHOICE = {
    "index": 0,
    "message": {"role": "assistant", "content": "Deep enough. " * 12},
    "finish_reason": "stop",
}
ANSWER = json.dumps(
    {"id": "c-1", "object": "chat.completion", "model": "m-1", "choices": [CHOICE], "usage": USAGE}
)
DELTA = {"index": 0, "delta": {"content": "deep "}, "finish_reason": None}
EVENT = b"data: %b\n\n" % json.dumps({"id": "c-1", "model": "m-1", "choices": [DELTA]}).encode()
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  log_format moat escape=json '{{"time":$msec,"client":"$remote_addr","method":"$request_method",'
    '"host":"$host",'
    '"path":"$uri","query":"$args","status":$status,"sent":$body_bytes_sent,"took":$request_time,'
    '"agent":"$http_user_agent","referer":"$http_referer","upstream":"$upstream_addr",'
    '"upstream_status":"$upstream_status","upstream_time":"$upstream_header_time","id":"$request_id"}}';
  access_log {folder}/access.log moat;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000; client_body_buffer_size 64k;
  upstream model {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Request-Id $request_id;
      proxy_buffering off;
    }}
  }}
}}
"""


class Backend:
    """Answers a request at once, or with a paced stream when it asks for one."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.parser, self.size = transport, httptools.HttpRequestParser(self), 0
        self.url = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_message_complete(self) -> None:
        if self.url != b"/v1/stream/chat/completions":
            self.transport.write(HEAD)
            return
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.left = EVENTS
        self.tick()

    def tick(self) -> None:
        if not self.left:
            self.transport.write(b"0\r\n\r\n")
            return
        self.left -= 1
        self.transport.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        asyncio.get_running_loop().call_later(PACE, self.tick)

    def connection_lost(self, exc: Exception | None) -> None:
        self.left = 0

    def eof_received(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: toy\r\nContent-Length: %d\r\n\r\n"
    % len(ANSWER)
    + ANSWER.encode()
)


class Asker:
    """Sends ``requests``, one after the answer of the other."""

    def __init__(self, request: bytes, requests: int, done: asyncio.Future[None]) -> None:
        self.request, self.left, self.done = request, requests, done

    def connection_made(self, transport: Any) -> None:
        self.transport, self.parser = transport, httptools.HttpResponseParser(self)
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self.parser.get_status_code() == 200, self.parser.get_status_code()
        self.left -= 1
        if self.left > 0:
            self.transport.write(self.request)
            return
        self.done.done() or self.done.set_result(None)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(f"closed with {self.left} requests to go"))

    def eof_received(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


async def ask(port: int, path: str, connections: int, requests: int) -> None:
    """``connections`` at once, each with its share of ``requests``."""
    loop = asyncio.get_running_loop()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: moat.example\r\nUser-Agent: bench/1\r\nAuthorization: Bearer k-1\r\n"
    )
    head += f"Accept: */*\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    done = []
    for _ in range(connections):
        future = loop.create_future()
        made: Any = lambda future=future: Asker(head.encode() + BODY, requests // connections, future)  # noqa: E731
        await loop.create_connection(made, "127.0.0.1", port)
        done.append(future)
    await asyncio.gather(*done)


async def backend(port: int) -> None:
    made: Any = Backend
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


async def edge(port: int, model: int, folder: str) -> None:
    from deepmoat.edge.serve import serve
    from deepmoat.edge.settings import BackendSettings, EdgeSettings

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    backends = (BackendSettings(address=f"127.0.0.1:{model}"),)
    settings = EdgeSettings(listen=f"127.0.0.1:{port}", backends=backends)
    await serve(settings, worker=0, data=Path(folder), secret=b"s" * 32, stop=stop)


@contextmanager
def process(*command: str) -> Iterator[int]:
    """A process while the block runs; its pid."""
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield child.pid
    finally:
        child.terminate()
        child.wait(20)


def cpu(pid: int) -> float:
    """CPU seconds of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def wait_for(port: int) -> None:
    import socket

    for _ in range(200):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def free_ports(count: int) -> list[int]:
    import socket

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def measure(pid: int, port: int, path: str, connections: int, requests: int) -> float:
    """CPU microseconds of process ``pid`` for each request."""
    before = cpu(pid)
    uvloop.run(ask(port, path, connections, requests))
    time.sleep(0.4)  # the log's last batch is part of the price
    return (cpu(pid) - before) / requests * 1e6


def compare(proxies: dict[str, tuple[int, int]], rounds: int, requests: int) -> dict[str, float]:
    """Median microseconds by kind and proxy, and the ratio of their sums over all rounds."""
    took: dict[str, list[float]] = {f"{kind}_{name}": [] for kind in KINDS for name in proxies}
    for step in range(rounds + 1):
        for name, (pid, port) in proxies.items():
            for kind, (path, connections) in KINDS.items():
                asked = STREAMS if kind == "sse" else requests
                spent = measure(pid, port, path, connections, asked)
                if step:  # the first round only warms up
                    took[f"{kind}_{name}"].append(spent / (EVENTS if kind == "sse" else 1))
    figures = {f"{key}_cpu_us": round(statistics.median(values), 2) for key, values in took.items()}
    if "nginx" in proxies:
        for kind in KINDS:
            ratio = sum(took[f"{kind}_edge"]) / max(sum(took[f"{kind}_nginx"]), 1e-9)
            figures[f"{kind}_cpu_ratio"] = round(ratio, 3)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        name, *rest = options.role
        uvloop.run(backend(int(rest[0])) if name == "backend" else edge(int(rest[0]), int(rest[1]), rest[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = run(folder, options.rounds, options.requests)
    print(json.dumps(figures) if options.json else "\n".join(f"{k:24} {v}" for k, v in figures.items()))


def run(folder: str, rounds: int, requests: int) -> dict[str, float]:
    model, ours, theirs = free_ports(3)
    here = (sys.executable, __file__, "--role")
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    with (
        process(*here, "backend", str(model)),
        process(*here, "edge", str(ours), str(model), folder) as edge_pid,
    ):
        wait_for(model)
        wait_for(ours)
        proxies = {"edge": (edge_pid, ours)}
        if not nginx:
            print("no nginx here: figures of the edge alone", file=sys.stderr)
            return compare(proxies, rounds, requests)
        conf = Path(folder) / "nginx.conf"
        conf.write_text(NGINX.format(folder=folder, port=theirs, backend=model))
        with process(nginx, "-c", str(conf), "-p", folder) as nginx_pid:
            wait_for(theirs)
            return compare(proxies | {"nginx": (nginx_pid, theirs)}, rounds, requests)


if __name__ == "__main__":
    main()
