from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.identity.limit import TRACKED, Attempts, Quota
from deepmoat.kit.errors import PeerError


def attempts(**changes: float) -> Attempts:
    rules = {"address_burst": 3, "address_seconds": 10.0, "total_burst": 20, "total_rate": 1.0} | changes
    return Attempts(**rules)  # type: ignore[arg-type]


def refused(limit: Attempts, address: str, now: float) -> bool:
    try:
        limit.check(address, now)
    except PeerError as exc:
        assert exc.status == 429
        return True
    return False


def test_an_address_that_failed_too_often_waits() -> None:
    limit = attempts()
    for _ in range(3):
        assert not refused(limit, "192.0.2.1", 100.0)
        limit.failed("192.0.2.1", 100.0)
    assert refused(limit, "192.0.2.1", 100.0)
    assert refused(limit, "192.0.2.1", 109.0)
    assert not refused(limit, "192.0.2.1", 110.5)
    assert not refused(limit, "192.0.2.2", 100.0)


def test_one_ipv6_network_is_one_stranger() -> None:
    limit = attempts()
    for n in range(3):
        limit.failed(f"2001:db8::{n + 1}", 0.0)
    assert refused(limit, "2001:db8::ffff", 0.0)
    assert not refused(limit, "2001:db8:0:1::1", 0.0)


def test_many_addresses_together_are_limited_and_cost_bounded_memory() -> None:
    limit = attempts()
    for n in range(20):
        limit.failed(f"192.0.2.{n}", 0.0)
    assert refused(limit, "203.0.113.1", 0.0)
    assert not refused(limit, "203.0.113.1", 2.0)
    for n in range(TRACKED + 500):
        limit.failed(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 2.0)
    assert len(limit) == TRACKED


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=60))
def test_no_pattern_of_attempts_gets_past_the_rate(steps: list[tuple[float, bool]]) -> None:
    limit, now, tried = attempts(total_burst=1000, total_rate=1000.0), 0.0, 0
    for wait, back in steps:
        now = now - wait if back and wait < 1 else now + wait
        if not refused(limit, "192.0.2.1", max(0.0, now)):
            limit.failed("192.0.2.1", max(0.0, now))
            tried += 1
    elapsed = sum(wait for wait, _ in steps)
    assert tried <= 3 + elapsed / 10.0 + 1


def test_a_visitor_has_so_many_places_and_gets_them_back() -> None:
    quota, held = Quota(2), count()
    with quota.slot("a"), quota.slot("a"), quota.slot("b"):
        next(held)
        with pytest.raises(PeerError, match="2 queries of yours") as caught, quota.slot("a"):
            pytest.fail("three places")
    assert caught.value.status == 429
    with quota.slot("a"):
        next(held)
    with pytest.raises(ValueError, match="mine"), quota.slot("a"):
        raise ValueError("mine")
    assert not quota._running
    assert next(held) == 2
