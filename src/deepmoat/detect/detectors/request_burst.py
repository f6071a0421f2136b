"""request_burst: one client asks far faster than people, pages and honest programs do.

A page load is a burst too, so what counts is a weight: a picture or script of a page is a tenth of a
request, a call with a key that was accepted a quarter, an answered request that came from a page
(it has a Referer) a half. A flood has none of these, or is refused, and then weighs in full. What the
edge refused itself is summed up in ``ddos`` and counts too: an attacker who is already blocked and goes
on stays known.

A file has as many groups as clients and seconds, so the inner one holds numbers and one name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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

ASSETS = r"(?i)\.(css|js|mjs|map|png|jpe?g|gif|svg|webp|avif|ico|woff2?|ttf|otf|eot|mp4|webm|mp3|pbf)$"
GAP = 300
MEMORY, FRESH = 30, 15
"""Seconds: how far back a client is looked for before it is called new; how long it then stays new."""
Client = tuple[str, ...]
TEN = [f"192.0.2.{n}" for n in range(10, 20)]


class Thresholds(Settings, frozen=True):
    """``[detect.request_burst]``: weighted requests of one client.

    A second counts from ``floor`` on. ``sharp`` in two seconds that follow each other, a quarter of it
    in each, or ``steady`` in five are a burst. These bounds are ``crowd`` times as high for an
    address that mostly fetches assets: people with browsers, an office behind one address.
    ``together`` clients that begin at once need no more than ``floor`` in two seconds: a flood so
    strong that the service no longer answers each of them often, or one that means to stay small.
    """

    floor: int = 8
    sharp: int = 40
    steady: int = 75
    crowd: int = 4
    together: int = 10


def _minute(client: str, weights: Sequence[float], **other: object) -> Row:
    """A row of the statement, for the cases."""
    seconds = [1_700_000_000 + n for n, weight in enumerate(weights) if weight]
    return {
        "client_address": client,
        "minute": 1_699_999_980,
        "country": "ZZ",
        "host": "shop.example",
        "seconds": seconds,
        "weights": [w for w in weights if w],
        "counts": [round(w) for w in weights if w],
        "requests": round(sum(weights)),
        "assets": 0,
        "refused": 0,
        "begin": 1_699_999_900,
    } | other


class RequestBurst(Detector[Thresholds]):
    """Many requests of one client within seconds: a flood, however many clients take part in it."""

    QUERY = fill(
        """* | select client_address, second - second % 60 as minute, max(country) as country,
          case when min(host) = max(host) then max(host) else '' end as host,
          array_agg(second) as seconds, array_agg(weight) as weights, array_agg(asked) as counts,
          sum(asked) as requests, sum(assets) as assets, sum(refused) as refused,
          (select min(__time__) from log) as begin
        from (
          select client_address, country, second, max(server_address) as host, sum(times) as asked,
            sum(times * heavy) as weight, sum(times * asset) as assets, sum(times * bad) as refused
          from (
            select client_address, client_country as country, __time__ as second, server_address, 1 as times,
              case when regexp_like(url_path, {asset}) then 0.1
                when http_response_status_code < 400 and key_hash <> '' then 0.25
                when http_response_status_code < 400 and http_request_referer <> '' then 0.5
                else 1.0 end as heavy,
              case when regexp_like(url_path, {asset}) then 1 else 0 end as asset,
              case when http_response_status_code >= 400 then 1 else 0 end as bad
            from log where verdict not in ('challenge', 'limit', 'block') and client_address <> '::'
            union all
            select client_address, client_country as country, __time__ as second, server_address,
              requests as times, 1.0 as heavy, 0 as asset, 1 as bad
            from ddos where verdict in ('challenge', 'limit', 'block') and client_address <> '::'
          ) as asks
          group by client_address, country, second having weight >= {floor}
        ) as busy
        group by client_address, second - second % 60 order by requests desc limit 20000""",
        asset=ASSETS,
    )
    BUCKET, WINDOW, EVERY = 1, MEMORY + FRESH, 0.5
    THRESHOLDS = Thresholds
    TECHNIQUES = ("T1498", "T1499.002")
    BLIND = (
        "A flood in which each client stays below 20 weighted requests a second over two seconds and 15 over "
        "five, unless ten begin at once with 8 or more each. A flood with accepted API keys, below 80 a "
        "second and client. A crowd behind one address that uses an application without assets looks like "
        "one client. Clients whose address is not known."
    )
    CASES = (
        Case([_minute("192.0.2.1", [15, 30, 15])], found=["192.0.2.1"]),
        Case([_minute("192.0.2.2", [15, 15, 15, 15, 15])], found=["192.0.2.2"]),
        Case([_minute("192.0.2.3", [45, 9])], found=[]),
        Case([_minute("192.0.2.4", [12, 12, 12, 12])], found=[]),
        Case([_minute("192.0.2.5", [25, 25], requests=400, assets=380)], found=[]),
        Case([_minute(f"192.0.2.{n}", [0.0, 9.0, 9.0]) for n in range(10, 20)], found=TEN),
        Case([_minute(f"192.0.2.{n}", [0.0, 9.0, 9.0]) for n in range(10, 19)], found=[]),
        Case(
            [
                _minute(f"192.0.2.{n}", [9.0] * 4 + [0.0] * 14 + [9.0] * 4, begin=1_699_999_980)
                for n in range(10, 20)
            ],
            found=[],
        ),
        Case([_minute(f"192.0.2.{n}", [9.0, 9.0], begin=1_699_999_990) for n in range(10, 20)], found=[]),
        Case([], found=[]),
    )

    def judge(self, rows: Sequence[Row], now: datetime) -> Iterator[Finding]:
        """One finding a client and burst."""
        clients = grouped(rows, "client_address")
        begun = self._together(clients)
        for client, minutes in clients.items():
            for near in stretches(minutes, "minute", GAP):
                hot = self._hot(near) | begun.get(client, set())
                for stretch in stretches([s for s in _seconds(near) if s["second"] in hot], "second", GAP):
                    yield self._finding(near, stretch)

    def _hot(self, minutes: Sequence[Row]) -> set[int]:
        """The seconds that are a burst by themselves."""
        weights = _weights(minutes)
        rise = max(_crowd(m, self.at.crowd) for m in minutes)
        least = self.at.sharp / 4
        pairs = ((a, a + 1) for a in weights if a + 1 in weights and min(weights[a], weights[a + 1]) >= least)
        fives = (tuple(range(a, a + 5)) for a in weights if all(a + n in weights for n in range(5)))
        sharp = [run for run in pairs if _sum(weights, run) >= rise * self.at.sharp]
        steady = [run for run in fives if _sum(weights, run) >= rise * self.at.steady]
        return {s for run in (*sharp, *steady) for s in run}

    def _together(self, clients: Mapping[Client, Sequence[Row]]) -> dict[Client, set[int]]:
        """The seconds in which many clients become busy at once, by client.

        One that was busy before is a program at its usual work. Before half a minute of the log has
        passed nobody can tell.
        """
        begun: dict[int, list[Client]] = {}
        for client, minutes in clients.items():
            weights = _weights(minutes)
            for second in _begins(weights, int(minutes[0]["begin"])):
                begun.setdefault(second, []).append(client)
        hot: dict[Client, set[int]] = {}
        for second, company in begun.items():
            for client in company if len(company) >= self.at.together else ():
                hot.setdefault(client, set()).update((second - 1, second))
        return hot

    def _finding(self, minutes: Sequence[Row], hot: Sequence[Row]) -> Finding:
        client, host = str(minutes[0]["client_address"]), str(minutes[0]["host"])
        first, last = when(hot[0]["second"]), when(hot[-1]["second"])
        count = sum(s["requests"] for s in hot)
        return Finding(
            detector=self.name,
            cause=cause(self.name, host),
            subject=("client_address", client),
            severity=Severity.HIGH,
            first=first,
            last=last,
            count=count,
            summary=f"{client} sent {count} requests in {len(hot)} busy s ({_reasons(minutes)})",
            evidence=evidence(REQUESTS_OF, self.LOGSTORE, first, last, client=client),
            country=str(minutes[0]["country"]),
            techniques=self.TECHNIQUES,
        )


def _seconds(minutes: Iterable[Row]) -> list[Row]:
    """The minutes' seconds, each a row of its own, once each."""
    found = {
        second: {"second": second, "weight": weight, "requests": requests}
        for m in minutes
        for second, weight, requests in zip(m["seconds"], m["weights"], m["counts"], strict=True)
    }
    return list(found.values())


def _weights(minutes: Iterable[Row]) -> dict[int, float]:
    return {s["second"]: s["weight"] for s in _seconds(minutes)}


def _begins(weights: Mapping[int, float], begin: int) -> Iterator[int]:
    """The seconds in which a client is busy for the second time in a row, and was not a while before."""
    twice = (s for s in weights if s - 1 in weights and s >= begin + MEMORY)
    return (s for s in twice if not any(at in weights for at in range(s - MEMORY, s - FRESH)))


def _sum(weights: Mapping[int, float], seconds: Iterable[int]) -> float:
    return sum(weights[s] for s in seconds)


def _crowd(minute: Row, rise: int) -> int:
    """By how much the bounds rise: who mostly fetches assets is people with browsers."""
    return rise if minute["assets"] * 2 >= minute["requests"] else 1


def _reasons(minutes: Sequence[Row]) -> str:
    asked = max(1, sum(m["requests"] for m in minutes))
    refused = round(100 * sum(m["refused"] for m in minutes) / asked)
    assets = round(100 * sum(m["assets"] for m in minutes) / asked)
    return f"{assets} % assets, {refused} % refused"
