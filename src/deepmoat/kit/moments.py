"""Points in time as people write them."""

import re
from datetime import UTC, datetime, timedelta

from deepmoat.kit.errors import QueryError

_RELATIVE = re.compile(r"-?(\d+)(s|m|h|d|w)")
_EPOCH = re.compile(r"\d{1,12}(\.\d+)?")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
HINT = "write -15m, 2026-01-27T03:00:00Z, or seconds since 1970"


def moment(text: str, now: datetime, *, where: str = "time") -> datetime | None:
    """ISO 8601 (UTC when it names no zone), seconds since 1970, ``now``, or ``-15m``; None for "".

    Raises QueryError, naming ``where``, for anything else.

    >>> now = datetime(2026, 1, 27, 3, tzinfo=UTC)
    >>> moment("-15m", now).isoformat(), moment("2026-01-27", now).isoformat()
    ('2026-01-27T02:45:00+00:00', '2026-01-27T00:00:00+00:00')
    """
    text = text.strip()
    try:
        return _read(text, now) if text else None
    except (ValueError, OverflowError, OSError) as exc:
        raise QueryError(f"{where} is no time: {text[:60]!r}", where=where, hint=HINT) from exc


def _read(text: str, now: datetime) -> datetime:
    if text == "now":
        return now
    relative = _RELATIVE.fullmatch(text)
    if relative:
        return now - timedelta(**{_UNITS[relative[2]]: int(relative[1])})
    if _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(float(text), UTC)
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
