"""A backend that fails is left out, comes back, and grows up to its share: over simulated time."""

from edge.balance.stage import ask, backend, balancer_of, fail, got, one, pool_of, shares
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.balance.balancer import Balancer, Outcome
from deepmoat.edge.balance.settings import EjectionSettings

QUICK = EjectionSettings(failures=3, seconds=10, longest=60, slow_start=0)


def states(balancer: Balancer) -> dict[str, str]:
    return {b.host: b.state for b in balancer.backends}


def test_as_many_failures_in_a_row_as_set_eject_and_one_success_between_starts_the_count_again() -> None:
    balancer = balancer_of(pool_of("a", "b", "c"), ejection=QUICK)
    pool = balancer.pools[0]
    fail(pool, "a", 2, now=1.0)
    others = [backend(balancer, "b"), backend(balancer, "c")]
    pool.done(got(pool, avoid=others, now=1.0), "ok", 1.0)
    fail(pool, "a", 2, now=1.0)
    assert states(balancer) == {"a": "well", "b": "well", "c": "well"}
    fail(pool, "a", 1, now=1.0)
    assert states(balancer) == {"a": "ejected", "b": "well", "c": "well"}
    assert set(shares(pool, 30, now=1.0)) == {"b", "c"}


def test_clients_that_leave_say_nothing_about_a_backend() -> None:
    balancer = balancer_of(pool_of("a", "b"), ejection=QUICK)
    pool = balancer.pools[0]
    for _ in range(50):
        pool.done(got(pool, now=1.0), "left", 1.0)
    assert set(states(balancer).values()) == {"well"}


def test_each_ejection_is_twice_as_long_up_to_the_longest_and_a_good_time_makes_up_for_all() -> None:
    balancer = balancer_of(pool_of("a", "b"), ejection=QUICK)
    pool, bad = balancer.pools[0], backend(balancer, "a")
    now, lengths = 0.0, []
    for _ in range(5):
        fail(pool, "a", 3, now=now)
        assert bad.state == "ejected"
        lengths.append(bad.ejected_until - now)
        balancer.tick(bad.ejected_until - 0.001)
        assert bad.state == "ejected"
        now = bad.ejected_until
        balancer.tick(now)
        assert bad.state == "well"
    assert lengths == [10, 20, 40, 60, 60]
    fail(pool, "a", 3, now=now + 61)
    assert bad.ejected_until == now + 61 + 10


def test_no_more_than_the_share_of_a_pool_is_ejected_and_never_the_last() -> None:
    for names, expected in (("a", 0), ("ab", 1), ("abc", 1), ("abcd", 2)):
        balancer = balancer_of(pool_of(*names), ejection=QUICK)
        for name in names:
            fail(balancer.pools[0], name, 9, now=0.0)
        assert list(states(balancer).values()).count("ejected") == expected
    all_may = EjectionSettings(failures=1, most=1)
    balancer = balancer_of(pool_of("a", "b", "c"), ejection=all_may)
    for name in "abc":
        fail(balancer.pools[0], name, 5, now=0.0)
    assert list(states(balancer).values()) == ["ejected", "ejected", "well"]


def test_a_backend_of_two_pools_is_ejected_only_when_both_keep_enough() -> None:
    balancer = balancer_of(
        pool_of("shared", "b", "c", name="large"), pool_of("shared", name="small"), ejection=QUICK
    )
    fail(balancer.pools[0], "shared", 9, now=0.0)
    assert backend(balancer, "shared").state == "well"


def test_the_last_one_that_is_up_is_not_ejected_when_the_others_are_down_or_drained() -> None:
    balancer = balancer_of(pool_of("a", "b", "c", "d"), ejection=QUICK)
    balancer.drain({"b:80"})
    for name in "cd":
        for _ in range(2):
            backend(balancer, name).probed(False, 0.0)
    fail(balancer.pools[0], "a", 9, now=0.0)
    assert states(balancer) == {"a": "well", "b": "drained", "c": "down", "d": "down"}


def test_each_part_can_be_switched_off() -> None:
    for off in (
        EjectionSettings(failures=0),
        EjectionSettings(seconds=0),
        EjectionSettings(most=0),
    ):
        balancer = balancer_of(pool_of("a", "b", "c"), ejection=off)
        fail(balancer.pools[0], "a", 100, now=0.0)
        assert backend(balancer, "a").state == "well"
    flat = EjectionSettings(failures=1, seconds=10, longest=0, slow_start=0)
    balancer = balancer_of(pool_of("a", "b"), ejection=flat)
    for now in (0.0, 10.0, 20.0):
        balancer.tick(now)
        fail(balancer.pools[0], "a", 1, now=now)
        assert backend(balancer, "a").ejected_until == now + 10
    balancer.tick(30.0)
    assert backend(balancer, "a").state == "well"


def test_the_share_of_one_that_returns_grows_from_a_tenth_to_the_whole() -> None:
    balancer = balancer_of(
        pool_of("a", "b"), ejection=EjectionSettings(failures=1, seconds=10, slow_start=20)
    )
    pool = balancer.pools[0]
    fail(pool, "a", 1, now=0.0)
    parts = []
    for now in range(10, 33, 2):
        balancer.tick(float(now))
        counts = shares(pool, 19_00, now=float(now))
        parts.append(round(10 * counts["a"] / counts["b"]))
    assert parts == [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]
    assert backend(balancer, "a").state == "well"


def test_slow_start_holds_for_each_method_and_each_way_to_come_back() -> None:
    for balance in ("round_robin", "least_requests", "session"):
        balancer = balancer_of(
            pool_of("a", "b", balance=balance, most_load=0), ejection=EjectionSettings(slow_start=20)
        )
        pool, late = balancer.pools[0], backend(balancer, "a")
        late.probed(False, 0.0)
        late.probed(False, 0.0)
        assert late.state == "down"
        late.probed(True, 5.0)
        assert late.state == "starting"
        hosts = [one(pool, session=f"s{n}", now=5.0) for n in range(1100)]
        assert 60 <= hosts.count("a") <= 140
        balancer.tick(25.0)
        hosts = [one(pool, session=f"s{n}", now=25.0) for n in range(1100)]
        assert 450 <= hosts.count("a") <= 650
        balancer.drain({"a:80"})
        balancer.drain(set())
        balancer.tick(30.0)
        assert late.state == "starting"


def test_conversations_come_back_one_by_one_and_none_moves_between_the_others() -> None:
    balancer = balancer_of(
        pool_of("a", "b", "c", balance="session"), ejection=EjectionSettings(slow_start=20)
    )
    pool, late = balancer.pools[0], backend(balancer, "a")
    sessions = [f"s{n}" for n in range(300)]
    whole = {s: one(pool, session=s) for s in sessions}
    late.probed(False, 0.0)
    late.probed(False, 0.0)
    before = {s: one(pool, session=s) for s in sessions}
    back: list[set[str]] = []
    late.probed(True, 0.0)
    for now in range(0, 21, 4):
        balancer.tick(float(now))
        homes = {s: one(pool, session=s, now=float(now)) for s in sessions}
        assert all(homes[s] in (before[s], "a") for s in sessions)
        back.append({s for s in sessions if homes[s] == "a"})
    assert all(fewer <= more for fewer, more in zip(back, back[1:], strict=False))
    assert back[-1] == {s for s in sessions if whole[s] == "a"}
    assert len(back[0]) < len(back[-1]) / 3


def test_old_failures_do_not_eject_one_that_has_just_come_back() -> None:
    balancer = balancer_of(pool_of("a", "b"), ejection=QUICK)
    pool, bad = balancer.pools[0], backend(balancer, "a")
    under_way = [got(pool, avoid=[backend(balancer, "b")]) for _ in range(8)]
    for found in under_way[:3]:
        pool.done(found, "failed", 0.0)
    for found in under_way[3:6]:
        pool.done(found, "failed", 5.0)
    balancer.tick(10.0)
    for found in under_way[6:]:
        pool.done(found, "failed", 10.0)
    assert bad.state == "well"


def test_health_that_is_written_to_directly_counts_from_the_next_tick() -> None:
    balancer = balancer_of(pool_of("a", "b"))
    for _ in range(2):
        backend(balancer, "a").health.failed()
    balancer.tick(0.0)
    assert set(shares(balancer.pools[0], 10)) == {"b"}


EVENT = st.tuples(st.sampled_from("abcd"), st.sampled_from(("ok", "failed", "left")), st.floats(0, 5))


@given(st.lists(EVENT, max_size=80), st.sampled_from((0.0, 0.3, 0.5, 1.0)))
def test_whatever_happens_a_pool_keeps_its_part_and_everyone_comes_back(
    events: list[tuple[str, Outcome, float]], most: float
) -> None:
    settings = EjectionSettings(failures=2, seconds=3, longest=12, most=most, slow_start=4)
    balancer = balancer_of(pool_of("a", "b", "c", "d"), ejection=settings)
    pool, now = balancer.pools[0], 0.0
    for name, outcome, passed in events:
        now += passed
        balancer.tick(now)
        others = [b for b in balancer.backends if b.host != name]
        pool.done(got(pool, avoid=others, now=now), outcome, now)
        out = list(states(balancer).values()).count("ejected")
        assert out <= min(4 * most, 3)
        assert all(b.ejected_until <= now + 12 for b in balancer.backends)
        assert not isinstance(ask(pool, now=now), str)
    balancer.tick(now + 12)
    balancer.tick(now + 16.1)
    assert set(states(balancer).values()) == {"well"}
