"""Moments in state tables: whole microseconds since 1970, which sort, compare and round-trip exactly."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(when: datetime) -> int:
    """``when`` as a number.

    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC))
    1000005
    """
    return (when - _EPOCH) // timedelta(microseconds=1)
