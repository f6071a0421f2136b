import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deepmoat.app.scan import page, text
from deepmoat.app.scan.report import (
    Attacker,
    File,
    Report,
    Series,
    attackers,
    printable,
    sparkline,
    step_for,
)
from deepmoat.model import Finding, Incident, Query, Severity

NOW = datetime(2026, 1, 27, 3, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\x1b[2J[red]\u202eevil"


def report(words: str) -> Report:
    incident = Incident(
        id="I",
        cause="c",
        detector="scanner",
        title=words,
        severity=Severity.HIGH,
        first=NOW,
        last=NOW,
        opened=NOW,
        subjects=(("client_address", words),),
        subject_count=1,
        countries=(words,),
        evidence=(Query(words),),
    )
    return Report(
        [File(words, "combined", 10, 100, {words: 1})],
        NOW,
        NOW,
        {"access": 9},
        [incident],
        [Attacker(words, words, NOW, NOW, 5, {"scanner": words})],
        [Series("access", NOW, 60, [1, 2], [0, 1], "errors")],
        [(words, 3)],
        [words],
        1.0,
    )


def on_terminal(report: Report) -> str:
    out = io.StringIO()
    Console(width=2000, file=out).print(text.render(report))
    return out.getvalue()


@given(st.text())
def test_log_text_never_reaches_the_terminal_as_a_command(words: str) -> None:
    shown = on_terminal(report(words + HOSTILE))
    assert "\x1b" not in shown and "\u202e" not in shown and "[red]" in shown


@given(st.text())
def test_log_text_never_reaches_the_page_as_markup(words: str) -> None:
    shown = page.render(report(words + HOSTILE))
    assert "<script>" not in shown and "&lt;script&gt;" in shown


def test_the_page_fetches_nothing() -> None:
    shown = page.render(report("x"))
    assert "default-src 'none'" in shown and "http://" not in shown and "https://" not in shown


@given(st.lists(st.integers(0, 10**9), max_size=200))
def test_a_sparkline_has_a_mark_for_every_bucket_that_is_not_empty(values: list[int]) -> None:
    shown = sparkline(values)
    assert len(shown) == len(values)
    assert [mark == " " for mark in shown] == [value == 0 for value in values]


@given(st.floats(0, 1e9), st.integers(1, 200))
def test_a_step_always_fits(seconds: float, columns: int) -> None:
    assert seconds / step_for(seconds, columns) <= columns


@given(st.text())
def test_printable_text_holds_no_control(words: str) -> None:
    assert all(c.isprintable() for c in printable(words))


def test_attackers_are_addresses_only_with_all_they_did() -> None:
    def finding(detector: str, subject: tuple[str, str], count: int) -> Finding:
        return Finding(
            detector=detector,
            cause="c",
            subject=subject,
            severity=Severity.HIGH,
            first=NOW,
            last=NOW,
            count=count,
            summary=f"{detector} {count}",
            evidence=Query("*"),
            country="DE",
        )

    rows = attackers(
        [
            finding("scanner", ("client_address", "192.0.2.1"), 5),
            finding("injection", ("client_address", "192.0.2.1"), 9),
            finding("request_burst", ("client_address", "192.0.2.2"), 90),
            finding("error_surge", ("server_address", "a.example"), 900),
        ]
    )
    assert [(r.address, r.records, sorted(r.did)) for r in rows] == [
        ("192.0.2.2", 90, ["request_burst"]),
        ("192.0.2.1", 9, ["injection", "scanner"]),
    ]


@pytest.mark.parametrize("words", ["", HOSTILE])
def test_an_empty_report_still_reads(words: str) -> None:
    empty = Report([], None, None, {}, [], [], [], [], [], 0.0)
    assert "No incident" in on_terminal(empty) and "No detector found" in page.render(empty)
