"""The guard: what a worker builds, and what a reload keeps."""

import mmap
from datetime import UTC, datetime, timedelta

import maxminddb
import msgspec
import pytest

from deepmoat.edge.chain import PASS, checks, judge_call, judge_head
from deepmoat.edge.guard.counters import Memory
from deepmoat.edge.guard.geo import asn_lookup, country
from deepmoat.edge.guard.guard import Guard
from deepmoat.edge.guard.settings import (
    BudgetSettings,
    ChallengeSettings,
    GeoSettings,
    RateRuleSettings,
    RateSettings,
)
from deepmoat.kit.errors import ConfigError
from deepmoat.model import Action, Request

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START.timestamp()
BROWSER = Request("192.0.2.1", "GET", "/", headers={"accept": "text/html", "user-agent": "m"})


class All(msgspec.Struct, frozen=True):
    rate: RateSettings = RateSettings()
    rates: tuple[RateRuleSettings, ...] = ()
    challenge: ChallengeSettings = ChallengeSettings()
    budgets: tuple[BudgetSettings, ...] = ()
    geo: GeoSettings = GeoSettings()


class Call(msgspec.Struct):
    model: str = "m"
    user: str = ""


def memory(made: dict[str, mmap.mmap] | None = None) -> Memory:
    kept: dict[str, mmap.mmap] = {} if made is None else made
    return lambda name, size: kept.setdefault(f"{name} {size}", mmap.mmap(-1, size))


def guard(settings: All, shared: Memory | None = None) -> Guard:
    shared = shared or memory()
    return Guard(settings, secret=b"k" * 32, shared=shared, persistent=shared, workers=1, worker=0)


EVERYTHING = All(
    RateSettings(requests_per_second=1, burst=3),
    (
        RateRuleSettings(name="slow", limit=2, seconds=60, by=("user_agent_original",)),
        RateRuleSettings(name="heavy", limit=100, seconds=60, unit="bytes"),
        RateRuleSettings(name="open", limit=2, seconds=60, unit="connections", then="block"),
    ),
    ChallengeSettings(always=True),
    (BudgetSettings(name="all", by=(), tokens_per_day=10),),
)


def test_without_settings_nothing_is_asked_but_orders_and_no_memory_is_taken() -> None:
    made: dict[str, mmap.mmap] = {}
    plain = guard(All(), memory(made))
    asked = checks(plain)
    assert (len(asked.head), asked.call, plain.headers, made) == (1, (), frozenset(), {})
    assert judge_head(BROWSER, NOW, asked) is PASS is judge_call(BROWSER, Call(), NOW, asked)
    assert plain.connected("192.0.2.1", NOW) is None and not plain.counts_bytes


def test_the_first_check_that_objects_decides() -> None:
    whole = guard(EVERYTHING)
    asked = checks(whole)
    assert len(asked.head) == 5 and len(asked.call) == 1
    assert whole.headers == {b"accept", b"cookie", b"user-agent"}
    rules = [judge_head(BROWSER, NOW, asked).rule for _ in range(4)]
    assert rules == ["challenge/always", "challenge/always", "rate/slow", "rate"]
    order = Action(
        id="a",
        kind="block",
        targets=((("client_address", "192.0.2.1"),),),
        cause="c",
        reason="r",
        start=START,
        end=START + timedelta(minutes=1),
    )
    whole.actions.take(msgspec.json.encode({"version": 1, "actions": [order]}))
    assert judge_head(BROWSER, NOW, asked).rule == "action/a"


def test_bytes_connections_and_tokens_are_counted_where_they_happen() -> None:
    whole = guard(EVERYTHING)
    asked = checks(whole)
    whole.sent(BROWSER, 100, NOW)
    assert judge_head(BROWSER, NOW, asked).rule == "rate/heavy"
    seen = [whole.connected("192.0.2.1", NOW) for _ in range(3)]
    assert seen[:2] == [None, None] and seen[2] is not None and seen[2].rule == "rate/open"
    assert judge_call(BROWSER, Call(), NOW, asked) is PASS
    whole.spend(BROWSER, Call(), 10, 0.0, NOW)
    assert judge_call(BROWSER, Call(), NOW, asked).rule == "budget/all"


def test_a_successor_keeps_orders_and_counters() -> None:
    first = guard(EVERYTHING)
    order = Action(
        id="a",
        kind="limit",
        targets=((("url_path", "/x"),),),
        cause="c",
        reason="r",
        start=START,
        end=START + timedelta(minutes=1),
    )
    first.actions.take(msgspec.json.encode({"version": 1, "actions": [order]}))
    for _ in range(2):
        judge_head(BROWSER, NOW, checks(first))
    slower = msgspec.structs.replace(EVERYTHING, challenge=ChallengeSettings(), rate=RateSettings())
    second = first.successor(slower)
    assert judge_head(BROWSER, NOW, checks(second)).rule == "rate/slow"
    there = msgspec.structs.replace(BROWSER, path="/x")
    assert [second.actions.check(there, NOW) is None for _ in range(6)] == [True] * 5 + [False]
    assert not second.wants_state


def test_settings_that_contradict_each_other_are_refused_and_change_nothing() -> None:
    rule, spent = EVERYTHING.rates[0], EVERYTHING.budgets[0]
    for wrong in (
        All(rates=(rule, rule)),
        All(budgets=(spent, spent)),
        All(rates=(RateRuleSettings(name="a", limit=1, seconds=1, by=("client_asn",)),)),
        All(geo=GeoSettings(asn_file="/nonexistent.mmdb")),
    ):
        with pytest.raises(ConfigError):
            guard(wrong)
        with pytest.raises(ConfigError):
            guard(All()).successor(wrong)


def test_a_file_of_systems_is_asked_once_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader:
        asked = 0

        def get(self, address: str) -> object:
            self.asked += 1
            if address == "nonsense":
                raise ValueError
            return {"autonomous_system_number": 64496}

    reader = Reader()
    monkeypatch.setattr(maxminddb, "open_database", lambda file, mode: reader)
    asn = asn_lookup("x.mmdb")
    assert asn is not None and [asn("192.0.2.1"), asn("192.0.2.1"), asn("nonsense")] == ["64496"] * 2 + [""]
    assert reader.asked == 2 and asn_lookup("") is None
    settings = All(
        geo=GeoSettings(asn_file="x.mmdb"),
        rates=(RateRuleSettings(name="a", limit=1, seconds=1, by=("client_asn",)),),
    )
    first = guard(All())
    assert first.successor(settings).wants_state
    assert [country(a) for a in ("8.8.8.8", "127.0.0.1", "x")] == ["US", "", ""]
