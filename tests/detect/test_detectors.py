"""What every detector owes: cases that hold, a blindness, techniques, settings, a bounded statement."""

import re
from datetime import UTC, datetime
from inspect import getdoc

import msgspec

from deepmoat.detect.detector import DETECTORS
from deepmoat.detect.settings import DetectSettings

NOW = datetime(2025, 1, 28, tzinfo=UTC)
SIX = ["error_surge", "injection", "login_bruteforce", "new_country", "request_burst", "scanner"]


def test_the_folder_holds_the_six_detectors() -> None:
    assert DETECTORS.names() == SIX


def test_every_case_holds() -> None:
    ran = {True: 0, False: 0}
    for name, kind in DETECTORS:
        for number, case in enumerate(kind.CASES):
            findings = list(kind().judge(case.rows, NOW))
            assert sorted(f.subject[1] for f in findings) == sorted(case.found), (name, number)
            ran[bool(case.found)] += 1
    assert ran[True] >= 12 and ran[False] >= 15, ran


def test_every_detector_has_a_case_that_fires_and_one_that_does_not() -> None:
    for name, kind in DETECTORS:
        found = {bool(case.found) for case in kind.CASES}
        assert found == {True, False}, name


def test_every_detector_says_what_it_is_blind_to_and_which_techniques_it_sees() -> None:
    for name, kind in DETECTORS:
        assert len(kind.BLIND.split()) > 15, name
        assert kind.TECHNIQUES and all(re.fullmatch(r"T\d{4}(\.\d{3})?", t) for t in kind.TECHNIQUES), name
        assert getdoc(kind), name


def test_every_statement_is_bounded_and_groups_by_time() -> None:
    for name, kind in DETECTORS:
        text = kind().query()
        assert re.search(r"limit \d+$", text), name
        assert "__time__" in text and "group by" in text, name
        assert not re.search(r"\{[a-z_]+\}", text), f"{name} leaves a place open"


def test_a_finding_names_its_detector_and_its_cause_begins_with_it() -> None:
    seen = 0
    for name, kind in DETECTORS:
        for finding in (f for case in kind.CASES for f in kind().judge(case.rows, NOW)):
            assert finding.detector == name and finding.cause.startswith(f"{name}:")
            assert finding.first <= finding.last and finding.count > 0 and finding.techniques
            assert finding.evidence.since == finding.first and finding.evidence.until > finding.last
            seen += 1
    assert seen >= 12


def test_every_detector_has_its_thresholds_in_the_settings() -> None:
    fields = {f.name: f.type for f in msgspec.structs.fields(DetectSettings)}
    assert fields == {"disabled": fields["disabled"]} | {name: kind.THRESHOLDS for name, kind in DETECTORS}


def test_one_attack_of_many_clients_has_one_cause() -> None:
    from deepmoat.detect.detectors.request_burst import RequestBurst

    row = dict(RequestBurst.CASES[0].rows[0])
    rows = [row | {"client_address": f"192.0.2.{n}"} for n in range(40)]
    findings = list(RequestBurst().judge(rows, NOW))
    assert len(findings) == 40
    assert {f.cause for f in findings} == {"request_burst:shop.example"}


def test_likely_and_certain_findings_never_share_a_cause() -> None:
    from deepmoat.detect.detectors.scanner import Scanner

    row = dict(Scanner.CASES[0].rows[0])
    rows = [row, row | {"client_address": "192.0.2.9", "probes": 30}]
    causes = {f.subject[1]: f.cause for f in Scanner().judge(rows, NOW)}
    assert causes == {"192.0.2.1": "scanner:shop.example:likely", "192.0.2.9": "scanner:shop.example"}


def test_buckets_of_one_attack_are_one_finding_and_attacks_hours_apart_are_two() -> None:
    from deepmoat.detect.detectors.scanner import Scanner

    row = dict(Scanner.CASES[1].rows[0])
    at = [0, 300, 600, 30_000]
    rows = [row | {"bucket": t, "first": t + 5, "last": t + 200} for t in at]
    findings = list(Scanner().judge(rows, NOW))
    assert [(f.first.timestamp(), f.last.timestamp(), f.count) for f in findings] == [
        (5, 800, 150),
        (30_005, 30_200, 50),
    ]
