"""error_surge: a host answers with far more server errors than it did in the hour before."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from math import log
from statistics import median

from deepmoat.detect.detector import Case, Detector, Row, cause, evidence, grouped, stretches, when
from deepmoat.detect.tail import log_tail
from deepmoat.kit.settings import Settings
from deepmoat.model import Finding, Severity

BLOCK = 600
GAP = 300
FAILED = """* | select url_path, http_response_status_code, count(*) as errors from log
 where server_address = {host} and http_response_status_code >= 500
 group by url_path, http_response_status_code order by errors desc limit 50"""


class Thresholds(Settings, frozen=True):
    """``[detect.error_surge]``: server errors of one host in 30 seconds.

    At least ``errors`` of them, at least ``share`` of the requests and ``times`` the usual share, and less
    likely by chance than one in ``chance``. From ``grave`` of the requests on it is an outage.
    """

    errors: int = 10
    share: float = 0.05
    times: float = 4.0
    chance: float = 1e9
    grave: float = 0.3


def _row(loud: int, start: int, requests: int, errors: int) -> Row:
    """A row of the statement, for the cases: ``start`` in seconds after a block's start."""
    return {
        "host": "shop.example",
        "loud": loud,
        "start": 1_700_000_400 + start,
        "requests": requests,
        "errors": errors,
        "worst": "/buy",
        "status": 503,
        "first": 1_700_000_400 + start,
        "last": 1_700_000_429 + start,
    }


class ErrorSurge(Detector[Thresholds]):
    """A surge of 5xx answers of one host against its own last hour.

    Buckets of 30 seconds with few errors are added up to blocks of ten minutes; loud ones keep their own
    row. What is usual is the median share of the last six blocks that ended before.
    """

    QUERY = """* | select host, loud, case when loud = 1 then bucket else bucket - bucket % 600 end as start,
          sum(asked) as requests, sum(failed) as errors, max(worst) as worst, max(status) as status,
          min(first) as first, max(last) as last
        from (
          select host, bucket, asked, failed, worst, status, first, last,
            case when failed >= {errors} and failed >= {share} * asked then 1 else 0 end as loud
          from (
            select server_address as host, __time__ - __time__ % 30 as bucket, count(*) as asked,
              count_if(http_response_status_code >= 500) as failed,
              max(case when http_response_status_code >= 500 then url_path else '' end) as worst,
              max(http_response_status_code) as status, min(__time__) as first, max(__time__) as last
            from log group by server_address, __time__ - __time__ % 30
          ) as buckets
        ) as marked
        group by host, loud, case when loud = 1 then bucket else bucket - bucket % 600 end
        order by requests desc limit 50000"""
    BUCKET, WINDOW, EVERY = 600, 4200, 5.0
    THRESHOLDS = Thresholds
    TECHNIQUES = ("T1499",)
    BLIND = (
        "Errors that rise over more than half an hour: they become the usual. Fewer than ten errors in 30 "
        "seconds. Errors that are answered with a status below 500. A surge in one path of a busy host that "
        "stays below 5 % of all its requests."
    )
    CASES = (
        Case([_row(0, 0, 6000, 6), _row(1, 600, 300, 90)], found=["shop.example"]),
        Case([_row(1, 0, 40, 40)], found=["shop.example"]),
        Case([_row(1, 0, 6000, 720), _row(1, 600, 300, 40)], found=["shop.example"]),
        Case([_row(0, 0, 6000, 600), _row(1, 600, 300, 40)], found=[]),
        Case([_row(0, 0, 6000, 6), _row(0, 600, 300, 9)], found=[]),
        Case([], found=[]),
    )

    def judge(self, rows: Sequence[Row], now: datetime) -> Iterator[Finding]:
        """One finding a host and surge."""
        for buckets in grouped(rows, "host").values():
            shares = _shares(buckets)
            surges = [b for b in buckets if b["loud"] and self._surge(b, _usual(shares, b["start"]))]
            for stretch in stretches(surges, "start", GAP):
                yield self._finding(stretch, _usual(shares, stretch[0]["start"]))

    def _surge(self, bucket: Row, usual: float) -> bool:
        errors, requests = int(bucket["errors"]), int(bucket["requests"])
        if errors < max(self.at.share, self.at.times * usual) * requests:
            return False
        return log_tail(errors, requests, usual) <= -log(self.at.chance)

    def _finding(self, buckets: Sequence[Row], usual: float) -> Finding:
        host = str(buckets[0]["host"])
        first, last = when(buckets[0]["first"]), when(buckets[-1]["last"])
        peak = max(b["errors"] / b["requests"] for b in buckets)
        return Finding(
            detector=self.name,
            cause=cause(self.name, host),
            subject=("server_address", host),
            severity=Severity.HIGH if peak >= self.at.grave else Severity.MEDIUM,
            first=first,
            last=last,
            count=sum(b["errors"] for b in buckets),
            summary=_summary(buckets, usual),
            evidence=evidence(FAILED, self.LOGSTORE, first, last, host=host),
            techniques=self.TECHNIQUES,
        )


def _summary(buckets: Sequence[Row], usual: float) -> str:
    errors, requests = (sum(b[k] for b in buckets) for k in ("errors", "requests"))
    host, path = str(buckets[0]["host"]) or "the site", str(buckets[0]["worst"])[:80]
    text = f"{host} answered {errors} of {requests} requests with 5xx"
    return f"{text} ({100 * errors / requests:.0f} %; usual {100 * usual:.1f} %), such as {path}"


def _shares(buckets: Sequence[Row]) -> dict[int, float]:
    """The share of errors in each block of ten minutes, by its start. A block of few requests says
    little, so 50 requests with one error are added to each.
    """
    requests: dict[int, int] = {}
    errors: dict[int, int] = {}
    for bucket in buckets:
        block = int(bucket["start"]) // BLOCK * BLOCK
        requests[block] = requests.get(block, 0) + bucket["requests"]
        errors[block] = errors.get(block, 0) + bucket["errors"]
    return {block: (errors[block] + 1) / (requests[block] + 50) for block in requests}


def _usual(shares: dict[int, float], start: int) -> float:
    """The median share of the six blocks before the one of ``start``; 2 % where there are none."""
    block = start // BLOCK * BLOCK
    before = [share for at, share in shares.items() if block - 6 * BLOCK <= at < block]
    return median(before) if before else 0.02
