"""What a request costs through the edge, nginx and HAProxy: same backend, same clients, one interleaved run.

    .venv/bin/python bench/edge.py [--json] [--rounds 5] [--requests 20000] [--only plain,full]
    .venv/bin/python bench/edge.py --profile full

Rounds of the proxies alternate, so that a busy machine is busy for all of them, and the first warms up.
What is compared is CPU time of all processes of a proxy (/proc/<pid>/stat), never the wall clock; ratios
are those of sums over the rounds, ``…_us`` medians in microseconds. Each proxy has one process with one
thread. The proxies run on one core, clients and backend on another. ``…_cpu_ratio`` is the edge to nginx,
``…_cpu_ratio_haproxy`` the edge to HAProxy. An interpreter runs from a cold cache on a machine that has
other work, and nginx hardly does: for figures to compare with others, leave the machine alone.

- ``plain``: a POST of 0.7 KB over 32 kept-alive connections, answered with a small JSON object. nginx and
  HAProxy write a line of JSON each to a file, which may be lost with the machine; the edge writes its
  ``access`` record and makes it durable. It has no cheaper mode.
- ``full``: the same to a chat endpoint, through an edge with 1,000 addresses blocked, limits for clients
  and keys, and a budget. It reads the call and the tokens of its answer and writes an ``llm`` record too,
  with the texts; nginx and HAProxy do what they do for ``plain``.
- ``sse``: 50 streams of small chat events, one each 10 ms, unbuffered; for each event. The edge reads each.
- ``idle``: memory (Pss) that a fresh process gains by 1,000 open streams that say nothing, in MB.
- ``latency``: median of one request every 2 ms, less that of the backend asked directly, in microseconds.
- ``tls``: ``tls_request`` is ``plain`` over TLS 1.3; ``tls_handshake`` a new connection with a full handshake
  (ECDSA P-256) and one request on it; all three hand out tickets, and no client resumes.

Figures without a proxy's name are the edge's. A proxy that is not installed is left out. ``--profile`` runs
only the edge, under cProfile, and prints where its time goes.
"""

import argparse
import json
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import edge_load as load
import edge_proxies as proxies
import uvloop
from edge_proxies import Proxy, Stage

KINDS = ("plain", "full", "sse", "idle", "latency", "tls")
CONNECTIONS, STREAMS, IDLE_STREAMS, GREETED_AT_ONCE = 32, 50, 1_000, 8
OTHERS = ("nginx", "haproxy")
PAUSE = 0.002
Figures = dict[str, float]
Measure = Callable[[Proxy], float]
"""Loads a proxy; CPU microseconds for each unit of work."""


class Bench:
    """One run."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.rounds, self.requests, self.only = options.rounds, options.requests, options.only
        (self.model,) = proxies.free_ports(1)
        self.pair = proxies.certificate(folder)
        self.context = load.trusting(self.pair.authority) if self.pair else None
        self.stage = Stage(folder, self.model, self.pair)

    def figures(self) -> Figures:
        """All that was asked for."""
        figures: Figures = {}
        if set(self.only) - {"idle"}:
            with self.stage.up("plain", "full", *OTHERS) as up:
                figures |= self.compare(up)
                if "latency" in self.only:
                    figures |= self.latency(up)
        if "idle" in self.only:
            figures |= self.idle()
        return figures

    # CPU.

    def measures(self, up: dict[str, Proxy]) -> dict[str, Measure]:
        """What to compare, by kind."""
        asked = self.requests
        every: dict[str, Measure] = {
            "plain": lambda p: spent(p, asked, load.ask(p.plain, load.PLAIN, CONNECTIONS, asked)),
            "full": lambda p: spent(p, asked, load.ask(p.plain, load.CHAT, CONNECTIONS, asked)),
            "sse": lambda p: spent(
                p, STREAMS * load.EVENTS, load.ask(p.plain, load.STREAM, STREAMS, STREAMS)
            ),
        }
        chosen = {kind: measure for kind, measure in every.items() if kind in self.only}
        context = self.context
        if "tls" not in self.only or context is None or not all(p.tls for p in up.values()):
            if "tls" in self.only:
                print("no TLS on both sides here: not compared", file=sys.stderr)
            return chosen
        greeted = max(GREETED_AT_ONCE, asked // 20)
        chosen["tls_request"] = lambda p: spent(
            p, asked, load.ask(p.tls, load.PLAIN, CONNECTIONS, asked, context)
        )
        chosen["tls_handshake"] = lambda p: spent(
            p, greeted, load.greet(p.tls, load.PLAIN, GREETED_AT_ONCE, greeted, context)
        )
        return chosen

    def compare(self, up: dict[str, Proxy]) -> Figures:
        """Interleaved rounds; medians and ratios."""
        figures: Figures = {}
        measures = self.measures(up)
        took: dict[str, dict[str, list[float]]] = {kind: {} for kind in measures}
        for step in range(self.rounds + 1):
            for kind, measure in measures.items():
                ours = up["full" if kind == "full" else "plain"]
                for proxy in (ours, *(up[name] for name in OTHERS if name in up)):
                    value = measure(proxy)
                    if step:  # the first round only warms up
                        name = proxy.name if proxy.name in OTHERS else "edge"
                        took[kind].setdefault(name, []).append(value)
        for kind, found in took.items():
            figures |= _summed(kind, found)
        return figures

    # Time and memory.

    def latency(self, up: dict[str, Proxy]) -> Figures:
        """What each proxy adds to the median."""
        named = {("edge" if name == "plain" else name): p.plain for name, p in up.items() if name != "full"}
        took = uvloop.run(load.clock({"direct": self.model, **named}, max(200, self.requests // 10), PAUSE))
        median = {name: statistics.median(values) * 1e6 for name, values in took.items()}
        figures = {f"latency_added_p50_us_{name}": median[name] - median["direct"] for name in named}
        figures["latency_added_p50_us"] = figures.pop("latency_added_p50_us_edge")
        figures["latency_direct_p50_us"] = median["direct"]
        return {key: round(value, 1) for key, value in figures.items()}

    def idle(self) -> Figures:
        """What each proxy, freshly started, gains by streams that idle."""
        figures: Figures = {}
        for name in ("plain", *OTHERS):
            for how in ("plain", "tls"):
                with self.stage.up(name) as up:
                    proxy = up.get(name)
                    if proxy is None or (how == "tls" and not (proxy.tls and self.context)):
                        continue
                    key = f"idle_streams_{how}_mb" + (f"_{name}" if name in OTHERS else "")
                    figures[key] = round(self.gained(proxy, how), 2)
        return figures

    def gained(self, proxy: Proxy, how: str) -> float:
        """MB that ``proxy`` gains by idle streams."""
        port, context = (proxy.plain, None) if how == "plain" else (proxy.tls, self.context)
        uvloop.run(load.ask(port, load.CHAT, 4, 400, context))
        uvloop.run(load.ask(port, load.STREAM, 4, 4, context))
        before = proxy.megabytes()
        after: float = uvloop.run(load.hold(port, IDLE_STREAMS, context, proxy.megabytes))
        return after - before


def _summed(kind: str, found: dict[str, list[float]]) -> Figures:
    figures = {f"{kind}_{name}_cpu_us": round(statistics.median(took), 2) for name, took in found.items()}
    for name, suffix in (("nginx", ""), ("haproxy", "_haproxy")):
        if name in found:
            ratio = sum(found["edge"]) / max(sum(found[name]), 1e-9)
            figures[f"{kind}_cpu_ratio{suffix}"] = round(ratio, 3)
    return figures


def spent(proxy: Proxy, units: int, work: object) -> float:
    """CPU microseconds of ``proxy`` for each of ``units``, while ``work`` (a coroutine) loads it."""
    before = proxy.cpu()
    uvloop.run(work)
    time.sleep(0.4)  # the log's last batch is part of the price
    return (proxy.cpu() - before) / units * 1e6


def profile(folder: Path, options: argparse.Namespace) -> None:
    """Print where the edge's loop spends its time under the load of one kind."""
    kind = options.profile
    bench = Bench(folder, options)
    name = ("full" if kind == "full" else "plain") + "-profile"
    with backend(folder, bench.model), bench.stage.up(name) as up:
        if kind == "tls":
            uvloop.run(load.ask(up[name].tls, load.PLAIN, CONNECTIONS, options.requests, bench.context))
        else:
            path = {"full": load.CHAT, "sse": load.STREAM}.get(kind, load.PLAIN)
            asked, at_once = (STREAMS, STREAMS) if kind == "sse" else (options.requests, CONNECTIONS)
            uvloop.run(load.ask(up[name].plain, path, at_once, asked))
    (found,) = folder.glob("*/profile")
    pstats.Stats(str(found)).sort_stats("tottime").print_stats(40)


@contextmanager
def backend(folder: Path, port: int) -> Iterator[None]:
    """The backend, while the block runs."""
    own = folder / "backend"
    own.mkdir()
    with proxies.running(own, sys.executable, load.__file__, str(port), cores=proxies.BESIDE) as child:
        proxies.wait_for(port, child, own)
        yield


def _kinds(text: str) -> list[str]:
    kinds = text.split(",")
    if set(kinds) - set(KINDS):
        raise argparse.ArgumentTypeError(f"kinds are {', '.join(KINDS)}")
    return kinds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20_000, help="of each round, kind and proxy")
    parser.add_argument(
        "--only", type=_kinds, default=list(KINDS), help="comma-separated: " + ", ".join(KINDS)
    )
    parser.add_argument("--profile", choices=("plain", "full", "sse", "tls"))
    options = parser.parse_args()
    os.sched_setaffinity(0, proxies.BESIDE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.profile:
            profile(folder, options)
            return
        bench = Bench(folder, options)
        with backend(folder, bench.model):
            figures = bench.figures()
    print(json.dumps(figures) if options.json else "\n".join(f"{k:36} {v}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
