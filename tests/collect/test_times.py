"""Times of every kind, exact to the nanosecond."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.collect.times import decimal, nanoseconds

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=ZONES)  # noqa: DTZ001


@given(MOMENTS)
def test_iso_and_epoch_forms_agree(moment: datetime) -> None:
    want = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    assert nanoseconds(moment.isoformat()) == want
    for value in (want, str(want), want // 1000, str(want // 1000), decimal(want)):
        assert nanoseconds(value) == want
    assert abs(nanoseconds(want / 1e9) - want) < 1000


@pytest.mark.parametrize(
    "value", [None, True, [], {}, "", "now", "1e9", "--1", "²", "2025-13-01", 1e300, "9" * 30]
)
def test_what_is_no_time_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match="time"):
        nanoseconds(value)
