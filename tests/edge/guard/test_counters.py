"""Counters in shared memory: sums over workers, windows, bounded memory, restarts."""

import mmap
from multiprocessing import get_context
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.guard.counters import Arrivals, Counters, size
from deepmoat.edge.guard.table import Spot, Table
from deepmoat.kit.shared import open_shared

SECRET = b"k" * 32


def counters(memory: mmap.mmap, worker: int = 0, workers: int = 2, sets: int = 64) -> Counters:
    return Counters(memory, sets=sets, workers=workers, worker=worker, seconds=10.0, secret=SECRET)


def anonymous(workers: int = 2, sets: int = 64) -> mmap.mmap:
    return mmap.mmap(-1, size(workers, sets))


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("abcdef"), st.floats(0, 100), st.floats(0, 4)),
        max_size=60,
    )
)
def test_the_sum_over_workers_is_what_one_counter_of_all_would_say(
    steps: list[tuple[int, str, float, float]],
) -> None:
    shared = anonymous(4)
    workers = [counters(shared, n, 4) for n in range(4)]
    now, exact = 1000.0, dict[tuple[str, int], float]()
    for worker, key, amount, gap in steps:
        now += gap
        workers[worker].add(key, amount, now)
        exact[key, int(now // 10)] = exact.get((key, int(now // 10)), 0.0) + amount
        for one in workers:
            current, before, _ = one.amounts(key, now)
            assert abs(current - exact[key, int(now // 10)]) < 1e-6
            assert abs(before - exact.get((key, int(now // 10) - 1), 0.0)) < 1e-6


@given(st.lists(st.floats(0, 3), max_size=150), st.integers(1, 20))
def test_no_window_lets_more_through_than_twice_the_limit_and_none_that_begins_fresh_more_than_it(
    gaps: list[float], limit: int
) -> None:
    shared = anonymous()
    workers, now, passed = [counters(shared, n) for n in range(2)], 5000.0, list[float]()
    for n, gap in enumerate(gaps):
        now += gap
        wait = workers[n % 2].spend("k", 1.0, limit, now)
        assert wait >= 0
        if not wait:
            passed.append(now)
    for window in {t // 10 for t in passed}:
        assert sum(t // 10 == window for t in passed) <= limit
    for start in passed:
        assert sum(start <= t < start + 10 for t in passed) <= 2 * limit


def test_whoever_waits_as_long_as_told_may_pass_then() -> None:
    for already in range(1, 30):
        one, now = counters(anonymous()), 1000.0 + already / 7
        spent = [one.spend("k", 1.0, 5, now + i * 0.9) for i in range(already)]
        now += already * 0.9
        wait = one.spend("k", 1.0, 5, now)
        assert not spent[0]
        if wait:
            assert one.spend("k", 1.0, 5, now + wait + 0.01) == 0.0
            assert wait <= 20


def test_a_flood_of_keys_takes_bounded_memory_and_the_busy_one_stays() -> None:
    one = counters(anonymous(1, 16), workers=1, sets=16)
    one.add("busy", 50, 1000.0)
    for n in range(20_000):
        one.add(f"k{n}", 1, 1000.0 + n % 9)
    assert one.amounts("busy", 1009.0)[0] == 50
    assert len(one._values) == 16 * 4 * 4


def test_a_refused_key_is_refused_by_every_worker_and_outlives_a_flood() -> None:
    shared = anonymous()
    first, second = counters(shared, 0), counters(shared, 1)
    first.refuse("bad", 1100.0, 1000.0)
    for n in range(20_000):
        first.add(f"k{n}", 5, 1000.0)
    assert second.spend("bad", 1, 1e9, 1001.0) == 99.0
    assert second.spend("bad", 1, 1e9, 1100.0) == 0.0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    one = counters(anonymous())
    assert [one.spend("k", 1, 2, 1005.0) for _ in range(2)] == [0.0, 0.0]
    assert one.spend("k", 1, 2, 999.0) > 0
    one.add("far", 7, 9_000_000.0)  # a clock that was wrong for a while does not refuse for ever
    assert one.spend("far", 1, 2, 1005.0) == 0.0


def test_the_file_survives_restarts_and_keeps_what_a_worker_wrote_that_is_gone(tmp_path: Path) -> None:
    def opened(worker: int) -> Counters:
        memory = open_shared(tmp_path / "budget", size(64, 64))
        return Counters(memory, sets=64, workers=64, worker=worker, seconds=86_400.0, secret=SECRET)

    for worker in range(4):
        opened(worker).add("k", 10.0, 1e9)
    assert opened(0).amounts("k", 1e9)[0] == 40.0  # now with one worker
    opened(0).add("k", 1.0, 1e9)
    assert opened(63).amounts("k", 1e9)[0] == 41.0


def _add(path: str, worker: int) -> None:
    one = counters(open_shared(Path(path), size(2, 64)), worker)
    for n in range(20_000):
        one.add(f"k{n % 7}", 1.0, 1000.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400)), max_size=60), st.integers(1, 3000))
def test_however_workers_take_turns_a_limit_is_exceeded_by_a_twentieth_at_most(
    turns: list[tuple[int, int]], limit: int
) -> None:
    """The clock stands still: nobody looks again because time has passed."""
    shared = anonymous(4)
    workers = [counters(shared, n, 4) for n in range(4)]
    passed = sum(not workers[w].spend("k", 1.0, limit, 1001.0) for w, times in turns for _ in range(times))
    asked = sum(times for _, times in turns)
    assert min(asked, limit) <= passed <= limit * 1.05
    assert workers[0].amounts("k", 1001.0)[0] == passed


@given(st.lists(st.integers(0, 3), min_size=90, max_size=90), st.integers(1, 80))
def test_a_small_limit_over_four_workers_is_exact(turns: list[int], limit: int) -> None:
    shared = anonymous(4)
    workers = [counters(shared, n, 4) for n in range(4)]
    assert sum(not workers[w].spend("k", 1.0, limit, 1001.0) for w in turns) == limit


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.sampled_from([0.0, 0.001, 0.3, 4.0, 11.0])),
        max_size=80,
    ),
    st.integers(1, 8),
)
def test_a_worker_that_remembers_says_what_one_says_that_looks_anew(
    steps: list[tuple[int, str, float]], limit: int
) -> None:
    """Small limits: nothing remembered may differ, over windows, workers and evictions."""
    one, other, now = anonymous(3, 1), anonymous(3, 1), 1000.0
    remembering = [counters(one, n, 3, 1) for n in range(3)]
    for worker, key, gap in steps:
        now += gap
        fresh = counters(other, worker, 3, 1)
        assert remembering[worker].spend(key, 1.0, limit, now) == fresh.spend(key, 1.0, limit, now)


def test_what_others_add_and_refuse_is_seen_within_a_fifth_of_a_second() -> None:
    shared = anonymous()
    first, second = counters(shared, 0), counters(shared, 1)
    assert first.spend("k", 1.0, 1e6, 1001.0) == first.delay("b", 1e6, 1001.0) == 0.0
    second.add("b", 2e6, 1001.0)
    second.refuse("k", 1100.0, 1001.0)
    assert first.spend("k", 1.0, 1e6, 1001.21) > 98 and first.delay("b", 1e6, 1001.21) > 0
    assert first.refused("k", 1001.21) and not first.refused("b", 1001.21)


def test_a_worker_whose_cell_was_given_up_writes_into_no_other_key() -> None:
    one = counters(anonymous(1, 1), workers=1, sets=1)
    for key in "abcd":
        one.add(key, ord(key), 1001.0)
    one.add("e", 500, 1001.0)  # takes the cell of "a", which is still remembered
    one.add("a", 1000, 1001.0)  # and now that of "b"
    assert [one.amounts(key, 1001.0)[0] for key in "abcde"] == [1000, 0, 99, 100, 500]


def test_only_the_owner_writes_its_region() -> None:
    shared = anonymous(3, 4)
    workers = [counters(shared, n, 3, 4) for n in range(3)]
    for n in range(300):
        workers[n % 2].spend(f"k{n % 40}", 1.0, 50, 1000.0 + n)
    words = 4 * 4 * 4
    assert not any(workers[2]._values[2 * words : 3 * words])
    assert any(workers[2]._values[:words]) and any(workers[2]._values[words : 2 * words])


def test_keys_without_end_are_not_remembered_without_end() -> None:
    small, large = counters(anonymous(sets=2), sets=2), counters(anonymous(sets=1 << 14), sets=1 << 14)
    for n in range(10_000):
        assert small.spend(f"k{n}", 1.0, 5, 1001.0) == large.spend(f"k{n}", 1.0, 5, 1001.0) == 0.0
    assert (len(small._recent), len(large._recent)) == (8, 8_192)


def test_what_was_forgotten_here_is_found_again_in_the_table() -> None:
    one = counters(anonymous(1, 1 << 12), workers=1, sets=1 << 12)
    one.add("k", 3.0, 1001.0)
    one.refuse("bad", 1100.0, 1001.0)
    for n in range(9_000):
        one.amounts(f"other{n}", 1001.0)
    assert one._get("k") is None is one._get("bad")
    assert one.amounts("k", 1001.0)[0] == 3.0
    assert one.spend("bad", 1.0, 9.0, 1001.0) == 99.0


def test_two_tables_of_one_worker_on_one_memory_lose_nothing() -> None:
    shared = anonymous(1)
    old, new = counters(shared, 0, 1), counters(shared, 0, 1)  # a reload: the old one ends what it began
    for n in range(60):
        (old, new)[n % 2].add("k", 1.0, 1000.0 + n / 3)
    assert old.amounts("k", 1019.9) == new.amounts("k", 1019.9) == (30.0, 30.0, 0.0)


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    context = get_context("fork")
    both = [context.Process(target=_add, args=(str(tmp_path / "rates"), n)) for n in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    one = counters(open_shared(tmp_path / "rates", size(2, 64)))
    assert sum(one.amounts(f"k{n}", 1000.0)[0] for n in range(7)) == 40_000


def test_another_secret_places_keys_elsewhere() -> None:
    places = {
        Spot(Table(anonymous(1, 1 << 10), sets=1 << 10, regions=1, worker=0, words=4, secret=s), "k").number
        for s in (b"a", b"b")
    }
    assert len(places) == 2


def arrivals(rate: float, burst: float, workers: int = 1) -> list[Arrivals]:
    shared = mmap.mmap(-1, Table.size(sets=256, regions=workers, words=1))
    return [
        Arrivals(
            lambda name, size: shared,
            "r",
            rate=rate,
            burst=burst,
            keys=1000,
            workers=workers,
            worker=n,
            secret=SECRET,
        )
        for n in range(workers)
    ]


@given(
    st.floats(0.1, 1000),
    st.integers(1, 1000),
    st.lists(st.floats(0, 5, allow_nan=False), max_size=200),
    st.integers(1, 3),
)
def test_no_stretch_of_time_lets_more_through_than_rate_and_burst_allow(
    rate: float, burst: int, gaps: list[float], workers: int
) -> None:
    every, start, passed = arrivals(rate, burst, workers), 1e9, 0
    now = start
    for n, gap in enumerate(gaps):
        now += gap
        passed += not every[n % workers].spend("k", now)
    assert passed <= burst + rate * (now - start) + 1e-2
    if all(gap * rate >= 1.001 for gap in gaps):
        assert passed == len(gaps)


def test_workers_space_out_one_key_together_whoever_comes_and_goes_in_its_set() -> None:
    every, now = arrivals(8, 20, 3), 1e9
    passed = [not every[n % 3].spend("k", now) for n in range(60)]
    assert passed == [True] * 20 + [False] * 40
    for n in range(5_000):
        every[n % 3].spend(f"other{n}", now)
    assert sum(not every[n % 3].spend("k", now + 1.0) for n in range(60)) == 8


def test_a_bucket_fills_again_and_a_clock_that_goes_back_gives_nothing() -> None:
    (one,) = arrivals(1, 1)
    assert not one.spend("k", 100.0)
    assert one.spend("k", 50.0) == 1.0  # not 51: the clock was set, nobody waits for the old time
    assert one.spend("k", 100.5) == 0.5
    assert not one.spend("k", 101.0)
