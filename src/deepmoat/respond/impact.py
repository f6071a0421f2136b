"""impact: the query that counts good requests a block would have hit."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from deepmoat.model import Incident, Query, Result
from deepmoat.respond.settings import single

DAY = timedelta(days=1)
MOST = 1_000


def impact(incident: Incident, addresses: Sequence[str], now: datetime) -> Query:
    """Good requests (status below 400) of each address in the day before the incident's first record.

    ``addresses`` are canonical, at most ``MOST``; ValueError otherwise. One row an address that made any:
    (client_address, good).
    """
    if not 0 < len(addresses) <= MOST or any(single(a) != a for a in addresses):
        raise ValueError(f"impact wants 1 to {MOST} canonical addresses")
    listed = ", ".join(f"'{a}'" for a in addresses)  # of an address's letters only, as was just checked
    search = "status > 0 and status < 400"
    select = "select client_address, count(*) as good from log where client_address in"
    text = f"{search} | {select} ({listed}) group by client_address limit {MOST}"
    until = min(incident.first, now)
    return Query(text, "access", until - DAY, until, limit=MOST)


def good(result: Result) -> dict[str, int]:
    """Good requests by address, from the query's rows."""
    return {str(row["client_address"]): int(row["good"]) for row in result.dicts()}
