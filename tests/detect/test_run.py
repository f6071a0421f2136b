"""A run: one detector that cannot look never stops the others, and is counted and said."""

import logging
from datetime import datetime
from typing import Any

import pytest

from deepmoat.detect.detector import when
from deepmoat.detect.detectors.injection import Injection
from deepmoat.detect.detectors.request_burst import RequestBurst
from deepmoat.detect.run import run, sweep
from deepmoat.detect.schedule import Due
from deepmoat.kit.meters import dropped, snapshot
from deepmoat.model import Query, Result
from deepmoat.query.door import Door

NOW = when(1_763_805_700)
SINCE = when(1_763_805_500)


class Broken(RequestBurst):
    """Asks for a function that does not exist."""

    QUERY = "* | select no_such_function(url_path) from log limit 1"


def failures(name: str) -> float:
    labels = (("detector", name),)
    return sum(
        s.value for s in snapshot() if s.name == "deepmoat_detect_failures_total" and s.labels == labels
    )


def test_a_detector_that_fails_is_counted_and_said_and_the_others_look(
    door: Door, put: Any, traffic: Any, caplog: pytest.LogCaptureFixture
) -> None:
    put(traffic.injections(1_763_805_600))
    broken = Broken()
    before = failures(broken.name)
    with caplog.at_level(logging.ERROR):
        swept = sweep(door, [Due(broken, SINCE, NOW), Due(Injection(), SINCE, NOW)], NOW)
    assert [f.detector for f in swept.findings] == ["injection"]
    assert [f.detector for f in swept.failures] == [broken.name]
    assert "no_such_function" in swept.failures[0].reason
    assert "no_such_function" in caplog.text
    assert failures(broken.name) == before + 1
    assert run(door, broken, SINCE, NOW, NOW) == []


def test_rows_that_were_cut_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Cut:
        def ask(self, query: Query, now: datetime) -> Result:
            return Result(("client_address",), [], limited="max_rows")

    before = dropped("detect.injection", "limited")
    with caplog.at_level(logging.WARNING):
        assert run(Cut(), Injection(), SINCE, NOW, NOW) == []
    assert dropped("detect.injection", "limited") == before + 1
    assert "max_rows" in caplog.text


class Narrow(Injection):
    """Lets one row through."""

    QUERY = Injection.QUERY.replace("limit 20000", "limit 1")


def test_rows_beyond_the_statements_own_limit_are_said_too(
    door: Door, put: Any, traffic: Any, caplog: pytest.LogCaptureFixture
) -> None:
    attacks = [
        r | {"client_address": f"192.0.2.{n}"} for n, r in enumerate(traffic.injections(1_763_805_600))
    ]
    put(attacks)
    narrow = Narrow()
    before = dropped(f"detect.{narrow.name}", "limited")
    with caplog.at_level(logging.WARNING):
        assert len(run(door, narrow, SINCE, NOW, NOW)) == 1
    assert dropped(f"detect.{narrow.name}", "limited") == before + 1
    assert "limit 1" in caplog.text


def test_no_records_are_no_findings(door: Door) -> None:
    from deepmoat.detect.settings import DetectSettings, detectors

    swept = sweep(door, [Due(d, SINCE, NOW) for d in detectors(DetectSettings())], NOW)
    assert swept == ([], [])
