"""impact: the query that counts good requests a block would have hit."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from deepmoat.model import Incident, Query, Result
from deepmoat.respond.settings import single
from deepmoat.respond.targets import FIELD

DAY = timedelta(days=1)
BEFORE = timedelta(minutes=1)
"""A detector's first record is where the attack was certain; what swelled before it is no good traffic."""
MOST = 1_000
MOST_ATTACKS = 20


def impact(
    incident: Incident, addresses: Sequence[str], now: datetime, earlier: Sequence[Incident] = ()
) -> Query:
    """Good requests (status below 400) of each address in the day that ended ``BEFORE`` the incident.

    What an address did as a subject of one of the ``earlier`` incidents is not counted, as far as they fit
    (``MOST_ATTACKS`` incidents, ``MOST`` addresses): an attack that was let through does not make a good
    client.

    ``addresses`` are canonical, at most ``MOST``; ValueError otherwise. One row an address that made any:
    (client_address, good).
    """
    if not 0 < len(addresses) <= MOST or any(single(a) != a for a in addresses):
        raise ValueError(f"impact wants 1 to {MOST} canonical addresses")
    part = "* | select client_address, count(*) as good from log where "
    wanted = [
        "http_response_status_code > 0",
        "http_response_status_code < 400",
        f"client_address in ({_listed(addresses)})",
        *_attacks(frozenset(addresses), earlier),
    ]
    until = min(incident.first, now) - BEFORE
    text = f"{part}{' and '.join(wanted)} group by client_address limit {MOST}"
    return Query(text, "access", until - DAY, until, limit=MOST)


def good(result: Result) -> dict[str, int]:
    """Good requests by address, from the query's rows."""
    return {str(row["client_address"]): int(row["good"]) for row in result.dicts()}


def _attacks(addresses: frozenset[str], earlier: Sequence[Incident]) -> Iterator[str]:
    """A condition for each earlier incident that some of ``addresses`` took part in, as far as they fit."""
    room, attacks = MOST, MOST_ATTACKS
    for attack in earlier:
        clients = {single(value) for field, value in attack.subjects if field == FIELD}
        took_part = addresses & clients
        room -= len(took_part) if took_part != addresses else 0
        if not took_part or room < 0 or not attacks:
            continue
        attacks -= 1
        first, last = int((attack.first - BEFORE).timestamp()), int((attack.last + BEFORE).timestamp())
        span = f"__time__ >= {first} and __time__ <= {last}"
        who = f" and client_address in ({_listed(sorted(took_part))})" if took_part != addresses else ""
        yield f"not ({span}{who})"


def _listed(addresses: Sequence[str]) -> str:
    """Only letters of addresses come here: each was read as one and written anew."""
    return ", ".join(f"'{address}'" for address in addresses)
