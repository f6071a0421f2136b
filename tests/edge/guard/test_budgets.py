"""Budgets: who pays, when it is used up, and that it is remembered."""

from pathlib import Path

import msgspec
import pytest

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
