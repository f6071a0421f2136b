"""new_country: a country that was not there before suddenly makes a share of the requests.

New users may come from anywhere, and a good day looks like a flood at first. So the verdict weighs how
they are received: when the service refuses most of what they ask (401, 403, 429), it is an attack; when
they are answered like everyone else, it is a report for whoever plans capacity.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from math import log

from deepmoat.detect.detector import Case, Detector, Row, cause, evidence, grouped, stretches, when
from deepmoat.detect.tail import log_tail
from deepmoat.kit.settings import Settings
from deepmoat.model import Finding, Severity

BUCKET = 1800
"""Half an hour: short enough to see a sudden change, long enough that a small country shows up."""


STORES = {"requests": "access", "logins": "security"}
CLIENTS = {
    "requests": """* | select client_address, count(*) as requests, approx_distinct(url_path) as paths,
 count_if(http_response_status_code in (401, 403, 429)) as refused
 from log where client_country = {country} group by client_address order by requests desc limit 50""",
    "logins": """* | select client_address, count(*) as logins, approx_distinct(user_name) as accounts,
 count_if(event_outcome = 'failure') as failures from log where event_action = 'login'
 and client_country = {country} group by client_address order by logins desc limit 50""",
}
"""Evidence by what the country does."""


class Thresholds(Settings, frozen=True):
    """``[detect.new_country]``: requests, or logins, of one country in half an hour.

    At least ``requests`` (``logins``) and ``share`` of all, after at least ``history`` times as many over
    ``hours`` in which it made at most ``before`` of all. ``refused`` of them make it an attack.
    """

    requests: int = 50
    logins: int = 20
    share: float = 0.1
    history: int = 10
    hours: float = 2.0
    before: float = 0.002
    refused: float = 0.5


def _day(
    country: str, counts: Sequence[int], refused: Sequence[int] | None = None, kind: str = "requests"
) -> Row:
    """A row of the statement, for the cases: ``counts`` from the start of the day on."""
    starts = [1_699_920_000 + BUCKET * n for n, count in enumerate(counts) if count]
    return {
        "day": 1_699_920_000,
        "kind": kind,
        "country": country,
        "buckets": starts,
        "counts": [c for c in counts if c],
        "refusals": list(refused or [0] * len(starts)),
        "firsts": starts,
        "lasts": [at + BUCKET - 1 for at in starts],
    }


class NewCountry(Detector[Thresholds]):
    """A country without presence before that suddenly makes a share of the requests or of the logins."""

    QUERY = """* | select bucket - bucket % 86400 as day, kind, country, array_agg(bucket) as buckets,
          array_agg(asked) as counts, array_agg(refused) as refusals,
          array_agg(first) as firsts, array_agg(last) as lasts, sum(asked) as total
        from (
          select kind, second - second % 1800 as bucket, country, count(*) as asked,
            sum(bad) as refused, min(second) as first, max(second) as last
          from (
            select 'requests' as kind, __time__ as second, client_country as country,
              case when http_response_status_code in (401, 403, 429) then 1 else 0 end as bad
            from log where client_country <> ''
            union all
            select 'logins' as kind, __time__ as second, client_country as country,
              case when event_outcome = 'failure' then 1 else 0 end as bad
            from security where event_action = 'login' and client_country <> ''
          ) as came
          group by kind, second - second % 1800, country
        ) as presence
        group by bucket - bucket % 86400, kind, country order by total desc limit 50000"""
    BUCKET, WINDOW, EVERY = BUCKET, 24 * 3600, 30.0
    THRESHOLDS = Thresholds
    TECHNIQUES = ("T1090",)
    BLIND = (
        "The first two hours of a log. Attackers from countries where users already are, or from many "
        "countries at once. Addresses whose country is unknown. Attackers that the service answers well are "
        "told as a report."
    )
    CASES = (
        Case([_day("DE", [300] * 8), _day("BR", [0] * 7 + [90], [80])], found=["BR"]),
        Case([_day("DE", [300] * 8), _day("BR", [0] * 7 + [90], [0])], found=["BR"]),
        Case(
            [_day("DE", [60] * 8, kind="logins"), _day("BR", [0] * 7 + [40], [40], kind="logins")],
            found=["BR"],
        ),
        Case([_day("DE", [300] * 8), _day("BR", [30] * 7 + [90])], found=[]),
        Case([_day("DE", [300] * 2), _day("BR", [0, 90])], found=[]),
        Case([_day("DE", [3000] * 8), _day("BR", [0] * 7 + [90], [80])], found=[]),
        Case([], found=[]),
    )

    def judge(self, rows: Sequence[Row], now: datetime) -> Iterator[Finding]:
        """One finding a country that is new."""
        for (kind,), presence in grouped(_presence(rows), "kind").items():
            totals: dict[int, int] = {}
            for row in presence:
                totals[row["bucket"]] = totals.get(row["bucket"], 0) + row["count"]
            least = self.at.logins if kind == "logins" else self.at.requests
            for buckets in grouped(presence, "country").values():
                new = [b for b in buckets if self._new(b, buckets, totals, least)]
                for stretch in stretches(new, "bucket", BUCKET):
                    yield self._finding(kind, stretch, totals)

    def _new(self, bucket: Row, own: Sequence[Row], totals: dict[int, int], least: int) -> bool:
        """Is the country new in this bucket? The bucket before may hold its first minutes."""
        start, count = bucket["bucket"], bucket["count"]
        if count < max(least, self.at.share * totals[start]):
            return False
        earlier = {at: n for at, n in totals.items() if start - self.WINDOW <= at < start - BUCKET}
        history = sum(earlier.values())
        if history < self.at.history * least or start - min(earlier) < self.at.hours * 3600:
            return False
        before = sum(b["count"] for b in own if b["bucket"] in earlier)
        usual = (before + 1) / (history + 1)
        return usual <= self.at.before + 1 / history and log_tail(count, totals[start], usual) <= -log(1e9)

    def _finding(self, kind: str, buckets: Sequence[Row], totals: dict[int, int]) -> Finding:
        country = str(buckets[0]["country"])
        first, last = when(buckets[0]["first"]), when(buckets[-1]["last"])
        count, refused = (sum(b[k] for b in buckets) for k in ("count", "refused"))
        share = 100 * count / sum(totals[b["bucket"]] for b in buckets)
        attack = refused >= self.at.refused * count
        verdict = "most were refused: an attack" if attack else "they are answered like others: new users"
        return Finding(
            detector=self.name,
            cause=cause(self.name, country, certain=attack),
            subject=("client_country", country),
            severity=_severity(kind, attack),
            first=first,
            last=last,
            count=count,
            summary=f"{country} was not seen before and now makes {count} {kind} ({share:.0f} % of all), "
            f"{refused} of them refused; {verdict}",
            evidence=evidence(CLIENTS[kind], STORES[kind], first, last, country=country),
            country=country,
            techniques=self.TECHNIQUES,
        )


def _severity(kind: str, attack: bool) -> Severity:
    """Failed logins have a detector of their own: here they only add where they come from."""
    if not attack:
        return Severity.REPORT
    return Severity.MEDIUM if kind == "logins" else Severity.HIGH


def _presence(rows: Sequence[Row]) -> list[Row]:
    """The days' buckets, each a row of its own."""
    return [
        {
            "kind": r["kind"],
            "country": r["country"],
            "bucket": b,
            "count": n,
            "refused": refused,
            "first": first,
            "last": last,
        }
        for r in rows
        for b, n, refused, first, last in zip(
            r["buckets"], r["counts"], r["refusals"], r["firsts"], r["lasts"], strict=True
        )
    ]
