"""Ingestion end to end beside the same segment loaded by hand: records per CPU second, and their ratio.

Ours is everything between a sender's body and a queryable row: check, append, fdatasync, then the Loader's
statements, with the source, the country, redaction, logins and rejected lines. By hand is one plain INSERT …
SELECT FROM file(…) of the same columns, for data known to be good. Both run in turn, in one process, into
tables of their own; CPU time is the process's, all threads.

    python bench/ingest.py [--json] [--rounds 5] [--rows 40000]
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from deepmoat.collect.enrich import country
from deepmoat.collect.otlp import SETTINGS as PROTOBUF
from deepmoat.collect.otlp import STRUCTURE
from deepmoat.collect.readers import Readers
from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.spool import Spool, Stream, sealed
from deepmoat.model import LOGSTORES
from deepmoat.store.logs.database import Database, LogSettings
from deepmoat.store.logs.load import Load
from deepmoat.store.logs.loader import Loader

ACCESS = LOGSTORES["access"]
NOW = 1_735_725_600.0
AGENTS = [f"Mozilla/5.0 (X11; Linux x86_64; rv:{n}.0) Gecko/20100101 Firefox/{n}.0" for n in range(90, 130)]
WORDS = ["checkout", "cart", "payment", "shipped", "order", "queued", "worker", "retry", "cache", "index"]


def rows(count: int, dice: random.Random) -> Iterator[dict[str, object]]:
    """Access records of about 700 bytes with twelve attributes."""
    for place in range(count):
        yield {
            "time": NOW + place / 1000,
            "client_address": f"{dice.randrange(11, 120)}.{dice.randrange(256)}.{dice.randrange(256)}.7",
            "http_request_method": dice.choice(("GET", "POST")),
            "server_address": "api.example.com",
            "url_path": f"/v1/things/{dice.randrange(10**6)}",
            "url_query": f"page={dice.randrange(99)}&sort=name",
            "http_response_status_code": dice.choice((200, 200, 200, 404, 500)),
            "http_response_body_size": dice.randrange(10**6),
            "duration": round(dice.random(), 4),
            "user_agent_original": dice.choice(AGENTS),
            "http_request_referer": "https://www.example.com/",
            "request_id": f"{dice.getrandbits(64):016x}",
            "attributes": {f"label.{n}": f"{dice.choice(WORDS)} {dice.randrange(1000)}" for n in range(12)},
        }


def ndjson_bodies(count: int, dice: random.Random) -> list[bytes]:
    """Bodies of 400 lines."""
    lines = [msgspec.json.encode(row) + b"\n" for row in rows(count, dice)]
    return [b"".join(lines[n : n + 400]) for n in range(0, count, 400)]


def foreign_bodies(count: int, dice: random.Random) -> list[bytes]:
    """The same records under other products' names, with fields nobody knows: the slow way in."""
    names = {
        "http_response_status_code": "status",
        "client_address": "real_client_ip",
        "attributes": "labels",
    }
    found = [{names.get(k, k): v for k, v in row.items()} for row in rows(count, dice)]
    lines = [msgspec.json.encode(row) + b"\n" for row in found]
    return [b"".join(lines[n : n + 400]) for n in range(0, count, 400)]


def otlp_bodies(count: int, dice: random.Random) -> list[bytes]:
    """Requests of 400 log records with eight attributes, as SDKs batch them."""
    bodies = []
    for _ in range(0, count, 400):
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        for key, value in (
            ("service.name", "shop"),
            ("host.name", "web-1"),
            ("telemetry.sdk.language", "python"),
        ):
            resource.resource.attributes.add(key=key).value.string_value = value
        scope = resource.scope_logs.add()
        scope.scope.name = "shop.checkout"
        for place in range(400):
            record = scope.log_records.add(time_unix_nano=int(NOW * 1e9) + place * 10**6, severity_number=9)
            record.severity_text = "INFO"
            record.body.string_value = " ".join(dice.choices(WORDS, k=12))
            record.trace_id, record.span_id = dice.randbytes(16), dice.randbytes(8)
            for n in range(6):
                record.attributes.add(key=f"label.{n}").value.string_value = dice.choice(WORDS)
            record.attributes.add(key="items").value.int_value = dice.randrange(100)
            record.attributes.add(key="total").value.double_value = round(dice.random() * 100, 2)
        bodies.append(request.SerializeToString())
    return bodies


def nginx_bodies(count: int, dice: random.Random) -> list[bytes]:
    """Combined lines of about 230 bytes."""
    lines = []
    for place in range(count):
        client = f"{dice.randrange(11, 120)}.{dice.randrange(256)}.{dice.randrange(256)}.7"
        moment = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(NOW + place // 1000))
        page = f"{dice.choice(WORDS)}-{dice.choice(WORDS)}.html?page={place % 9}"
        target = f"/articles/{dice.randrange(10**5)}/{page}"
        status, size = dice.choice((200, 200, 200, 301, 404)), dice.randrange(10**6)
        tail = f'"https://www.example.com/articles/" "{dice.choice(AGENTS)}"'
        lines.append(f'{client} - - [{moment}] "GET {target} HTTP/1.1" {status} {size} {tail}\n'.encode())
    return [b"".join(lines[n : n + 400]) for n in range(0, count, 400)]


ROW_COLUMNS = {c.name: c.type for c in ACCESS.columns if c.name not in ("client_country", "source")}
COUNTRY = "dictGetOrDefault('moat.countries', 'code', tuple(client_address), '')"
BY_HAND_ROWS = Load(
    "access",
    "JSONEachRow",
    ", ".join(f"{name} {kind}" for name, kind in ROW_COLUMNS.items()),
    (*ROW_COLUMNS, "client_country", "source"),
    f"SELECT {', '.join(ROW_COLUMNS)}, {COUNTRY}, 'by hand' FROM {{file}}",
    settings={"date_time_input_format": "best_effort"},
)
_VALUE = (
    "if(x.value.value = 'string_value', x.value.string_value, multiIf(x.value.value = 'int_value', "
    "toString(x.value.int_value), x.value.value = 'double_value', toString(x.value.double_value), ''))"
)
BY_HAND_OTLP = Load(
    "app",
    "Protobuf",
    STRUCTURE,
    (
        *("time", "severity_text", "severity_number", "service_name", "host_name", "scope_name"),
        *("trace_id", "span_id", "body", "attributes", "source"),
    ),
    "SELECT fromUnixTimestamp64Nano(toInt64(l.time_unix_nano), 'UTC'), l.severity_text, l.severity_number, "
    "arrayFirst(x -> x.key = 'service.name', r.resource.attributes).value.string_value, "
    "arrayFirst(x -> x.key = 'host.name', r.resource.attributes).value.string_value, s.scope.name, "
    "lower(hex(l.trace_id)), lower(hex(l.span_id)), l.body.string_value, "
    "mapFromArrays(arrayConcat(l.attributes, r.resource.attributes).key, "
    f"arrayMap(x -> {_VALUE}, arrayConcat(l.attributes, r.resource.attributes))), 'by hand' "
    "FROM (SELECT arrayJoin(resource_logs) AS r FROM {file}) "
    "ARRAY JOIN r.scope_logs AS s ARRAY JOIN s.log_records AS l",
    settings=PROTOBUF,
)
BY_HAND_NGINX = Load(
    "access",
    "LineAsString",
    "line String",
    (
        *("time", "client_address", "user_name", "http_request_method", "url_path", "url_query"),
        *("network_protocol_version", "http_response_status_code", "http_response_body_size"),
        *("http_request_referer", "user_agent_original", "client_country", "source"),
    ),
    "SELECT parseDateTime(substring(p[1], -28, 26), '%d/%b/%Y:%H:%i:%s %z', 'UTC'), "
    "toIPv6(who[1]) AS client_address, "
    "if(who[3] = '-', '', who[3]), request[1], cutQueryString(request[2]), queryString(request[2]), "
    "substring(request[3], 6), toUInt16(result[2]), toUInt64(result[3]), if(p[4] = '-', '', p[4]), "
    f"if(p[6] = '-', '', p[6]), {COUNTRY}, 'by hand' "
    "FROM (SELECT splitByChar('\"', line) AS p, splitByChar(' ', p[1]) AS who, "
    "splitByChar(' ', p[2]) AS request, splitByChar(' ', p[3]) AS result FROM {file})",
)
CASES: dict[str, tuple[str, str, Callable[[int, random.Random], list[bytes]], Load]] = {
    "ndjson": ("ndjson", "access", ndjson_bodies, BY_HAND_ROWS),
    "otlp": ("otlp_protobuf", "app", otlp_bodies, BY_HAND_OTLP),
    "nginx": ("combined", "access", nginx_bodies, BY_HAND_NGINX),
    "foreign_ndjson": ("ndjson", "access", foreign_bodies, BY_HAND_ROWS),
}


class Bench:
    """One database, one spool, and the two ways in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(LogSettings(connections=1), folder=folder)
        country.install(self.database, folder)
        self.database.command(
            "SYSTEM STOP MERGES"
        )  # they come when they like, and count for whoever runs then
        self.readers = Readers(CollectSettings(), b"a key of the bench alone, 32 byte")
        self.spool = Spool(folder / "spool", whole=lambda name: self.readers.get(name).whole)
        self.loader = Loader(self.database, self.readers.get, folder / "scratch")
        self.times = 0

    def ours(self, stream: Stream, bodies: list[bytes]) -> float:
        """CPU seconds from bodies to rows; eight senders share an fdatasync."""
        start = time.process_time()
        reader = self.readers.get(stream.receiver)
        for place, body in enumerate(bodies):
            checked = reader.check(body, NOW + 3600, stream.logstore)
            if checked.refused:
                raise RuntimeError(f"refused: {checked.refused[:3]}")
            self.spool.append(stream, checked.good, NOW + 3600)
            if place % 8 == 7:
                self.spool.sync()
        self.spool.sync()
        self.spool.seal()
        for segment in sealed(self.spool.folder):
            self.loader.load(segment, NOW + 3600)
        return time.process_time() - start

    def by_hand(self, load: Load, path: Path) -> float:
        """CPU seconds of the plain statement."""
        self.times += 1
        start = time.process_time()
        self.database.load(load, path, f"by hand {self.times}")
        return time.process_time() - start

    def segment(self, stream: Stream, bodies: list[bytes]) -> Path:
        """The same records as one file, for the plain statement."""
        reader = self.readers.get(stream.receiver)
        path = self.folder / f"{stream.receiver}-{len(bodies)}-{stream.source}.data"
        path.write_bytes(b"".join(reader.check(b, NOW + 3600, stream.logstore).good for b in bodies))
        return path

    def run(self, name: str, count: int, rounds: int) -> dict[str, float]:
        """Best rates, thousand records per CPU second, and the ratio of the two.

        The best of the rounds and not their median: what else runs on the machine only ever takes time.
        """
        receiver, logstore, make, load = CASES[name]
        bodies = make(count, random.Random(7))
        stream = Stream(receiver, logstore, name)
        path = self.segment(stream, bodies)
        ours, hand = [], []
        for _ in range(rounds + 1):
            for logs in (logstore, "security", "rejected"):
                self.database.command(f"TRUNCATE TABLE {logs}")
            ours.append(self.ours(stream, bodies))
            stored = self.database.scalar(f"SELECT count() FROM {logstore}")
            hand.append(self.by_hand(load, path))
            if (stored, self.database.scalar(f"SELECT count() FROM {logstore}")) != (count, 2 * count):
                raise RuntimeError(f"{name}: {stored} rows of {count}")
        mine, plain = min(ours[1:]), min(hand[1:])
        return {
            f"{name}_ratio": round(plain / mine, 3),
            f"{name}_thousand_per_cpu_second": round(count / mine / 1000, 1),
            f"{name}_by_hand_thousand_per_cpu_second": round(count / plain / 1000, 1),
        }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one flat object")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--only", choices=[*CASES], action="append")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        figures: dict[str, float] = {}
        for name in args.only or CASES:
            figures |= bench.run(name, args.rows // 400 * 400, args.rounds)
    if args.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:50} {value:10.3f}")


if __name__ == "__main__":
    main()
