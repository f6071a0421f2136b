"""Token buckets: how much gets through, for how many clients."""

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.guard.bucket import Bucket
from deepmoat.edge.guard.rate import Buckets, RateLimit
from deepmoat.model import Request


def request(client: str) -> Request:
    return Request(client, "GET", "/")


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


def test_the_number_of_clients_remembered_is_bounded_and_the_busy_one_stays() -> None:
    buckets = Buckets(1, 1, 100)
    assert buckets.take("busy", 0)
    for i in range(10_000):
        buckets.take(f"c{i}", 0)
        assert not buckets.take("busy", 0)
    assert len(buckets) == 100


def test_a_rate_of_zero_limits_nobody_and_clients_do_not_share_a_bucket() -> None:
    off = RateLimit(0, 1, 10)
    assert all(off.check(request("a"), 0) is None for _ in range(1000))
    limit = RateLimit(0.4, 2, 10)
    verdicts = [limit.check(request("a"), 0) for _ in range(3)]
    assert verdicts[:2] == [None, None] and verdicts[2] is not None
    assert (verdicts[2].status, verdicts[2].retry_after, verdicts[2].rule) == (429, 3, "rate")
    assert limit.check(request("b"), 0) is None
