"""Which pool a request is for, what cannot be meant, and what a reload keeps."""

import pytest
from edge.balance.stage import OFF, Client, ask, backend, balancer_of, fail, got, pool_of, shares
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.balance.backend import Backend, split_address
from deepmoat.edge.balance.balancer import Balancer
from deepmoat.edge.balance.inflight import InFlight
from deepmoat.edge.balance.settings import (
    BackendSettings,
    BackendTlsSettings,
    EjectionSettings,
    HealthSettings,
    PoolSettings,
    QueueSettings,
)
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings, load

ROUTES = balancer_of(
    pool_of("a", name="chat", hosts=("api.example.com", "*.llm.example.com"), paths=("/v1/chat", "/v2/")),
    pool_of("b", name="gpt", models=("gpt-*", "o1")),
    pool_of("c", name="odd", models=("*-mini-*b",)),
    pool_of("d", name="root", paths=("/",), hosts=("[::1]",)),
    pool_of("e", name="files", paths=("/files",)),
)
CASES = [
    ("api.example.com", "/v1/chat", "", "chat"),
    ("API.Example.com:8443", "/v1/chat/completions", "", "chat"),
    ("api.example.com.", "/v1/chat", "gpt-4o", "chat"),
    ("x.y.llm.example.com", "/v2/x", "", "chat"),
    ("llm.example.com", "/v2/x", "", None),
    ("evilllm.example.com", "/v2/x", "", None),
    ("api.example.com", "/v1/chatter", "", None),
    ("api.example.com", "/v2", "", "chat"),
    ("other", "/v1/chat", "gpt-4o", "gpt"),
    ("other", "/v1/chat", "gpt-", "gpt"),
    ("other", "/v1/chat", "o1", "gpt"),
    ("other", "/v1/chat", "o1-mini", None),
    ("other", "/v1/chat", "GPT-4o", None),
    ("other", "/", "q-mini-7b", "odd"),
    ("other", "/", "-mini-b", "odd"),
    ("other", "/", "-minib", None),
    ("[::1]:8080", "/anything", "", "root"),
    ("[::1", "/x", "", None),
    ("", "/files/", "", "files"),
    ("", "/files", "", "files"),
    ("", "/filesystem", "", None),
    ("", "", "", None),
]


def test_a_request_goes_to_the_first_pool_that_it_matches() -> None:
    evaluated = 0
    for host, path, model, expected in CASES:
        for _ in range(2):  # the second time from the cache
            pool = ROUTES.route(host, path, model)
            assert (pool.name if pool else None) == expected, (host, path, model)
            evaluated += 1
    assert evaluated == 2 * 22
    assert ROUTES.by_model


def test_a_pool_that_selects_nothing_takes_all_and_the_body_need_not_be_read() -> None:
    balancer = balancer_of(pool_of("a", name="one"), pool_of("b", name="two"))
    assert balancer.route("any", "/", "").name == "one"  # type: ignore[union-attr]
    assert not balancer.by_model
    assert balancer_of().route("any", "/") is None


@given(st.text(max_size=300), st.text(max_size=900), st.text(max_size=900))
def test_any_text_is_routed_somewhere_or_nowhere(host: str, path: str, model: str) -> None:
    pool = ROUTES.route(host, path, model)
    assert pool is None or pool in ROUTES.pools


def test_many_stars_and_a_long_name_cost_no_more_than_reading_it() -> None:
    balancer = balancer_of(pool_of("a", models=("*a" * 200 + "b",)))
    assert balancer.route("h", "/", "a" * 1_000_000) is None


@given(st.text("ab*", min_size=1, max_size=6), st.text("ab", min_size=1, max_size=10))
def test_a_star_stands_for_any_characters(pattern: str, model: str) -> None:
    def alike(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(alike(pattern[1:], text[n:]) for n in range(len(text) + 1))
        return text[:1] == pattern[0] and alike(pattern[1:], text[1:])

    found = balancer_of(pool_of("a", models=(pattern,))).route("h", "/", model)
    assert (found is not None) == alike(pattern, model)


@pytest.mark.parametrize(
    ("pools", "match"),
    [
        ([pool_of("a"), pool_of("b")][:1] * 2, "another pool has this name"),
        ([PoolSettings(name="none")], "no backends"),
        ([pool_of("a", "a:2")], "a backend twice"),
        ([pool_of("a:1:5"), pool_of("a:1:6", name="other")], "other settings for 'a:80'"),
        ([PoolSettings(name="x", backends=(BackendSettings(address="http://a"),))], "not an address"),
        ([pool_of("a", hosts=("*",))], "begins with"),
        ([pool_of("a", hosts=("a.*.com",))], "not a host"),
        ([pool_of("a", hosts=("",))], "not a host"),
        ([pool_of("a", paths=("v1",))], "a path begins with /"),
        ([pool_of("a", models=("",))], "a model has a name"),
        ([pool_of(BackendSettings(address="a:1", health="up"))], "a path begins with /"),
        (
            [pool_of(BackendSettings(address="a:1", tls=BackendTlsSettings(certificate="c.pem")))],
            "go together",
        ),
    ],
)
def test_what_cannot_be_meant_is_said(pools: list[PoolSettings], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        balancer_of(*pools)


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:", "a:0", "a:65536", "a:8x", "[a]:80", "[1]:80", "::1:80", "a b:1", "a:1\n", "é:1", "a:٣"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        split_address(text)


class Whole(Settings, frozen=True):
    pools: tuple[PoolSettings, ...] = ()
    ejection: EjectionSettings = EjectionSettings()


def test_the_settings_read_as_they_are_written_and_refuse_what_they_do_not_know() -> None:
    text = """
        [[pools]]
        name = "gpu"
        models = ["llama-*"]
        balance = "session"
        queue = { most = 5 }
        [[pools.backends]]
        address = "10.0.0.1:8000"
        weight = 2
        max_requests = 8
        tls = { ca = "ca.pem" }
    """
    (pool,) = load(Whole, text, where="moat.toml").pools
    assert pool.queue == QueueSettings(most=5, most_per_key=100, seconds=30)
    assert pool.backends[0].tls == BackendTlsSettings(ca="ca.pem", verify=True)
    for wrong in ('balance = "random"', "weigth = 1", 'name = ""'):
        with pytest.raises(ConfigError):
            load(
                Whole,
                f"[[pools]]\nname = 'x'\n{wrong}".replace("name = 'x'\nname", "name"),
                where="moat.toml",
            )


def test_pools_that_name_one_address_share_the_backend_with_a_weight_each() -> None:
    balancer = balancer_of(pool_of("a:3", "b", name="one"), pool_of("a:1", "c:2", name="two"))
    assert [b.address for b in balancer.backends] == ["a:80", "b:80", "c:80"]
    assert shares(balancer.pools[0], 8) == {"a": 6, "b": 2}
    assert shares(balancer.pools[1], 9) == {"a": 3, "c": 6}


def test_workers_do_not_all_begin_with_the_same_backend() -> None:
    buffer = bytearray(InFlight.size(4))
    first = [
        got(balancer_of(pool_of("a", "b", "c", "d"), flights=InFlight(buffer, 4, n)).pools[0]).host
        for n in range(4)
    ]
    assert sorted(first) == ["a", "b", "c", "d"]


def test_names_resolve_in_turn_and_until_then_the_name_is_used() -> None:
    balancer = balancer_of(pool_of("gpu.internal"))
    (named,) = balancer.backends
    assert named.next_address() == "gpu.internal"
    named.addresses = ("10.0.0.1", "10.0.0.2")
    assert {named.next_address(), named.next_address()} == {"10.0.0.1", "10.0.0.2"}
    fixed = balancer_of(pool_of(BackendSettings(address="[::1]:80"))).backends[0]
    assert (fixed.host, fixed.next_address()) == ("::1", "::1")


def test_exactly_the_drained_get_nothing_and_requests_under_way_end_there() -> None:
    balancer = balancer_of(pool_of("a", "b", "c"))
    pool = balancer.pools[0]
    held = [got(pool) for _ in range(3)]
    balancer.drain({"a:80", "b:80", "unknown:1"})
    assert shares(pool, 9) == {"c": 9}
    for found in held:
        pool.done(found, "ok", 0.0)
    balancer.drain({"b:80"})
    balancer.tick(0.0)
    assert shares(pool, 10) == {"a": 5, "c": 5}
    assert {b.host: b.state for b in balancer.backends} == {"a": "well", "b": "drained", "c": "well"}


# What a reload keeps.


def reload(
    old: Balancer, *pools: PoolSettings, ejection: EjectionSettings = OFF, now: float = 0.0
) -> Balancer:
    return old.successor(pools, health=HealthSettings(fall=7), ejection=ejection, now=now)


def test_a_backend_that_stays_keeps_health_ejection_and_requests_in_flight() -> None:
    strict = EjectionSettings(failures=2, seconds=10, slow_start=0)
    old = balancer_of(pool_of("a", "b", "c", "d:1:3"), ejection=strict)
    limited = backend(old, "d")
    held = [got(old.pools[0], avoid=[b for b in old.backends if b is not limited]) for _ in range(3)]
    fail(old.pools[0], "a", 2, now=0.0)
    for _ in range(2):
        backend(old, "b").probed(False, 0.0)
    new = reload(old, pool_of("a:5", "b", "d:1:3", "e", name="renamed"), ejection=strict)
    assert {b.host: b.state for b in new.backends} == {"a": "ejected", "b": "down", "d": "well", "e": "well"}
    assert all(backend(new, name) is backend(old, name) for name in "abd")
    assert backend(new, "a").settings.weight == 5
    assert backend(new, "b").health.fall == 7
    assert set(shares(new.pools[0], 12)) == {"e"}  # d is full
    for found in held:
        old.pools[0].done(found, "ok", 1.0)
    assert set(shares(new.pools[0], 12)) == {"d", "e"}
    new.tick(10.0)
    assert backend(new, "a").state == "well"


def test_a_backend_with_other_settings_begins_anew_but_its_requests_still_count_against_the_limit() -> None:
    old = balancer_of(pool_of("a:1:2"))
    held = got(old.pools[0])
    for _ in range(2):
        held.probed(False, 0.0)
    new = reload(old, pool_of("a:1:3"))
    fresh = new.backends[0]
    assert fresh is not held
    assert (fresh.state, fresh.in_flight, fresh.total()) == ("well", 0, 1)
    got(new.pools[0])
    got(new.pools[0])
    assert ask(new.pools[0]) == "queued"
    assert old.pools[0].done(held, "ok", 0.0) is True
    assert fresh.total() == 2


def test_a_backend_that_is_new_begins_slowly_and_those_of_a_first_start_do_not() -> None:
    grow = EjectionSettings(slow_start=20)
    old = balancer_of(pool_of("a"), ejection=grow)
    assert old.backends[0].state == "well"
    new = reload(old, pool_of("a", "b"), ejection=grow)
    assert {b.host: b.state for b in new.backends} == {"a": "well", "b": "starting"}
    assert shares(new.pools[0], 22) == {"a": 20, "b": 2}


def test_who_waits_in_an_old_pool_is_served_by_the_new_balancer() -> None:
    old = balancer_of(pool_of("a:1:1", queue=QueueSettings(seconds=30)))
    held, client, slow = got(old.pools[0]), Client(), Client()
    ask(old.pools[0], client)
    new = reload(reload(old, pool_of("a:1:1")), pool_of("a:1:1"))
    assert new.waiting == 1
    ask(new.pools[0], slow, now=1.0)
    assert old.pools[0].done(held, "ok", 2.0) is True
    new.tick(2.0)
    assert (client.told, slow.told) == (held, None)
    new.tick(31.0)
    assert slow.told == "queue_timeout"
    assert new.waiting == 0


def test_who_begins_to_wait_in_an_old_pool_after_the_reload_is_not_forgotten() -> None:
    old = balancer_of(pool_of("a:1:1"), pool_of("gone:1:1", name="gone"))
    held, lost = got(old.pools[0]), got(old.pools[1])
    new = reload(old, pool_of("a:1:1"))
    client, other = Client(), Client()
    assert ask(old.pools[0], client) == "queued"
    assert ask(old.pools[1], other) == "queued"
    old.pools[0].done(held, "ok", 0.0)
    old.pools[1].done(lost, "ok", 0.0)
    new.tick(0.0)
    assert (client.told, other.told) == (held, lost)
    assert new.waiting == 0


def test_drained_backends_stay_drained_and_one_that_comes_later_is_drained_at_once() -> None:
    old = balancer_of(pool_of("a", "b"))
    old.drain({"a:80", "c:80"})
    new = reload(old, pool_of("a", "b", "c"))
    assert {b.host: b.state for b in new.backends} == {"a": "drained", "b": "well", "c": "drained"}


def test_settings_that_cannot_be_used_change_nothing() -> None:
    old = balancer_of(pool_of("a:1:1", "b"))
    before = [(b, b.settings, b.state, b.peers, b.health.fall) for b in old.backends]
    for bad in (
        pool_of("a:7:1", "b", BackendSettings(address="http://c")),
        pool_of("a:7:1", hosts=("*",)),
        PoolSettings(name="x"),
    ):
        with pytest.raises(ConfigError):
            reload(old, bad, ejection=EjectionSettings(failures=99))
    assert [(b, b.settings, b.state, b.peers, b.health.fall) for b in old.backends] == before
    assert old.ejection.settings == OFF
    assert shares(old.pools[0], 4) == {"a": 2, "b": 2}


NAMES = st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True)


@given(st.lists(NAMES, min_size=2, max_size=5))
def test_over_any_reloads_no_limit_is_passed_and_no_count_is_left(generations: list[list[str]]) -> None:
    balancer = balancer_of(*[pool_of(*[f"{name}:1:2" for name in generations[0]])])
    under_way = []
    for names in generations[1:]:
        pool = balancer.pools[0]
        while isinstance(found := ask(pool, client := Client()), Backend):
            under_way.append((pool, found))
        pool.leave(client)
        assert all(b.total() == 2 for b in balancer.backends)
        balancer = reload(balancer, pool_of(*[f"{name}:1:2" for name in names]))
    for pool, found in under_way:
        pool.done(found, "ok", 0.0)
    assert all(found.in_flight == 0 and found.total() == 0 for _, found in under_way)
    assert balancer.waiting == 0
