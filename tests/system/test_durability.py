"""What was acknowledged is stored exactly once, whatever moment core is killed at."""

import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from system.moat import Moat

KILLS = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 20


class Sender(threading.Thread):
    """Sends numbered batches until told to stop; remembers which were acknowledged."""

    def __init__(self, url: str, key: str, name: str) -> None:
        super().__init__(daemon=True)
        self.url, self.key, self.sender = url, key, name
        self.acknowledged: set[str] = set()
        self.sent = 0
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            ids = [f"{self.sender}-{self.sent}-{n}" for n in range(random.randint(1, 40))]
            self.sent += 1
            if self._send(ids):
                self.acknowledged.update(ids)

    def _send(self, ids: list[str]) -> bool:
        now = time.time()
        body = "".join(
            json.dumps({"time": now, "client_address": "192.0.2.1", "request_id": i, "url_path": "/x"}) + "\n"
            for i in ids
        )
        request = urllib.request.Request(
            self.url, data=body.encode(), headers={"Authorization": f"Bearer {self.key}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status in (200, 202, 204)
        except (OSError, urllib.error.URLError):
            time.sleep(0.02)
            return False


@pytest.mark.system
def test_every_acknowledged_record_is_there_exactly_once_after_twenty_kills(tmp_path: Path) -> None:
    moat = Moat(tmp_path)
    choose = random.Random()
    key = moat.key("ingest")
    senders = [Sender(f"{moat.url}/ingest/access", key, f"s{n}") for n in range(3)]
    moat.start()
    for sender in senders:
        sender.start()
    for _ in range(KILLS):
        time.sleep(choose.uniform(0.05, 2.0))
        moat.kill()
        moat.start()
    for sender in senders:
        sender.stop.set()
    for sender in senders:
        sender.join(30)
    acknowledged = set().union(*(s.acknowledged for s in senders))
    assert len(acknowledged) > KILLS
    seen = stored(moat, [s.sender for s in senders])
    missing = acknowledged - seen.keys()
    doubled = {i for i, n in seen.items() if n != 1}
    assert not missing, f"{len(missing)} of {len(acknowledged)} lost: {sorted(missing)[:5]}"
    assert not doubled, f"stored more than once: {sorted(doubled)[:5]}"
    status, seconds = moat.stop()
    assert status == 0 and seconds < 10


def stored(moat: Moat, names: list[str]) -> dict[str, int]:
    """How often each id is stored, once everything sealed is loaded."""
    time.sleep(2)
    key = moat.key("analyst")
    total = moat.rows("* | select count(*) as n", key)[0]["n"]
    seen: dict[str, int] = {}
    for name in names:
        ids = f"where request_id like '{name}-%' group by request_id limit 100000"
        rows = moat.rows(f"* | select request_id, count(*) as n {ids}", key)
        seen.update((row["request_id"], int(row["n"])) for row in rows)
    assert sum(seen.values()) == int(total)
    return seen
