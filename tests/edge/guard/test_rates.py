"""Rates: who is counted together, what is refused, and for how long."""

import mmap

import msgspec
import pytest

from deepmoat.edge.guard.challenge import Challenge
from deepmoat.edge.guard.counters import Memory
from deepmoat.edge.guard.fields import joined, readers
from deepmoat.edge.guard.rates import Rate, RateRule
from deepmoat.edge.guard.settings import ChallengeSettings, RateRuleSettings, RateSettings
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings, load
from deepmoat.model import Request

SECRET = b"k" * 32
NOW = 1_000_000.0


def request(client: str = "192.0.2.1", path: str = "/", **more: object) -> Request:
    return Request(client, "GET", path, **more)  # type: ignore[arg-type]


def memory() -> Memory:
    """Memory by name, the same for all that are given this."""
    made: dict[tuple[str, int], mmap.mmap] = {}

    def get(name: str, size: int) -> mmap.mmap:
        return made.setdefault((name, size), mmap.mmap(-1, size))

    return get


def rules(workers: int = 1, **settings: object) -> list[RateRule]:
    shared = memory()
    rule = RateRuleSettings(**{"name": "r", "limit": 10, "seconds": 10, **settings})  # type: ignore[arg-type]
    return [
        RateRule(
            rule,
            shared,
            workers=workers,
            worker=n,
            secret=SECRET,
            known=readers(),
            challenge=Challenge(ChallengeSettings(difficulty=4), SECRET),
        )
        for n in range(workers)
    ]


def test_a_client_above_its_rate_is_told_when_to_come_back_by_every_worker() -> None:
    shared = memory()
    settings = RateSettings(requests_per_second=0.4, burst=2)
    first, second = (Rate(settings, shared, workers=2, worker=n, secret=SECRET) for n in range(2))
    verdicts = [first.check(request(), NOW), second.check(request(), NOW), first.check(request(), NOW)]
    assert verdicts[:2] == [None, None] and verdicts[2] is not None
    assert (verdicts[2].status, verdicts[2].retry_after, verdicts[2].rule) == (429, 3, "rate")
    assert second.check(request("192.0.2.2"), NOW) is None
    assert first.check(request(), NOW + 2.51) is None


def test_the_sum_of_all_workers_holds() -> None:
    workers = rules(4, limit=100)
    passed = sum(workers[n % 4].check(request(), NOW + n / 1000) is None for n in range(1000))
    assert passed == 100


def test_a_rule_counts_only_what_it_names() -> None:
    (rule,) = rules(limit=1, hosts=("a.example",), paths=("/login", "/api/"))
    counted = request(path="/login", host="a.example")
    assert rule.check(counted, NOW) is None and rule.check(counted, NOW) is not None
    for other in (
        request(path="/", host="a.example"),
        request(path="/login", host="b.example"),
        request(path="/api", host="a.example"),
    ):
        assert [rule.check(other, NOW) for _ in range(3)] == [None] * 3


def test_values_of_several_fields_never_run_into_each_other() -> None:
    read = joined(("url_path", "server_address"), readers())
    assert read(request(path="/a", host="b")) != read(request(path="/", host="ab"))
    assert read(request(path="/a1:", host="b")) != read(request(path="/a", host="1:b"))


def test_a_key_that_exceeded_stays_refused_as_long_as_asked() -> None:
    first, second = rules(2, limit=2, block_seconds=300, then="block")
    seen = [first.check(request(), NOW) for _ in range(3)]
    assert seen[:2] == [None, None] and seen[2] is not None
    assert (seen[2].decision, seen[2].status, seen[2].rule) == ("block", 403, "rate/r")
    assert second.check(request(), NOW + 299) is not None
    assert second.check(request(), NOW + 301) is None
    assert second.check(request("192.0.2.2"), NOW) is None


def test_the_wait_that_is_told_is_that_of_the_block() -> None:
    (rule,) = rules(limit=1, block_seconds=300)
    rule.check(request(), NOW)
    waits = [v.retry_after for t in (0, 1, 100.5) if (v := rule.check(request(), NOW + t))]
    assert waits == [300, 299, 200]


def test_without_a_block_a_key_passes_as_soon_as_it_is_no_longer_over() -> None:
    (rule,) = rules(limit=10)
    assert [rule.check(request(), NOW) is None for _ in range(12)] == [True] * 10 + [False] * 2
    told = rule.check(request(), NOW)
    assert told is not None and told.retry_after == 11
    assert rule.check(request(), NOW + 11) is None


def test_bytes_are_counted_after_they_are_sent_and_refuse_the_next_request() -> None:
    first, second = rules(2, limit=1000, unit="bytes")
    assert first.check_bytes(request(), NOW) is None
    first.sent(request(), 999, NOW)
    assert second.check_bytes(request(), NOW) is None
    second.sent(request(), 1, NOW)
    verdict = first.check_bytes(request(), NOW)
    assert verdict is not None and (verdict.reason, verdict.status) == ("too many bytes", 429)
    assert verdict.retry_after == 11
    assert first.check_bytes(request(), NOW + verdict.retry_after) is None


def test_a_rule_can_ask_for_a_challenge() -> None:
    (rule,) = rules(limit=1, then="challenge")
    browser = request(headers={"accept": "text/html"})
    assert rule.check(browser, NOW) is None
    verdict = rule.check(browser, NOW)
    assert verdict is not None and (verdict.decision, verdict.status) == ("challenge", 403)
    program = rule.check(request(), NOW)
    assert program is not None and (program.decision, program.status) == ("limit", 429)


class File(Settings, frozen=True):
    rates: tuple[RateRuleSettings, ...] = ()


REFUSED = (
    'name = "a"\nlimit = 1',
    'name = "a b"\nlimit = 1\nseconds = 1',
    'name = "../x"\nlimit = 1\nseconds = 1',
    'name = "a"\nlimit = 0\nseconds = 1',
    'name = "a"\nlimit = 1\nseconds = 0.5',
    'name = "a"\nlimit = 1\nseconds = 1\nby = []',
    'name = "a"\nlimit = 1\nseconds = 1\nby = ["clientaddress"]',
    'name = "a"\nlimit = 1\nseconds = 1\nby = ["session", "session"]',
    'name = "a"\nlimit = 1\nseconds = 1\nunit = "connections"\nby = ["session"]',
    'name = "a"\nlimit = 1\nseconds = 1\nunit = "connections"\npaths = ["/"]',
    'name = "a"\nlimit = 1\nseconds = 1\nunit = "connections"\nthen = "challenge"',
)


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_a_rule_that_cannot_be_is_refused_while_the_file_is_read(text: str) -> None:
    with pytest.raises(ConfigError):
        load(File, "[[rates]]\n" + text, where="moat.toml")


def test_a_rule_is_read_from_toml() -> None:
    text = (
        '[[rates]]\nname = "login"\nby = ["client_asn", "url_path"]\nlimit = 5\nseconds = 60\nthen = "block"'
    )
    (rule,) = load(File, text, where="moat.toml").rates
    assert msgspec.structs.asdict(rule)["by"] == ("client_asn", "url_path")
