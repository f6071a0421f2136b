"""Three days of a real public site: its scanners are found, its crawlers and readers are left alone."""

import gzip
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from deepmoat.detect.detector import when
from deepmoat.detect.run import sweep
from deepmoat.detect.schedule import Due
from deepmoat.detect.settings import DetectSettings, detectors
from deepmoat.model import Severity
from deepmoat.query.door import Door

LOG = Path(__file__).parent / "corpus" / "apache_public_site.log.gz"
LINE = re.compile(r'(\S+) \S+ \S+ \[(.+?)\] "(\S+) (\S+)[^"]*" (\d+) \S+(?: "(.*?)" "(.*?)")?')
SCANNERS = {
    "91.236.75.25": Severity.HIGH,  # eight places where an upload form could be
    "188.165.243.45": Severity.MEDIUM,  # each of these: /wp-login.php, /administrator/, /admin.php
    "195.250.34.144": Severity.MEDIUM,
    "198.245.61.43": Severity.MEDIUM,
    "95.78.54.93": Severity.MEDIUM,
}


def lines() -> Iterator[dict[str, Any]]:
    for line in gzip.decompress(LOG.read_bytes()).decode().splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        client, time, method, target, status, referer, agent = match.groups()
        path, _, query = target.partition("?")
        yield {
            "logstore": "access",
            "time": datetime.strptime(time, "%d/%b/%Y:%H:%M:%S %z").timestamp(),
            "client_address": client,
            "http_request_method": method,
            "url_path": path,
            "url_query": query,
            "http_response_status_code": int(status),
            "http_request_referer": "" if referer in ("-", None) else referer,
            "user_agent_original": agent or "",
        }


def test_every_scanner_of_a_real_site_is_found_and_nobody_else(door: Door, put: Any) -> None:
    records = list(lines())
    assert len(records) > 9_990
    put(records)
    times = [r["time"] for r in records]
    since, until = when(min(times)), when(max(times) + 1)
    swept = sweep(door, [Due(d, since, until) for d in detectors(DetectSettings())], until)
    assert swept.failures == []
    assert {f.subject[1]: f.severity for f in swept.findings} == SCANNERS
    assert {f.detector for f in swept.findings} == {"scanner"}
