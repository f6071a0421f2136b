"""Numbers and times as people read them. Pure."""

from datetime import UTC, datetime

_STEPS = (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))


def short(number: float) -> str:
    """At most four characters and a letter.

    >>> short(7), short(0.25), short(1234), short(12_345_678)
    ('7', '0.25', '1.2k', '12M')
    """
    letter, step = next((s for s in reversed(_STEPS) if abs(number) >= s[1]), _STEPS[0])
    scaled = number / step
    if abs(scaled - round(scaled)) < 0.05 or abs(scaled) >= 10:
        return f"{scaled:.0f}{letter}"
    return f"{scaled:.1f}{letter}" if abs(scaled) >= 1 else f"{scaled:.2g}{letter}"


def many(number: float, noun: str) -> str:
    """A number with its noun.

    >>> many(1, "record"), many(2000, "record")
    ('1 record', '2k records')
    """
    return f"{short(number)} {noun}" if number == 1 else f"{short(number)} {noun}s"


def percent(part: float, whole: float) -> str:
    """A share.

    >>> percent(1, 8), percent(1, 300), percent(0, 0)
    ('12.5%', '0.33%', '0%')
    """
    share = 100 * part / whole if whole else 0.0
    text = f"{share:.2f}" if 0 < share < 1 else f"{share:.1f}"
    return text.rstrip("0").rstrip(".") + "%"


def ago(moment: datetime, now: datetime) -> str:
    """How long since, or until.

    >>> now = datetime(2026, 1, 27, 3, tzinfo=UTC)
    >>> ago(datetime(2026, 1, 27, 2, 58, tzinfo=UTC), now), ago(datetime(2026, 1, 27, 4, tzinfo=UTC), now)
    ('2 min ago', 'in 60 min')
    """
    seconds = (now - moment).total_seconds()
    text = span(abs(seconds))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def span(seconds: float) -> str:
    """A length of time.

    >>> span(42), span(600), span(7200), span(200_000)
    ('42 s', '10 min', '2 h', '2 d')
    """
    for size, unit in ((172_800, "d"), (7200, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / {'d': 86400, 'h': 3600, 'min': 60}[unit]:.0f} {unit}"
    return f"{seconds:.0f} s"


def clock(moment: datetime) -> str:
    """Date and time, UTC.

    >>> clock(datetime(2026, 1, 27, 3, 4, 5, tzinfo=UTC))
    '2026-01-27 03:04:05'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
