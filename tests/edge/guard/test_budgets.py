"""Budgets: who pays, when it is used up, and that it is remembered."""

import math
import mmap
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmoat.edge.guard.budgets import Budget
from deepmoat.edge.guard.settings import BudgetSettings
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings, load
from deepmoat.kit.shared import open_shared
from deepmoat.model import Request

DAY = 86_400.0
NOON = 20_000 * DAY + 43_200.0
REQUEST = Request("192.0.2.1", "POST", "/v1/chat/completions", key_hash="k1", session="s1")


class Call(msgspec.Struct):
    model: str = "m-1"
    user: str = "u1"


def budget(folder: Path, worker: int = 0, workers: int = 2, **settings: object) -> Budget:
    return Budget(
        BudgetSettings(**{"name": "b", **settings}),  # type: ignore[arg-type]
        lambda name, size: open_shared(folder / name, size),
        workers=workers,
        worker=worker,
        secret=b"k" * 32,
    )


def together(workers: int, **settings: object) -> list[Budget]:
    """So many workers on one memory."""
    made: dict[tuple[str, int], mmap.mmap] = {}

    def memory(name: str, size: int) -> mmap.mmap:
        return made.setdefault((name, size), mmap.mmap(-1, size))

    wanted = BudgetSettings(**{"name": "b", "remembered": 64, **settings})  # type: ignore[arg-type]
    return [Budget(wanted, memory, workers=workers, worker=n, secret=b"k" * 32) for n in range(workers)]


def test_tokens_of_a_day_are_refused_until_midnight_in_utc_by_every_worker(tmp_path: Path) -> None:
    first, second = (budget(tmp_path, n, tokens_per_day=1000) for n in range(2))
    assert first.check(REQUEST, Call(), NOON) is None
    first.spend(REQUEST, Call(), 600, 0.0, NOON)
    assert second.check(REQUEST, Call(), NOON) is None
    second.spend(REQUEST, Call(), 400, 0.0, NOON)
    verdict = first.check(REQUEST, Call(), NOON + 0.5)
    assert verdict is not None
    assert (verdict.decision, verdict.rule, verdict.status) == ("limit", "budget/b", 429)
    assert verdict.retry_after == 43_200 and "tokens per day" in verdict.reason
    assert second.check(REQUEST, Call(), NOON + verdict.retry_after) is None


def test_what_was_spent_outlives_all_workers_and_another_number_of_them(tmp_path: Path) -> None:
    for worker in range(4):
        budget(tmp_path, worker, 4, money_per_day=10.0).spend(REQUEST, Call(), 5, 2.5, NOON)
    only = budget(tmp_path, 0, 1, money_per_day=10.0)
    assert only.used(REQUEST, Call(), NOON) == {"money_per_day": 10.0}
    assert only.check(REQUEST, Call(), NOON) is not None
    assert only.check(REQUEST, Call(), NOON + DAY) is None


def test_requests_are_counted_when_asked_and_come_back_with_the_minute(tmp_path: Path) -> None:
    first, second = (budget(tmp_path, n, requests_per_minute=3) for n in range(2))
    seen = [(first, second)[n % 2].check(REQUEST, Call(), NOON + n) for n in range(5)]
    assert [v is None for v in seen] == [True, True, True, False, False]
    assert seen[3] is not None and seen[3].retry_after == 57
    assert first.check(REQUEST, Call(), NOON + 60) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 300)), max_size=40), st.integers(1, 2000))
@settings(deadline=None)
def test_requests_over_workers_exceed_a_limit_by_a_twentieth_at_most(
    turns: list[tuple[int, int]], limit: int
) -> None:
    workers = together(4, requests_per_minute=limit)
    passed = sum(workers[w].check(REQUEST, Call(), NOON) is None for w, times in turns for _ in range(times))
    asked = sum(times for _, times in turns)
    assert min(asked, limit) <= passed <= limit * 1.05
    assert workers[3].used(REQUEST, Call(), NOON)["requests_per_minute"] == passed


def test_a_small_limit_of_requests_is_exact_over_workers() -> None:
    for limit in (0.5, 1, 2, 7, 60):
        workers = together(4, requests_per_minute=limit)
        passed = [workers[n % 4].check(REQUEST, Call(), NOON + n / 100) is None for n in range(200)]
        assert sum(passed) == math.ceil(limit)


def test_tokens_that_others_charge_are_seen_at_the_latest_after_a_fifth_of_a_second() -> None:
    first, second = together(2, tokens_per_minute=10_000, money_per_day=1.0)
    for worker in (first, second):
        assert worker.check(REQUEST, Call(), NOON) is None
    first.spend(REQUEST, Call(), 10_000, 0.1, NOON)
    assert first.check(REQUEST, Call(), NOON) is not None
    assert second.check(REQUEST, Call(), NOON + 0.21) is not None
    assert second.check(REQUEST, Call(), NOON + 60) is None
    second.spend(REQUEST, Call(), 1, 0.9, NOON + 60)
    verdict = first.check(REQUEST, Call(), NOON + 60.1)
    assert verdict is not None and verdict.reason == "money per day used up"


def test_one_cell_holds_the_minute_and_the_day_each_rolls_by_itself() -> None:
    (one,) = together(
        1, requests_per_minute=9, tokens_per_minute=900, tokens_per_day=9000, money_per_day=90.0
    )
    for minute in range(3):
        now = NOON + 60 * minute
        assert one.check(REQUEST, Call(), now) is None
        one.spend(REQUEST, Call(), 100, 2.0, now + 30)
        assert one.used(REQUEST, Call(), now + 59) == {
            "requests_per_minute": 1.0,
            "tokens_per_minute": 100.0,
            "tokens_per_day": 100.0 * (minute + 1),
            "money_per_day": 2.0 * (minute + 1),
        }
    assert set(one.used(REQUEST, Call(), NOON + DAY).values()) == {0.0}
    one.spend(REQUEST, Call(), 7, 0.0, NOON + DAY)
    assert one.used(REQUEST, Call(), NOON + DAY)["tokens_per_day"] == 7.0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from("ab"),
            st.sampled_from([0.0, 0.3, 20.0, 70.0, DAY]),
            st.integers(0, 500),
        ),
        max_size=60,
    )
)
@settings(deadline=None)
def test_all_that_workers_charge_adds_up(steps: list[tuple[int, str, float, int]]) -> None:
    workers = together(3, tokens_per_minute=1e9, tokens_per_day=1e9)
    now, minutes, days = NOON, Counter[tuple[str, float]](), Counter[tuple[str, float]]()
    for worker, key, gap, tokens in steps:
        now += gap
        request = msgspec.structs.replace(REQUEST, key_hash=key)
        assert workers[worker].check(request, Call(), now) is None
        workers[worker].spend(request, Call(), tokens, 0.0, now)
        minutes[key, now // 60] += tokens
        days[key, now // DAY] += tokens
        for one in workers:
            used = one.used(request, Call(), now)
            assert used == {
                "tokens_per_minute": minutes[key, now // 60],
                "tokens_per_day": days[key, now // DAY],
            }


def test_a_worker_alone_hears_within_ten_seconds_what_one_that_ends_still_charges(tmp_path: Path) -> None:
    ending, only = budget(tmp_path, 3, 4, tokens_per_day=100), budget(tmp_path, 0, 1, tokens_per_day=100)
    assert only.check(REQUEST, Call(), NOON) is None
    ending.spend(REQUEST, Call(), 100, 0.0, NOON + 1)
    assert only.check(REQUEST, Call(), NOON + 10) is not None


def test_a_flood_of_payers_gives_up_those_that_used_the_least_of_their_limits() -> None:
    (one,) = together(1, tokens_per_day=1_000_000, money_per_day=10.0, remembered=16)
    rich = msgspec.structs.replace(REQUEST, key_hash="rich")
    one.spend(rich, Call(), 0, 9.0, NOON)  # nine of ten; in numbers less than any payer's tokens
    for n in range(2_000):
        one.spend(msgspec.structs.replace(REQUEST, key_hash=f"k{n}"), Call(), 1000, 0.0, NOON)
    assert one.used(rich, Call(), NOON)["money_per_day"] == 9.0


def test_what_cannot_be_charged_takes_no_cell() -> None:
    (one,) = together(1, tokens_per_day=10)
    for tokens in (0.0, -5.0, math.nan):
        one.spend(REQUEST, Call(), tokens, 3.0, NOON)
    assert not any(one._values)


@pytest.mark.parametrize(
    ("by", "other"),
    [
        ("key", (msgspec.structs.replace(REQUEST, key_hash="k2"), Call())),
        ("session", (msgspec.structs.replace(REQUEST, session="s2"), Call())),
        ("address", (msgspec.structs.replace(REQUEST, client_address="192.0.2.2"), Call())),
        ("model", (REQUEST, Call(model="m-2"))),
        ("user", (REQUEST, Call(user="u2"))),
    ],
)
def test_each_payer_has_a_budget_of_its_own(tmp_path: Path, by: str, other: tuple[Request, Call]) -> None:
    one = budget(tmp_path, by=(by,), requests_per_minute=1)
    assert one.check(REQUEST, Call(), NOON) is None
    assert one.check(REQUEST, Call(), NOON) is not None
    assert one.check(*other, NOON) is None
    assert one.check(*other, NOON) is not None


def test_a_budget_by_nothing_is_shared_by_all(tmp_path: Path) -> None:
    one = budget(tmp_path, by=(), tokens_per_minute=10)
    one.spend(REQUEST, Call(), 10, 0.0, NOON)
    assert one.check(msgspec.structs.replace(REQUEST, key_hash="k2"), Call(user="u2"), NOON) is not None


def test_calls_that_are_not_meant_neither_pay_nor_are_refused(tmp_path: Path) -> None:
    one = budget(tmp_path, models=("m-1",), keys=("k1",), users=("u1",), tokens_per_day=1)
    others = (
        (REQUEST, Call(model="m-2")),
        (REQUEST, Call(user="")),
        (msgspec.structs.replace(REQUEST, key_hash=""), Call()),
    )
    for request, call in others:
        one.spend(request, call, 10**6, 1.0, NOON)
        assert one.check(request, call, NOON) is None
    assert one.check(REQUEST, Call(), NOON) is None
    one.spend(REQUEST, Call(), 1, 0.0, NOON)
    assert one.check(REQUEST, Call(), NOON) is not None


def test_a_worker_too_many_is_an_error_and_no_region_of_another(tmp_path: Path) -> None:
    assert budget(tmp_path, 64, 65, tokens_per_day=1, remembered=4).check(REQUEST, Call(), NOON) is None
    with pytest.raises(ConfigError):
        budget(tmp_path, 256, 257, tokens_per_day=1, remembered=4)


class File(Settings, frozen=True):
    budgets: tuple[BudgetSettings, ...] = ()


@pytest.mark.parametrize(
    "text", ['name = "a"', 'name = "a"\ntokens_per_day = -1', 'name = "a"\nby = ["x"]\ntokens_per_day = 1']
)
def test_a_budget_that_cannot_be_is_refused_while_the_file_is_read(text: str) -> None:
    with pytest.raises(ConfigError):
        load(File, "[[budgets]]\n" + text, where="moat.toml")
