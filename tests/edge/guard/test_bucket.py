"""Token buckets: how much gets through."""

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.guard.bucket import Bucket


@given(
    st.floats(0.1, 1000),
    st.integers(1, 1000),
    st.lists(st.floats(0, 5, allow_nan=False), max_size=200),
)
def test_no_stretch_of_time_lets_more_through_than_rate_and_burst_allow(
    rate: float, burst: int, gaps: list[float]
) -> None:
    bucket, now, passed = Bucket(burst, 0.0), 0.0, 0
    for gap in gaps:
        now += gap
        passed += bucket.take(now, rate, burst)
    assert passed <= burst + rate * now + 1e-6


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(1, 100.0)
    assert bucket.take(100.0, 1, 1)
    assert not bucket.take(50.0, 1, 1)
    assert not bucket.take(50.5, 1, 1)
    assert bucket.take(51.0, 1, 1)
