"""scanner: one client asks for many things that are not there, or for what only attackers look for."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from deepmoat.detect.detector import (
    REQUESTS_OF,
    Case,
    Detector,
    Row,
    cause,
    evidence,
    grouped,
    stretches,
    when,
)
from deepmoat.detect.quote import fill
from deepmoat.kit.settings import Settings
from deepmoat.model import Finding, Severity

NEVER: tuple[tuple[str, str], ...] = (
    (
        r"/\.(env|git/|svn/|hg/|aws/|ssh/|htpasswd|htaccess|ds_store|bash_history|npmrc|docker)",
        "hidden files",
    ),
    (r"/(id_rsa|wp-config\.php|web\.config|config\.(bak|old))", "keys and settings"),
    (r"\.(sql|sql\.gz|bak|old|swp)$", "dumps and copies"),
    (r"/(etc/passwd|proc/self|windows/win\.ini)", "files of the system"),
    (r"/(cgi-bin/|boaform/|hnap1|goform/|setup\.cgi|shell\?)", "devices"),
    (r"/(vendor/phpunit|eval-stdin\.php|c99\.php|r57\.php|shell\.php|alfa\.php)", "shells"),
    (r"/(actuator/(env|heapdump)|_ignition/|telescope/requests|debug/default/view)", "debug pages"),
    (r"/(struts|solr/admin|manager/html|invoker/|jmx-console|_vti_bin|owa/auth)", "application servers"),
    (r"/(sdk|evox/about|nmaplowercheck|nice ports)", "network scanners"),
    (r"/(fckeditor|elfinder|kcfinder|ckfinder)/", "upload forms"),
)
ABSENT: tuple[tuple[str, str], ...] = (
    (r"/(wp-login\.php|wp-admin|xmlrpc\.php|wp-content/plugins|wp-includes)", "WordPress"),
    (r"/(administrator|joomla|drupal|typo3|magento|user/register|node/add)(/|$)", "content systems"),
    (r"/(phpmyadmin|pma|myadmin|dbadmin|adminer|mysqladmin)", "database consoles"),
    (r"/(admin|login|test|info|phpinfo|setup|install|config)\.(php|asp|aspx|jsp|cgi)$", "scripts"),
    (r"/(backup|www|site|old|bak|dump|db)(/?$|\.(zip|tar|tgz|gz|rar|7z))", "backups"),
    (r"/(server-status|server-info|\.well-known/security\.txt|api/v1/pods|v2/_catalog)", "servers"),
    (r"/(console|jenkins|hudson|grafana|kibana|druid|nacos|swagger-ui|api-docs)(/|$)", "consoles"),
)
"""Probe paths, and what they look for. ``NEVER`` has no honest visitor from outside; ``ABSENT`` is
honest where the product is installed, and so counts only when it is not there (status 400 and up).
Sources: paths in public honeypot reports and the word lists of nikto, dirb and nuclei, by kind."""

GAP = 3600


def _either(table: tuple[tuple[str, str], ...]) -> str:
    return "(?i)(" + "|".join(pattern for pattern, _ in table) + ")"


class Thresholds(Settings, frozen=True):
    """``[detect.scanner]``: distinct paths of one client in five minutes.

    ``probes`` known probe paths, or ``missing`` paths that are not there when these are at least
    ``share`` of its requests. ``certain`` probe paths need no second look.
    """

    probes: int = 3
    missing: int = 20
    share: float = 0.5
    certain: int = 6


def _row(client: str, probes: int, missing: int, requests: int, **other: object) -> Row:
    """A row of the statement, for the cases."""
    return {
        "bucket": 1_700_000_100,
        "client_address": client,
        "country": "ZZ",
        "host": "shop.example",
        "requests": requests,
        "missing": missing,
        "probes": probes,
        "opened": 0,
        "sample": "/.env",
        "first": 1_700_000_100,
        "last": 1_700_000_130,
    } | other


class Scanner(Detector[Thresholds]):
    """Known probe paths, or many different paths that are not there, by one client."""

    QUERY = fill(
        """* | select bucket, client_address, max(client_country) as country,
          case when min(server_address) = max(server_address) then max(server_address) else '' end as host,
          count(*) as requests, approx_distinct(case when status = 404 then url_path end) as missing,
          approx_distinct(case when never = 1 or absent = 1 then url_path end) as probes,
          count_if(never = 1 and status >= 200 and status < 300) as opened,
          max(case when never = 1 or absent = 1 then url_path else '' end) as sample,
          min(second) as first, max(second) as last
        from (
          select __time__ as second, __time__ - __time__ % 300 as bucket, client_address, client_country,
            server_address, url_path, http_response_status_code as status,
            case when regexp_like(url_path, {never}) then 1 else 0 end as never,
            case when http_response_status_code >= 400 and regexp_like(url_path, {absent})
              then 1 else 0 end as absent
          from log where client_address <> '::' and client_address in (
            select client_address from log
            where http_response_status_code = 404 or regexp_like(url_path, {never})
              or (http_response_status_code >= 400 and regexp_like(url_path, {absent}))
            group by client_address having count(*) >= {probes}
          )
        ) as asked
        group by bucket, client_address
        having probes >= {probes} or (missing >= {missing} and missing >= {share} * requests)
        order by requests desc limit 20000""",
        never=_either(NEVER),
        absent=_either(ABSENT),
    )
    BUCKET, WINDOW, EVERY = 300, 300, 5.0
    THRESHOLDS = Thresholds
    TECHNIQUES = ("T1595.002", "T1595.003")
    BLIND = (
        "A scan slower than three probe paths in five minutes, or spread over many addresses. A scan of a "
        "site that answers 200 to every path, unless it asks for known probe paths. Probe paths not in the "
        "table. Clients whose address is not known."
    )
    CASES = (
        Case([_row("192.0.2.1", 3, 3, 3)], found=["192.0.2.1"]),
        Case([_row("192.0.2.2", 0, 40, 50)], found=["192.0.2.2"]),
        Case([_row("192.0.2.3", 1, 25, 400)], found=[]),
        Case([_row("192.0.2.4", 2, 2, 2)], found=[]),
        Case([], found=[]),
    )

    def judge(self, rows: Sequence[Row], now: datetime) -> Iterator[Finding]:
        """One finding a client and scan."""
        scans = [r for r in rows if self._scan(r)]
        for buckets in grouped(scans, "client_address").values():
            for stretch in stretches(buckets, "bucket", GAP):
                yield self._finding(stretch)

    def _scan(self, row: Row) -> bool:
        many = row["missing"] >= max(self.at.missing, self.at.share * row["requests"])
        return bool(many or row["probes"] >= self.at.probes)

    def _finding(self, buckets: Sequence[Row]) -> Finding:
        client, host = str(buckets[0]["client_address"]), str(buckets[0]["host"])
        severity = self._severity(buckets)
        first, last = when(min(b["first"] for b in buckets)), when(max(b["last"] for b in buckets))
        return Finding(
            detector=self.name,
            cause=cause(self.name, host, certain=severity >= Severity.HIGH),
            subject=("client_address", client),
            severity=severity,
            first=first,
            last=last,
            count=sum(b["requests"] for b in buckets),
            summary=f"{client} {_reasons(buckets)}",
            evidence=evidence(REQUESTS_OF, self.LOGSTORE, first, last, client=client),
            country=str(buckets[0]["country"]),
            techniques=self.TECHNIQUES,
        )

    def _severity(self, buckets: Sequence[Row]) -> Severity:
        certain = sum(b["probes"] for b in buckets) >= self.at.certain
        wide = any(b["missing"] >= 2 * self.at.missing for b in buckets)
        return Severity.HIGH if certain or wide else Severity.MEDIUM


def _reasons(buckets: Sequence[Row]) -> str:
    probes, missing, opened = (sum(b[k] for b in buckets) for k in ("probes", "missing", "opened"))
    sample = next((b["sample"] for b in buckets if b["sample"]), "")
    text = f"asked for {missing} paths that are not there"
    if probes:
        text += f" and {probes} known probe paths such as {sample[:80]}"
    return text + (f"; {opened} of these were answered" if opened else "")
