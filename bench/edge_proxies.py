"""The proxies that the bench of the edge compares, each one process with one thread, before one backend.

``python edge_proxies.py FOLDER MODEL PLAIN TLS KIND`` runs an edge: KIND is plain or full (with a guard),
with ``-profile`` behind it to leave what cProfile saw in FOLDER.
"""

import asyncio
import cProfile
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvloop

BLOCKED = 1_000
_TICK = os.sysconf("SC_CLK_TCK")
_CORES = sorted(os.sched_getaffinity(0))
UNDER_TEST, BESIDE = {_CORES[0]}, set(_CORES[1:]) or {_CORES[0]}
"""Cores of the proxies, and of the clients and the backend."""

_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
worker_rlimit_nofile {files};
events {{ worker_connections 8192; }}
http {{
  log_format moat escape=json '{{"time":$msec,"client":"$remote_addr","method":"$request_method",'
    '"host":"$host",'
    '"path":"$uri","query":"$args","status":$status,"sent":$body_bytes_sent,"took":$request_time,'
    '"agent":"$http_user_agent","referer":"$http_referer","upstream":"$upstream_addr",'
    '"upstream_status":"$upstream_status","upstream_time":"$upstream_header_time","id":"$request_id"}}';
  access_log {folder}/nginx.log moat;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 10000000; client_body_buffer_size 64k;
  upstream model {{ server 127.0.0.1:{model}; keepalive 1024; keepalive_requests 10000000; }}
  server {{
    listen 127.0.0.1:{plain} backlog=4096;
    {tls}
    location / {{
      # All of them here: a location with one proxy_set_header of its own inherits none.
      proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
      proxy_buffering off; proxy_read_timeout 300s;
    }}
  }}
}}
"""
_NGINX_TLS = """listen 127.0.0.1:{tls} ssl backlog=4096;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    ssl_protocols TLSv1.3; ssl_session_cache off;"""
_HAPROXY = """
global
  log stdout format raw local0
  nbthread 1
  maxconn 8192
defaults
  mode http
  log global
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  option http-no-delay
  option forwardfor
  http-reuse always
  unique-id-format %{{+X}}o%ci%cp%Ts%rt%pid
  log-format '{{"time":%Ts.%ms,"client":"%ci","method":"%HM","host":"%[capture.req.hdr(0),json]",\
"path":"%HPO","query":"%HQ","status":%ST,"sent":%B,"took":%Ta,"agent":"%[capture.req.hdr(1),json]",\
"referer":"%[capture.req.hdr(2),json]","upstream":"%si:%sp","upstream_time":%Tr,"id":"%ID"}}'
frontend clients
  bind 127.0.0.1:{plain} backlog 4096
  {tls}
  declare capture request len 128
  declare capture request len 256
  declare capture request len 256
  http-request capture req.hdr(host) id 0
  http-request capture req.hdr(user-agent) id 1
  http-request capture req.hdr(referer) id 2
  http-request set-header X-Request-Id %[unique-id]
  http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  default_backend model
backend model
  server model 127.0.0.1:{model} pool-max-conn 1024
"""
_HAPROXY_TLS = "bind 127.0.0.1:{tls} backlog 4096 ssl crt {both} ssl-min-ver TLSv1.3 alpn http/1.1"


class Proxy(NamedTuple):
    """A running proxy; ``tls`` is 0 where it offers none."""

    name: str
    pid: int
    plain: int
    tls: int

    def cpu(self) -> float:
        """CPU seconds of all its processes so far, user and system."""
        return sum(map(_cpu, self._processes()))

    def megabytes(self) -> float:
        """Memory of all its processes, what is shared with others in parts (Pss)."""
        return sum(_pss(pid) for pid in self._processes()) / 1024

    def _processes(self) -> Iterator[int]:
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found.extend(map(int, (task / "children").read_text().split()))
        return iter(found)


class Certificate(NamedTuple):
    """One certificate for all of them (ECDSA P-256), and the authority that signed it. Paths of PEM files."""

    certificate: str
    key: str
    both: str
    authority: str


def certificate(folder: Path) -> Certificate | None:
    """A certificate for moat.example; None where trustme is not installed."""
    try:
        import trustme
    except ImportError:
        return None
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert("moat.example", key_type=trustme.KeyType.ECDSA)
    paths = Certificate(*(str(folder / f"{name}.pem") for name in Certificate._fields))
    issued.cert_chain_pems[0].write_to_path(paths.certificate)
    issued.private_key_pem.write_to_path(paths.key)
    issued.private_key_and_cert_chain_pem.write_to_path(paths.both)
    authority.cert_pem.write_to_path(paths.authority)
    return paths


class Stage:
    """Starts proxies in front of one backend, each in a folder of its own."""

    def __init__(self, folder: Path, model: int, pair: Certificate | None) -> None:
        self._folder, self._model, self._pair = folder, model, pair
        self._started = 0

    @contextmanager
    def up(self, *names: str) -> Iterator[dict[str, Proxy]]:
        """The proxies that can be started here, while the block runs."""
        with ExitStack() as stack:
            started = {n: p for n in names if (p := stack.enter_context(self._proxy(n))) is not None}
            yield started

    @contextmanager
    def _proxy(self, name: str) -> Iterator[Proxy | None]:
        self._started += 1
        folder = self._folder / f"{name}-{self._started}"
        folder.mkdir()
        plain, tls = free_ports(2)
        tls = tls if self._pair and (name in ("nginx", "haproxy") or _has_tls()) else 0
        command = self._command(name, folder, plain, tls)
        if command is None:
            print(f"no {name} here: nothing to compare with it", file=sys.stderr)
            yield None
            return
        with running(folder, *command) as child:
            wait_for(plain, child, folder)
            yield Proxy(name, child.pid, plain, tls)

    def _command(self, name: str, folder: Path, plain: int, tls: int) -> tuple[str, ...] | None:
        if name not in ("nginx", "haproxy"):
            pair = self._pair or Certificate("", "", "", "")
            ports = (str(self._model), str(plain), str(tls))
            return (sys.executable, __file__, str(folder), *ports, name, pair.certificate, pair.key)
        program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
        if program is None:
            return None
        text, tls_text = (_NGINX, _NGINX_TLS) if name == "nginx" else (_HAPROXY, _HAPROXY_TLS)
        pair = self._pair
        offered = tls_text.format(tls=tls, **pair._asdict()) if tls and pair else ""
        conf = folder / f"{name}.conf"
        conf.write_text(
            text.format(folder=folder, model=self._model, plain=plain, tls=offered, files=_files())
        )
        if name == "nginx":
            return (program, "-c", str(conf), "-p", str(folder))
        return (program, "-db", "-f", str(conf))


@contextmanager
def running(folder: Path, *command: str, cores: set[int] = UNDER_TEST) -> Iterator["subprocess.Popen[bytes]"]:
    """A process on ``cores`` while the block runs; what it says goes to files in ``folder``."""
    with (folder / "out.log").open("wb") as out, (folder / "err.log").open("wb") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err)
        os.sched_setaffinity(child.pid, cores)
        try:
            yield child
        finally:
            child.terminate()
            child.wait(30)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(port: int, child: "subprocess.Popen[bytes]", folder: Path) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        if child.poll() is not None:
            break
        time.sleep(0.05)
    said = (folder / "err.log").read_text(errors="replace")[-2000:]
    raise SystemExit(f"nothing listens on port {port}: {said}")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _files() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


# The edge.


def _has_tls() -> bool:
    import deepmoat.edge.settings

    return hasattr(deepmoat.edge.settings, "TlsSettings")


async def _edge(folder: Path, model: int, plain: int, tls: int, kind: str, pair: tuple[str, str]) -> None:
    from deepmoat.edge import settings as known
    from deepmoat.edge.serve import serve

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    wanted: dict[str, Any] = {
        "listen": f"127.0.0.1:{plain}",
        "workers": 1,
        "backends": (known.BackendSettings(address=f"127.0.0.1:{model}"),),
    }
    if tls:
        held = known.CertificateSettings(certificate=pair[0], key=pair[1])
        wanted["tls"] = known.TlsSettings(listen=f"127.0.0.1:{tls}", certificates=(held,))
    if kind.startswith("full"):
        wanted |= _guard(known)
        _block(folder)
    profile = cProfile.Profile()
    if kind.endswith("-profile"):
        profile.enable()
    settings = known.EdgeSettings(**wanted)
    await serve(settings, worker=0, data=folder, secret=b"s" * 32, stop=stop)
    profile.disable()
    if kind.endswith("-profile"):
        profile.dump_stats(str(folder / "profile"))


def _guard(known: Any) -> dict[str, Any]:
    """Limits that look at every request and stop none."""
    wanted: dict[str, Any] = {"rate": known.RateSettings(requests_per_second=1e6, burst=1_000_000)}
    if hasattr(known, "RateRuleSettings"):
        rule = known.RateRuleSettings
        wanted["rates"] = (
            rule(name="keys", limit=1e9, seconds=60, by=("key_hash",)),
            rule(name="clients", limit=1e9, seconds=10),
        )
    if hasattr(known, "BudgetSettings"):
        wanted["budgets"] = (
            known.BudgetSettings(
                name="keys", requests_per_minute=1e9, tokens_per_minute=1e12, tokens_per_day=1e15
            ),
        )
    return wanted


def _block(folder: Path) -> None:
    """Orders against other clients, where the edge looks for them at its start."""
    from deepmoat.model import Action

    now = datetime.now(UTC)
    targets = tuple((("client_address", f"198.18.{n >> 8}.{n & 255}"),) for n in range(BLOCKED))
    order = Action(
        id="01BENCH",
        kind="block",
        targets=targets,
        cause="bench",
        reason="bench",
        start=now,
        end=now + timedelta(1),
    )
    run = folder / "run"
    run.mkdir(mode=0o700)
    (run / "actions.json").write_bytes(msgspec.json.encode({"version": 1, "actions": [order]}) + b"\n")


if __name__ == "__main__":
    _folder, _model, _plain, _tls, _kind, *_pair = sys.argv[1:]
    uvloop.run(_edge(Path(_folder), int(_model), int(_plain), int(_tls), _kind, (_pair[0], _pair[1])))
