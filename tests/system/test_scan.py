"""``deepmoat scan`` and ``query --from``: real files, in processes of their own."""

import gzip
import json
import os
from pathlib import Path

import pytest
from system.moat import deepmoat

pytestmark = pytest.mark.system
SITE = Path(__file__).parents[1] / "detect" / "corpus" / "apache_public_site.log.gz"

GOOD = '192.0.2.{n} - - [27/Jan/2026:03:00:{n:02d} +0000] "GET /a HTTP/1.1" 200 12 "-" "curl/8"\n'


def scan(*args: str) -> dict[str, object]:
    done = deepmoat("scan", "--json", *args)
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_a_real_site_is_read_whole_and_its_scanner_is_found(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report = scan(str(SITE), "--html", str(page))
    assert report["files"][0]["lines"] == 10_000 and report["files"][0]["parser"] == "combined"
    assert report["records"]["access"] + sum(report["files"][0]["refused"].values()) == 10_000
    assert report["first"].startswith("2015-05-17") and report["last"].startswith("2015-05-20")
    assert any(i["detector"] == "scanner" for i in report["incidents"])
    assert report["failed_detectors"] == []
    assert "<script" not in page.read_text() and "deepmoat scan" in page.read_text()


def test_guessed_passwords_of_sshd_are_an_incident_with_country_and_evidence(tmp_path: Path) -> None:
    what = "Failed password for invalid user u{s} from 81.2.69.142 port 9 ssh2"
    line = "Jan 27 03:{m:02d}:{s:02d} web sshd[7]: " + what + "\n"
    log = tmp_path / "auth.log"
    log.write_text("".join(line.format(m=n // 60, s=n % 60) for n in range(120)))
    report = scan(str(log))
    assert report["files"][0]["parser"] == "sshd" and report["records"]["security"] == 120
    incidents = [i for i in report["incidents"] if i["detector"] == "login_bruteforce"]
    assert incidents and incidents[0]["subjects"][0] == ["client_address", "81.2.69.142"]
    assert report["attackers"][0]["country"] == "GB" and incidents[0]["evidence"]


def test_bad_input_is_counted_by_reason_and_loses_no_good_neighbour(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    good = [GOOD.format(n=n) for n in range(30)]
    bad = {
        "status": good[0].replace(" 200 ", " 70000 "),
        "future": good[0].replace("/2026:", "/2500:"),
        "past": good[0].replace("/2026:", "/1970:"),
        "torn": good[0][:20] + "\n",
        "long": "x" * (3 << 20) + "\n",
    }
    log.write_bytes("".join(good[:15] + list(bad.values()) + good[15:]).encode() + b"\xff\xfe\x00 junk\n")
    report = scan(str(log), "--parser", "combined")
    refused = report["files"][0]["refused"]
    assert report["records"]["access"] == 30
    assert sum(refused.values()) == len(bad) + 1 and len(refused) >= 3, refused


@pytest.mark.parametrize("parser", ["combined", "sshd"])
def test_a_file_out_of_an_archive_without_times_is_read(tmp_path: Path, parser: str) -> None:
    login = "Jan 27 03:00:01 web sshd[7]: Failed password for root from 81.2.69.142 port 9 ssh2\n"
    log = tmp_path / "a.log"
    log.write_text(GOOD.format(n=1) if parser == "combined" else login)
    os.utime(log, (315_532_800, 315_532_800))  # 1980-01-01, the first day a zip file knows
    report = scan(str(log), "--parser", parser)
    assert not report["files"][0]["refused"] and sum(report["records"].values()) == 1


def test_a_gzip_file_cut_short_gives_its_good_lines(tmp_path: Path) -> None:
    log = tmp_path / "access.log.gz"
    packed = gzip.compress("".join(GOOD.format(n=n % 60) for n in range(5000)).encode())
    log.write_bytes(packed[: len(packed) // 2])
    report = scan(str(log))
    assert 100 < report["records"]["access"] < 5000
    assert any("gzip" in reason for reason in report["files"][0]["refused"])


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x00" * 1000, b"just words\n"])
def test_a_file_without_attacks_is_status_nought(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(content)
    done = deepmoat("scan", str(log))
    assert done.returncode == 0 and "No incident" in done.stdout and "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = deepmoat("scan", str(tmp_path / "nope.log"))
    assert done.returncode == 1 and "no such file" in done.stderr and "nope.log" in done.stderr


def test_query_from_a_file_answers_in_select_order(tmp_path: Path) -> None:
    text = (
        "status:200 | select http_request_method as verb, count(*) as n group by verb order by n desc limit 2"
    )
    done = deepmoat("query", text, "--from", str(SITE), "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert list(rows[0]) == ["verb", "n"] and rows[0]["verb"] == "GET" and rows[0]["n"] > 8000


def test_query_from_a_file_cannot_reach_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("open sesame")
    for text in (
        f"* | select * from file('{tmp_path}/secret', 'LineAsString')",
        f"* | select file('{tmp_path}/secret')",
    ):
        done = deepmoat("query", text, "--from", str(SITE))
        assert done.returncode == 1 and "sesame" not in done.stdout + done.stderr


def test_hostile_log_text_reaches_neither_terminal_nor_page(tmp_path: Path) -> None:
    log, page = tmp_path / "access.log", tmp_path / "page.html"
    request = "GET /.env{n}?<script>alert(1)</script>\\x1b[2J HTTP/1.1"
    head = "192.0.2.66 - - [27/Jan/2026:03:00:{n:02d} +0000]"
    probe = f'{head} "{request}" 404 1 "-" "\\x1b]0;x"\n'
    log.write_text("".join(probe.format(n=n) for n in range(60)))
    done = deepmoat("scan", str(log), "--html", str(page))
    assert done.returncode == 0 and "\x1b" not in done.stdout
    assert "<script" not in page.read_text()
