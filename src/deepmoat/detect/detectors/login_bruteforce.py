"""login_bruteforce: passwords tried by one address, on one account, or by many over many.

The statement pools in steps, so that every attempt is counted once and the rows stay few whatever the
size of the attack: an address with many failures keeps its own row; of the rest, an account with
failures from many addresses keeps its own; all others are one row a bucket, in which a slow spray
(one attempt an address, one an account) shows as a share of failures the service never has. There,
failures of addresses that also log in are left out: people mistype, and services go down.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from math import log
from statistics import median

from deepmoat.detect.detector import Case, Detector, Row, cause, evidence, grouped, stretches, when
from deepmoat.detect.tail import log_tail
from deepmoat.kit.settings import Settings
from deepmoat.model import Finding, Severity

GAP = 3600
BUCKET = 600
_LOGINS = """* | select time, client_address, client_country, user_name, event_outcome, event_reason
 from log where event_action = 'login' and service_name = {service}"""
LOGINS: dict[str, str] = {
    "client_address": f"{_LOGINS} and client_address = {{subject}} order by time limit 100",
    "user_name": f"{_LOGINS} and user_name = {{subject}} order by time limit 100",
    "service_name": f"{_LOGINS} and event_outcome = 'failure' order by time limit 100",
}
"""Evidence by the kind of subject."""


class Thresholds(Settings, frozen=True):
    """``[detect.login_bruteforce]``: failed logins at one service in ten minutes.

    ``address`` by one address, or on one account from ``sources`` addresses; ``certain`` by one address,
    or on ``accounts`` accounts, are no forgotten password. ``spray`` by all others, from ``sources``
    addresses on ``accounts`` accounts (or unknown ones), when that is less likely than one in ``chance``.
    """

    address: int = 10
    certain: int = 20
    accounts: int = 4
    sources: int = 10
    spray: int = 20
    chance: float = 1e9


def _row(address: str = "", user: str = "", failures: int = 0, successes: int = 0, **other: object) -> Row:
    """A row of the statement, for the cases."""
    return {
        "bucket": 1_700_000_400,
        "service": "web",
        "address": address,
        "account": user,
        "country": "ZZ",
        "failures": failures,
        "successes": successes,
        "sources": 1,
        "accounts": 1,
        "breached": 0,
        "last_success": 1_700_000_700,
        "first": 1_700_000_400,
        "last": 1_700_000_700,
    } | other


def _later(address: str, successes: int) -> Row:
    """The row of the next bucket."""
    return {**_row(address, successes=successes), "bucket": 1_700_001_000, "last": 1_700_001_005}


class LoginBruteforce(Detector[Thresholds]):
    """Many failed logins by one address, on one account, or one each by many; worse when one succeeds."""

    LOGSTORE = "security"
    QUERY = """* | select bucket, service, address, account, max(country) as country,
          sum(fails) as failures, sum(passes) as successes, sum(origins) as sources,
          max(targets) + count_if(tried <> '') as accounts, max(breach) as breached,
          min(begin) as first, max(finish) as last, max(pass_end) as last_success
        from (
          select bucket, service, address, tried, country, fails, passes, origins, targets, breach,
            begin, finish, pass_end, case when origins >= {sources} then tried else '' end as account
          from (
            select bucket, service, address, tried, max(land) as country, sum(strange) as fails,
              sum(passed) as passes, count_if(strange > 0) as origins, max(users) as targets,
              max(broken) as breach, min(started) as begin, max(ended) as finish, max(pass_at) as pass_end
            from (
              select bucket, service, passed, land, started, ended, pass_at,
                case when heavy = 0 and known = 1 then 0 else failed end as strange,
                case when heavy = 1 then client else '' end as address,
                case when heavy = 1 or known = 1 then '' else guess end as tried,
                case when heavy = 1 then guesses else 0 end as users,
                case when heavy = 1 and failed >= {address} and pass_at > fail_at then 1 else 0 end as broken
              from (
                select __time__ - __time__ % 600 as bucket, service_name as service,
                  cast(client_address as varchar) as client, max(client_country) as land,
                  max(case when client_address in (
                    select client_address from log where event_action = 'login' and event_outcome = 'failure'
                    group by client_address, service_name, __time__ - __time__ % 600
                    having count(*) >= {address}
                  ) and client_address <> '::' then 1 else 0 end) as heavy,
                  max(case when client_address in (
                    select client_address from log where event_action = 'login' and event_outcome = 'success'
                  ) and client_address <> '::' then 1 else 0 end) as known,
                  count_if(event_outcome = 'failure') as failed,
                  count_if(event_outcome = 'success') as passed,
                  max(case when event_outcome = 'failure' then user_name else '' end) as guess,
                  approx_distinct(case when event_outcome = 'failure' then user_name end) as guesses,
                  max(case when event_outcome = 'success' then __time__ else 0 end) as pass_at,
                  min(case when event_outcome = 'failure' then __time__ else 9999999999 end) as fail_at,
                  min(__time__) as started, max(__time__) as ended
                from log where event_action = 'login' and event_outcome in ('failure', 'success')
                group by __time__ - __time__ % 600, service_name, client_address
              ) as clients
            ) as marked
            group by bucket, service, address, tried
          ) as accounts_tried
        ) as rest
        group by bucket, service, address, account order by failures desc limit 20000"""
    BUCKET, WINDOW, EVERY = BUCKET, 3600, 2.0
    THRESHOLDS = Thresholds
    TECHNIQUES = ("T1110.001", "T1110.003")
    BLIND = (
        "A spray so slow or so thin that the share of failures stays usual, or below 20 in ten minutes. A "
        "spray while the login service is down, when all logins fail. Passwords that were right at once "
        "(credential stuffing that hits), and the failures of addresses that also had a success."
    )
    CASES = (
        Case([_row("192.0.2.1", failures=60)], found=["192.0.2.1"]),
        Case([_row("192.0.2.2", failures=30, successes=1, breached=1)], found=["192.0.2.2"]),
        Case([_row(user="root", failures=40, sources=30)], found=["root"]),
        Case([_row(failures=90, successes=20, sources=80, accounts=70)], found=["web"]),
        Case([_row(failures=90, successes=20, sources=80, accounts=0)], found=["web"]),
        Case([_row("192.0.2.4", failures=40), _later("192.0.2.4", successes=1)], found=["192.0.2.4"]),
        Case([_row("192.0.2.3", failures=12, successes=90)], found=[]),
        Case([_row(failures=9, successes=120, sources=9, accounts=9)], found=[]),
        Case([_row(failures=40, successes=2, sources=2, accounts=2)], found=[]),
        Case([], found=[]),
    )

    def judge(self, rows: Sequence[Row], now: datetime) -> Iterator[Finding]:
        """One finding an address, an account and a spray."""
        own = [r for r in rows if r["failures"] > r["successes"]]
        for (service, address), buckets in grouped(
            [r for r in own if r["address"]], "service", "address"
        ).items():
            for stretch in stretches(buckets, "bucket", GAP):
                yield self._by_address(service, address, stretch)
        for (service, account), buckets in grouped(
            [r for r in own if r["account"]], "service", "account"
        ).items():
            for stretch in stretches(buckets, "bucket", GAP):
                yield self._on_account(service, account, stretch)
        pooled = [r for r in rows if not r["address"] and not r["account"]]
        for (service,), buckets in grouped(pooled, "service").items():
            sprays = [b for b in buckets if self._spray(b, buckets)]
            for stretch in stretches(sprays, "bucket", GAP):
                yield self._over_all(service, stretch)

    def _spray(self, bucket: Row, buckets: Sequence[Row]) -> bool:
        """Is the share of failures one the service never has, from many and on many?

        A service that does not say which account was tried has none here (0).
        """
        if bucket["failures"] < self.at.spray or bucket["sources"] < self.at.sources:
            return False
        if 0 < bucket["accounts"] < self.at.accounts:
            return False
        before = [b for b in buckets if bucket["bucket"] - 3600 <= b["bucket"] < bucket["bucket"]]
        if _down(bucket, before):
            return False
        tries = bucket["failures"] + bucket["successes"]
        return log_tail(bucket["failures"], tries, _usual(before)) <= -log(self.at.chance)

    def _by_address(self, service: str, address: str, buckets: Sequence[Row]) -> Finding:
        failures, successes = (sum(b[k] for b in buckets) for k in ("failures", "successes"))
        accounts = max(b["accounts"] for b in buckets)
        certain = failures >= self.at.certain or accounts >= self.at.accounts
        breached = certain and _breached(buckets, self.at.address)
        severity = Severity.CRITICAL if breached else Severity.HIGH if certain else Severity.MEDIUM
        text = f"{address} failed {failures} logins on {accounts} accounts of {service}"
        text += f", then {successes} succeeded" if breached else ""
        return self._finding(service, ("client_address", address), severity, text, buckets)

    def _on_account(self, service: str, account: str, buckets: Sequence[Row]) -> Finding:
        failures = sum(b["failures"] for b in buckets)
        sources = max(b["sources"] for b in buckets)
        text = f"{failures} failed logins on account {account} of {service} from {sources} addresses"
        return self._finding(service, ("user_name", account), Severity.HIGH, text, buckets)

    def _over_all(self, service: str, buckets: Sequence[Row]) -> Finding:
        failures, successes = (sum(b[k] for b in buckets) for k in ("failures", "successes"))
        sources, accounts = (max(b[k] for b in buckets) for k in ("sources", "accounts"))
        text = f"{failures} of {failures + successes} logins of {service} failed, from {sources} addresses"
        text += f" on {accounts or 'unknown'} accounts with few each: a spray"
        return self._finding(service, ("service_name", service), Severity.HIGH, text, buckets)

    def _finding(
        self, service: str, subject: tuple[str, str], severity: Severity, text: str, buckets: Sequence[Row]
    ) -> Finding:
        first, last = when(min(b["first"] for b in buckets)), when(max(b["last"] for b in buckets))
        return Finding(
            detector=self.name,
            cause=cause(self.name, service, certain=severity >= Severity.HIGH),
            subject=subject,
            severity=severity,
            first=first,
            last=last,
            count=sum(b["failures"] for b in buckets),
            summary=text,
            evidence=evidence(
                LOGINS[subject[0]], self.LOGSTORE, first, last, subject=subject[1], service=service
            ),
            country=str(buckets[0]["country"]) if subject[0] == "client_address" else "",
            techniques=self.TECHNIQUES + (("T1078",) if severity is Severity.CRITICAL else ()),
        )


def _mostly_failed(buckets: Sequence[Row]) -> bool:
    """Many people behind one address mistype, too; then most logins succeed."""
    failures, successes = (sum(int(b[k]) for b in buckets) for k in ("failures", "successes"))
    return failures > successes


def _breached(buckets: Sequence[Row], enough: int) -> bool:
    """Did a login succeed after the failures, within a bucket or in a later one?"""
    failures = 0
    for bucket in buckets:
        if bucket["breached"] or (failures >= enough and bucket["successes"]):
            return True
        failures += bucket["failures"]
    return False


def _usual(before: Sequence[Row]) -> float:
    """The usual share of failures: the median of the hour before; one in five where nothing is known."""
    shares = [(b["failures"] + 2) / (b["failures"] + b["successes"] + 10) for b in before]
    return max(0.05, median(shares)) if shares else 0.2


def _down(bucket: Row, before: Sequence[Row]) -> bool:
    """Have honest logins stopped succeeding? Then the service is down, and the failures say nothing."""
    if not before:
        return False
    silent: int = bucket["last"] - max(bucket["last_success"], bucket["bucket"])
    usual: float = median(b["successes"] for b in before)
    return silent / BUCKET * usual >= 10
