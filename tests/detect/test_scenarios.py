"""The real statements on the real engine: attacks are found, soon; honest traffic is left alone."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from deepmoat.detect.detector import DETECTORS, Detector, when
from deepmoat.detect.run import run, sweep
from deepmoat.detect.schedule import Due, window
from deepmoat.detect.settings import DetectSettings, detectors
from deepmoat.model import Finding, Severity
from deepmoat.query.door import Door

Put = Callable[[Any], None]

ATTACKS: tuple[tuple[str, str, str, str, float], ...] = (
    # name, what it sends at START, detector, cause, found within seconds of event time
    ("burst", "burst(START)", "request_burst", "request_burst:chat.example", 2),
    ("burst, begun late in a second", "burst(START + 0.9)", "request_burst", "request_burst:chat.example", 2),
    ("burst, begun in mid-second", "burst(START + 0.5)", "request_burst", "request_burst:chat.example", 2),
    ("40 clients at 30 a second", "burst(START, 40)", "request_burst", "request_burst:chat.example", 2),
    (
        "40 clients, nine a second each",
        "burst(START, 40, 9.5)",
        "request_burst",
        "request_burst:chat.example",
        3,
    ),
    ("flood under a rate limit", "limited(START)", "request_burst", "request_burst:chat.example", 3),
    ("flood that is challenged", "challenged(START)", "request_burst", "request_burst:chat.example", 3),
    ("slower burst", "burst(START, 1, 16)", "request_burst", "request_burst:chat.example", 6),
    ("password guessing", "guessing(START)", "login_bruteforce", "login_bruteforce:web", 6),
    ("siege of one account", "siege(START)", "login_bruteforce", "login_bruteforce:web", 15),
    ("slow spray", "spray(START)", "login_bruteforce", "login_bruteforce:web", 120),
    ("scanner", "scan(START)", "scanner", "scanner:chat.example", 5),
    ("injection mix", "injections(START)", "injection", "injection:chat.example", 3),
    ("outage", "outage(START)", "error_surge", "error_surge:chat.example", 5),
    ("new country, refused", "newcomers(START, 401)", "new_country", "new_country:BR", 120),
)
HONEST = ("solved", "nat_logins", "login_outage", "dead_links", "wordpress", "dashboard", "few_errors")


def detector(name: str) -> Detector[Any]:
    return DETECTORS.get(name)()


def certain(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if f.severity >= Severity.HIGH]


def delay(door: Door, watch: Detector[Any], start: float, most: float, step: float) -> float:
    """Seconds of event time from ``start`` until a live look finds it; about ``most`` when none does."""
    at = start
    while at < start + most:
        at += step
        since, _ = window(watch, when(at))
        found = run(door, watch, since, when(at), when(at))
        if certain(found) or (found and watch.name == "error_surge"):
            break
    return at - start


def history(traffic: ModuleType, hours: int) -> Iterator[dict[str, Any]]:
    """A few requests a minute in the hours before, so that there is a past."""
    for n in range(hours * 360):
        at = traffic.HOUR - 10 * (n + 1)
        yield traffic.access(at, f"203.0.113.{n % 200 + 1}", "/", client_country=traffic.COUNTRIES[n % 8])


@pytest.mark.parametrize(("name", "sent", "by", "cause", "most"), ATTACKS, ids=[a[0] for a in ATTACKS])
def test_an_attack_is_found_in_time(
    door: Door, put: Put, traffic: ModuleType, name: str, sent: str, by: str, cause: str, most: float
) -> None:
    minutes = 40 if by in {"login_bruteforce", "new_country"} else 10
    start = traffic.HOUR + 60 * minutes + 7
    put(traffic.calm(minutes=minutes + 14))
    if by == "new_country":
        put(history(traffic, 3))
    put(eval(sent, {**vars(traffic), "START": start}))
    first = start + (0.9 if "0.9" in sent else 0.5 if "0.5" in sent else 0)
    took = delay(door, detector(by), first, most + 60, max(0.25, most / 12))
    print(f"{name}: {took:.2f} s")
    assert took <= most
    findings = certain(run(door, detector(by), when(traffic.HOUR - 11_000), when(start + 700), when(start)))
    assert {f.cause for f in findings} == {cause}
    assert sum(f.count for f in findings) >= 5


def test_forty_clients_are_forty_findings_of_one_cause(door: Door, put: Put, traffic: ModuleType) -> None:
    start = traffic.HOUR + 600
    put(traffic.burst(start, 40))
    found = run(door, detector("request_burst"), when(traffic.HOUR), when(start + 60), when(start))
    assert len(found) == 40
    assert {f.cause for f in found} == {"request_burst:chat.example"}
    assert all(f.first == when(start) and 595 <= f.count <= 600 for f in found)


def test_a_success_after_failures_is_critical_also_in_a_later_bucket(
    door: Door, put: Put, traffic: ModuleType
) -> None:
    at_edge = (
        traffic.HOUR + 600 - 30.5
    )  # sixty attempts, two a second: the login succeeds in the next ten minutes
    put(traffic.guessing(at_edge, success=True))
    (found,) = run(door, detector("login_bruteforce"), when(traffic.HOUR), when(at_edge + 60), when(at_edge))
    assert found.severity is Severity.CRITICAL
    assert found.subject == ("client_address", "45.30.0.1")
    assert "T1078" in found.techniques


@pytest.mark.parametrize("seed", [1, 7])
def test_an_honest_hour_with_a_flash_crowd_is_left_alone(
    door: Door, put: Put, traffic: ModuleType, seed: int
) -> None:
    records = traffic.honest(seed)
    assert len(records) > 100_000
    put(records)
    put(history(traffic, 3))
    dues = [Due(d, when(traffic.HOUR), when(traffic.HOUR + 3700)) for d in detectors(DetectSettings())]
    swept = sweep(door, dues, when(traffic.HOUR + 3700))
    assert swept.failures == []
    assert [(f.cause, f.summary) for f in swept.findings if f.severity >= Severity.MEDIUM] == []


@pytest.mark.parametrize("name", HONEST)
def test_honest_traffic_that_looks_bad_is_left_alone(
    door: Door, put: Put, traffic: ModuleType, name: str
) -> None:
    start = traffic.HOUR + 1200
    put(traffic.calm(minutes=30))
    put(getattr(traffic, name)(start))
    dues = [Due(d, when(traffic.HOUR - 900), when(traffic.HOUR + 1800)) for d in detectors(DetectSettings())]
    swept = sweep(door, dues, when(traffic.HOUR + 1800))
    assert swept.failures == []
    assert [(f.cause, f.summary) for f in certain(swept.findings)] == []


def test_a_flash_crowd_from_a_new_country_that_is_answered_well_is_a_report(
    door: Door, put: Put, traffic: ModuleType
) -> None:
    start = traffic.HOUR + 2400
    put([*history(traffic, 3), *traffic.calm(minutes=50), *traffic.newcomers(start, 200)])
    (found,) = run(door, detector("new_country"), when(traffic.HOUR - 11_000), when(start + 700), when(start))
    assert found.severity is Severity.REPORT
    assert found.cause == "new_country:BR:likely"


def test_a_country_is_not_new_without_enough_history(door: Door, put: Put, traffic: ModuleType) -> None:
    start = traffic.HOUR + 2400
    put([*traffic.calm(minutes=50), *traffic.newcomers(start, 401)])
    assert run(door, detector("new_country"), when(traffic.HOUR), when(start + 700), when(start)) == []


def test_a_login_outage_does_not_hide_an_attacker_with_an_address_of_its_own(
    door: Door, put: Put, traffic: ModuleType
) -> None:
    start = traffic.HOUR + 2400
    put([*traffic.login_outage(start), *traffic.guessing(start - 100)])
    found = run(door, detector("login_bruteforce"), when(traffic.HOUR), when(start + 700), when(start))
    assert [f.subject[1] for f in certain(found)] == ["45.30.0.1"]


def test_live_looks_and_the_whole_file_agree(door: Door, put: Put, traffic: ModuleType) -> None:
    start = traffic.HOUR + 580
    parts = (
        traffic.burst(start, 3),
        traffic.guessing(start),
        traffic.scan(start),
        traffic.injections(start),
    )
    put([*traffic.calm(minutes=12), *(record for part in parts for record in part)])
    live: set[tuple[str, str]] = set()
    watched = [
        detector(n) for n in ("request_burst", "login_bruteforce", "scanner", "injection", "error_surge")
    ]
    for second in range(1, 16):
        now = when(start + second)
        dues = [Due(d, window(d, now)[0], now) for d in watched]
        live |= {(f.cause, f.subject[1]) for f in certain(sweep(door, dues, now).findings)}
    whole = sweep(door, [Due(d, when(traffic.HOUR), when(start + 15)) for d in watched], when(start + 15))
    assert live == {(f.cause, f.subject[1]) for f in certain(whole.findings)}
    assert {cause.split(":")[0] for cause, _ in live} >= {
        "request_burst",
        "login_bruteforce",
        "scanner",
        "injection",
    }
