"""Times as senders write them, as exact decimal seconds since 1970 (UTC).

A number is taken for seconds, milliseconds, microseconds or nanoseconds by its size: the four do not
overlap for any time after 1973.
"""

from datetime import UTC, datetime
from fractions import Fraction

_NANO = 1_000_000_000


def nanoseconds(value: object) -> int:
    """``value`` in nanoseconds since 1970; ValueError where it is no time.

    >>> nanoseconds("2025-01-01T10:00:00+08:00") == nanoseconds(1735696800) == nanoseconds("1735696800000")
    True
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("the time is neither text nor a number")
    if isinstance(value, str):
        return _from_text(value.strip())
    return _from_number(value)


def _from_number(value: float) -> int:
    if not -1e20 < value < 1e20:
        raise ValueError("the time is out of range")
    size = abs(value)
    scale = 1 if size < 1e11 else 10**3 if size < 1e14 else 10**6 if size < 1e17 else _NANO
    return int(Fraction(value) * _NANO / scale) if isinstance(value, float) else value * (_NANO // scale)


def _from_text(text: str) -> int:
    whole, _, fraction = text.partition(".")
    if _digits(whole) and len(whole) <= 19 and (not fraction or _digits(fraction)):
        seconds = _from_number(int(whole))
        return seconds + int(fraction[:9].ljust(9, "0")) if len(whole) < 12 else seconds
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("the time is neither ISO 8601 nor a number") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _NANO + since.microseconds * 1000


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def decimal(nano: int) -> str:
    """Nanoseconds as seconds with nine decimals.

    >>> decimal(1_500_000_000)
    '1.500000000'
    """
    return f"{nano // _NANO}.{nano % _NANO:09d}"
