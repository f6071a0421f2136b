"""Ways to choose: weighted shares are exact, the least busy is asked, conversations stay where they were."""

from collections import Counter

import pytest
from edge.balance.stage import ask, backend, balancer_of, got, one, pool_of, shares
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.balance.method import METHODS, strides
from deepmoat.edge.balance.settings import PoolSettings

WEIGHTS = st.lists(st.integers(1, 12), min_size=1, max_size=6)


def test_the_folder_has_what_the_settings_offer() -> None:
    assert METHODS.names() == ["least_requests", "round_robin", "session"]
    assert {PoolSettings(name="x", balance=name).balance for name in METHODS.names()} == set(METHODS.names())


@given(WEIGHTS, st.integers(1, 3))
def test_round_robin_gives_exactly_the_weights_in_every_cycle(weights: list[int], cycles: int) -> None:
    pool = balancer_of(pool_of(*[f"b{n}:{weight}" for n, weight in enumerate(weights)])).pools[0]
    for _ in range(cycles):
        assert shares(pool, sum(weights)) == {f"b{n}": weight for n, weight in enumerate(weights)}


def test_round_robin_mixes_rather_than_asking_one_many_times_in_a_row() -> None:
    pool = balancer_of(pool_of("a:5", "b:1", "c:1")).pools[0]
    turns = "".join(one(pool) for _ in range(7))
    assert sorted(turns) == sorted("aaaaabc")
    assert "aaaa" not in turns + turns
    even = balancer_of(pool_of("a:3", "b:3")).pools[0]
    assert "".join(one(even) for _ in range(6)) in ("ababab", "bababa")


@given(WEIGHTS)
def test_no_backend_waits_longer_than_its_weight_allows(weights: list[int]) -> None:
    pool = balancer_of(pool_of(*[f"b{n}:{weight}" for n, weight in enumerate(weights)])).pools[0]
    turns = [one(pool) for _ in range(3 * sum(weights))]
    for n, weight in enumerate(weights):
        at = [turn for turn, host in enumerate(turns) if host == f"b{n}"]
        gaps = [late - soon for soon, late in zip(at, at[1:], strict=False)]
        assert max(gaps) <= 2 * sum(weights) / weight + len(weights)


def test_huge_weights_that_share_no_divisor_keep_their_shares() -> None:
    weights = [997, 991, 983, 977, 971, 967]
    assert all(0 <= first < step for first, step in strides([*weights, 953, 947, 941, 937, 929, 919]))
    pool = balancer_of(pool_of(*[f"b{n}:{weight}" for n, weight in enumerate(weights)])).pools[0]
    assert shares(pool, sum(weights)) == {f"b{n}": weight for n, weight in enumerate(weights)}


def test_who_was_passed_over_is_not_owed_its_turns() -> None:
    balancer = balancer_of(pool_of("a:1:1", "b"))
    pool = balancer.pools[0]
    held = next(found for found in (got(pool) for _ in range(4)) if found.host == "a")
    for _ in range(100):
        assert one(pool) == "b"
    pool.done(held, "ok", 0.0)
    assert shares(pool, 20) == {"a": 10, "b": 10}


def test_who_was_passed_over_behind_another_that_is_full_is_not_owed_its_turns_either() -> None:
    pool = balancer_of(pool_of("a:1:1", "b:1:1", "c")).pools[0]
    held = {found.host: found for found in (got(pool) for _ in range(3))}
    for _ in range(100):
        assert one(pool) == "c"
    pool.done(held["b"], "ok", 0.0)
    assert shares(pool, 20)["b"] in (10, 11)  # one at once, and then its share


def test_with_least_requests_who_was_busy_is_not_owed_the_turns_of_that_time() -> None:
    pool = balancer_of(pool_of("a", "b", balance="least_requests")).pools[0]
    held = got(pool)
    other = {"a": "b", "b": "a"}[held.host]
    for _ in range(100):
        assert one(pool) == other
    pool.done(held, "ok", 0.0)
    assert shares(pool, 20)[held.host] in (10, 11)


def test_least_requests_asks_the_one_with_the_fewest_in_flight_for_its_weight() -> None:
    balancer = balancer_of(pool_of("a:1", "b:3", balance="least_requests"))
    pool = balancer.pools[0]
    for _ in range(40):
        got(pool)
    assert {b.host: b.in_flight for b in balancer.backends} == {"a": 10, "b": 30}
    for _ in range(6):
        pool.done(backend(balancer, "a"), "ok", 0.0)
    assert [got(pool).host for _ in range(6)] == ["a"] * 6


@given(WEIGHTS)
def test_least_requests_gives_the_weights_when_requests_come_one_at_a_time(weights: list[int]) -> None:
    settings = pool_of(*[f"b{n}:{w}" for n, w in enumerate(weights)], balance="least_requests")
    pool = balancer_of(settings).pools[0]
    assert shares(pool, 2 * sum(weights)) == {f"b{n}": 2 * weight for n, weight in enumerate(weights)}


def test_least_requests_among_very_many_is_close_and_reaches_all() -> None:
    balancer = balancer_of(pool_of(*[f"b{n}" for n in range(50)], balance="least_requests"))
    for _ in range(500):
        got(balancer.pools[0])
    loads = [b.in_flight for b in balancer.backends]
    assert sum(loads) == 500
    assert min(loads) >= 9
    assert max(loads) <= 11


SESSIONS = [f"session-{n}" for n in range(400)]


def homes(*backends: str) -> dict[str, str]:
    pool = balancer_of(pool_of(*backends, balance="session")).pools[0]
    return {session: one(pool, session=session) for session in SESSIONS}


def test_a_conversation_goes_where_it_went_before_in_every_worker() -> None:
    first = homes("a", "b", "c")
    assert homes("c", "a", "b") == first
    assert set(first.values()) == {"a", "b", "c"}


@given(st.lists(st.integers(0, 30).map(lambda n: f"b{n}"), min_size=2, max_size=8, unique=True))
def test_a_backend_that_goes_takes_only_its_own_conversations_with_it(names: list[str]) -> None:
    whole, less = homes(*names), homes(*names[1:])
    moved = {session for session in SESSIONS if whole[session] != less[session]}
    assert moved == {session for session in SESSIONS if whole[session] == names[0]}


@given(st.integers(1, 6), st.integers(2, 9))
def test_a_greater_weight_only_draws_conversations_to_itself(before: int, after: int) -> None:
    small, large = sorted((before, before + after))
    light, heavy = homes(f"a:{small}", "b:2", "c:2"), homes(f"a:{large}", "b:2", "c:2")
    assert all(heavy[s] == light[s] or heavy[s] == "a" for s in SESSIONS)


def test_conversations_spread_by_weight() -> None:
    pool = balancer_of(pool_of("a:1", "b:2", "c:5", balance="session")).pools[0]
    found = Counter(one(pool, session=f"s{n}") for n in range(8000))
    assert found["a"] == pytest.approx(1000, rel=0.12)
    assert found["b"] == pytest.approx(2000, rel=0.08)
    assert found["c"] == pytest.approx(5000, rel=0.05)


def test_without_a_session_requests_are_spread() -> None:
    pool = balancer_of(pool_of("a", "b", balance="session")).pools[0]
    found = Counter(one(pool, session="") for _ in range(400))
    assert min(found["a"], found["b"]) > 150


def test_a_conversation_goes_to_its_second_choice_while_the_first_is_away_and_returns() -> None:
    balancer = balancer_of(pool_of("a", "b", "c", balance="session"))
    pool = balancer.pools[0]
    home = got(pool, session="talk")
    for _ in range(2):
        home.probed(False, 1.0)
    away = {one(pool, session="talk", now=1.0) for _ in range(5)}
    assert len(away) == 1
    assert home.host not in away
    home.probed(True, 2.0)
    assert one(pool, session="talk", now=2.0) == home.host


def test_a_conversation_whose_backend_is_full_does_not_wait_for_it() -> None:
    pool = balancer_of(pool_of("a:1:1", "b:1:1", balance="session")).pools[0]
    first = got(pool, session="talk")
    second = got(pool, session="talk")
    assert {first.host, second.host} == {"a", "b"}
    assert ask(pool, session="talk") == "queued"


def test_no_backend_takes_much_more_than_its_share_of_what_is_in_flight() -> None:
    balancer = balancer_of(pool_of("a", "b", "c", "d", balance="session", most_load=1.25))
    for _ in range(400):
        got(balancer.pools[0], session="one that everybody has")
    assert max(b.in_flight for b in balancer.backends) <= 1.25 * 100 + 1
    unbound = balancer_of(pool_of("a", "b", "c", "d", balance="session", most_load=0))
    assert {got(unbound.pools[0], session="x").host for _ in range(400)} == {
        one(unbound.pools[0], session="x")
    }


def test_a_few_requests_at_once_do_not_move_a_conversation() -> None:
    pool = balancer_of(pool_of("a", "b", "c", balance="session", most_load=1.0)).pools[0]
    assert len({got(pool, session="talk").host for _ in range(4)}) == 1


@pytest.mark.parametrize("balance", METHODS.names())
def test_every_method_finds_the_one_place_that_is_left(balance: str) -> None:
    pool = balancer_of(pool_of("a:1:3", "b:7:2", "c:2:1", balance=balance)).pools[0]
    found = Counter(got(pool, session=f"s{n}").host for n in range(6))
    assert found == {"a": 3, "b": 2, "c": 1}
    assert ask(pool, session="s") == "queued"


@pytest.mark.parametrize("balance", METHODS.names())
def test_no_method_asks_who_was_tried_already(balance: str) -> None:
    balancer = balancer_of(pool_of("a", "b:9", "c", balance=balance))
    pool, tried = balancer.pools[0], [backend(balancer, "b"), backend(balancer, "c")]
    assert {one(pool, session=f"s{n}", avoid=tried) for n in range(40)} == {"a"}
    assert ask(pool, avoid=[*tried, backend(balancer, "a")]) == "no_backend"
    assert sum(b.in_flight for b in balancer.backends) == 0
