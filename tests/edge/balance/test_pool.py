"""Asking a pool: a backend at once, a place in the queue, or a refusal, and what becomes of who waits."""

from edge.balance.stage import OFF, Client, ask, backend, balancer_of, got, one, pool_of, shares
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.balance.inflight import InFlight
from deepmoat.edge.balance.settings import QueueSettings
from deepmoat.kit.meters import snapshot


def refused(reason: str, pool: str) -> float:
    labels = (("pool", pool), ("reason", reason))
    name = "deepmoat_edge_queue_refused_total"
    return sum(s.value for s in snapshot() if s.name == name and s.labels == labels)


def test_a_second_try_goes_elsewhere_and_nowhere_when_there_is_no_elsewhere() -> None:
    balancer = balancer_of(pool_of("a", "b"))
    pool, tried = balancer.pools[0], [backend(balancer, "a")]
    assert {one(pool, avoid=tried) for _ in range(10)} == {"b"}
    assert ask(pool, avoid=balancer.backends) == "no_backend"


def test_when_none_is_well_all_are_tried_but_never_a_drained_one() -> None:
    balancer = balancer_of(pool_of("a", "b", "c"))
    balancer.drain({"c:80"})
    for b in balancer.backends:
        b.probed(False, 0.0)
        b.probed(False, 0.0)
    assert set(shares(balancer.pools[0], 20)) == {"a", "b"}
    balancer.drain({"a:80", "b:80", "c:80"})
    assert ask(balancer.pools[0]) == "no_backend"


def test_when_those_that_are_well_were_all_tried_the_others_are_better_than_nothing() -> None:
    balancer = balancer_of(pool_of("a", "b"))
    down = backend(balancer, "b")
    down.probed(False, 0.0)
    down.probed(False, 0.0)
    assert set(shares(balancer.pools[0], 5)) == {"a"}
    assert one(balancer.pools[0], avoid=[backend(balancer, "a")]) == "b"


def test_in_flight_is_counted_once_and_given_back() -> None:
    balancer = balancer_of(pool_of("a:1:4"))
    pool = balancer.pools[0]
    held = [got(pool) for _ in range(4)]
    assert (held[0].in_flight, held[0].total()) == (4, 4)
    for found in held:
        assert pool.done(found, "ok", 0.0) is False  # nobody waits
    assert (held[0].in_flight, held[0].total()) == (0, 0)


def test_who_finds_no_place_waits_and_gets_the_next_one_that_is_free() -> None:
    balancer = balancer_of(pool_of("a:1:1"))
    pool, client = balancer.pools[0], Client()
    held = got(pool)
    assert ask(pool, client, now=1.0) == "queued"
    assert (pool.waiting, balancer.waiting) == (1, 1)
    balancer.tick(1.1)
    assert client.told is None
    assert pool.done(held, "ok", 2.0) is True
    balancer.tick(2.0)
    assert client.told is held
    assert (pool.waiting, balancer.waiting, held.total()) == (0, 0, 1)


def test_who_asks_while_others_wait_stands_behind_them_even_when_a_place_is_free() -> None:
    balancer = balancer_of(pool_of("a:1:1"))
    pool, first = balancer.pools[0], Client()
    held = got(pool)
    ask(pool, first)
    pool.done(held, "ok", 0.0)
    late = Client()
    assert ask(pool, late) == "queued"
    balancer.tick(0.0)
    assert (first.told, late.told) == (held, None)


def test_places_go_round_the_keys() -> None:
    balancer = balancer_of(pool_of("a:1:1"))
    pool, log = balancer.pools[0], list[str]()
    held = got(pool)
    for n in range(50):
        ask(pool, Client(f"greedy{n}", log), key="greedy")
    ask(pool, Client("modest", log), key="modest")
    for _ in range(3):
        pool.done(held, "ok", 0.0)
        balancer.tick(0.0)
    assert log == ["greedy0", "modest", "greedy1"]


def test_a_queue_that_is_full_says_whose_fault_it_is_and_counts() -> None:
    settings = pool_of("a:1:1", name="narrow", queue=QueueSettings(most=3, most_per_key=2))
    pool = balancer_of(settings).pools[0]
    got(pool)
    answers = [ask(pool, key=key) for key in ("a", "a", "a", "b", "c")]
    assert answers == ["queued", "queued", "key_queue_full", "queued", "queue_full"]
    assert refused("key_queue_full", "narrow") == refused("queue_full", "narrow") == 1


def test_who_waits_too_long_is_turned_away_once_and_in_order() -> None:
    settings = pool_of("a:1:1", name="slow", queue=QueueSettings(seconds=30))
    balancer = balancer_of(settings)
    pool = balancer.pools[0]
    held = got(pool)
    early, late = Client(), Client()
    ask(pool, early, now=0.0)
    ask(pool, late, now=1.0)
    balancer.tick(29.9)
    assert early.told is None
    balancer.tick(30.0)
    assert (early.told, late.told) == ("queue_timeout", None)
    pool.done(held, "ok", 30.5)
    balancer.tick(31.0)
    assert late.told is held
    assert (early.calls, late.calls) == (1, 1)
    assert refused("queue_timeout", "slow") == 1


def test_who_leaves_while_waiting_is_never_told_and_takes_no_place() -> None:
    balancer = balancer_of(pool_of("a:1:1"))
    pool, gone, next_one = balancer.pools[0], Client(), Client()
    held = got(pool)
    ask(pool, gone)
    ask(pool, next_one)
    pool.leave(gone)
    pool.leave(gone)
    assert pool.waiting == 1
    pool.done(held, "ok", 0.0)
    balancer.tick(0.0)
    assert (gone.told, next_one.told) == (None, held)
    assert (held.in_flight, held.total()) == (1, 1)


def test_who_waits_takes_one_it_has_tried_only_when_no_other_has_a_place() -> None:
    balancer = balancer_of(pool_of("a:1:1", "b:1:1"))
    pool, a, b = balancer.pools[0], *balancer.backends
    for _ in range(2):
        got(pool)
    client, second = Client(), Client()
    assert ask(pool, client, avoid=[a]) == "queued"
    assert ask(pool, second, avoid=[a]) == "queued"
    pool.done(a, "ok", 0.0)
    pool.done(b, "ok", 0.0)
    balancer.tick(0.0)
    assert (client.told, second.told) == (b, a)


def test_another_worker_that_frees_a_place_lets_ours_in_at_the_next_tick() -> None:
    buffer = bytearray(InFlight.size(2))
    one_, two = (balancer_of(pool_of("a:1:2"), flights=InFlight(buffer, 2, n)) for n in range(2))
    held = [got(two.pools[0]) for _ in range(2)]
    client = Client()
    assert ask(one_.pools[0], client) == "queued"
    one_.tick(0.1)
    assert client.told is None
    two.pools[0].done(held[0], "ok", 0.2)
    assert ask(two.pools[0], now=0.2) == "queued"  # it has its part while the other waits
    one_.tick(0.2)
    assert client.told is one_.backends[0]
    assert one_.backends[0].total() == 2


def test_a_worker_that_leaves_its_queue_no_longer_holds_places_free() -> None:
    buffer = bytearray(InFlight.size(2))
    one_, two = (balancer_of(pool_of("a:1:2"), flights=InFlight(buffer, 2, n)) for n in range(2))
    held = [got(two.pools[0]) for _ in range(2)]
    client = Client()
    ask(one_.pools[0], client)
    one_.pools[0].leave(client)
    two.pools[0].done(held[0], "ok", 0.0)
    assert isinstance(ask(two.pools[0]), Backend)


def test_places_at_a_backend_that_a_worker_does_not_use_are_not_held_free_for_it() -> None:
    buffer = bytearray(InFlight.size(2))
    one_, two = (balancer_of(pool_of("a:1:2", "b:1:1"), flights=InFlight(buffer, 2, n)) for n in range(2))
    for b in (backend(one_, "a"), backend(two, "b")):
        b.probed(False, 0.0)
        b.probed(False, 0.0)
    got(one_.pools[0])
    assert ask(one_.pools[0]) == "queued"  # for b alone
    assert [got(two.pools[0]).host for _ in range(2)] == ["a", "a"]
    backend(one_, "a").probed(True, 1.0)  # now for a too
    assert two.pools[0].done(backend(two, "a"), "ok", 1.0) is False
    assert ask(two.pools[0], now=1.0) == "queued"


class TwoWorkers:
    """Two workers with a limit each backend, and what all their clients hold."""

    def __init__(self, limit: int, balance: str) -> None:
        buffer = bytearray(InFlight.size(2))
        queue = QueueSettings(most=5)
        settings = pool_of(f"a:1:{limit}", f"b:2:{limit}", balance=balance, queue=queue)
        self.limit = limit
        self.pair = [balancer_of(settings, flights=InFlight(buffer, 2, n)) for n in range(2)]
        self.clients: list[list[Client]] = [[], []]

    def ask(self, worker: int, key: str, now: float) -> None:
        pool, client = self.pair[worker].pools[0], Client()
        found = ask(pool, client, key=key, session=key, now=now)
        if found in ("queue_full", "key_queue_full"):
            assert pool.waiting == 5
            return
        client.told = None if found == "queued" else found
        self.clients[worker].append(client)

    def done(self, worker: int, key: str, now: float) -> None:
        for client in self.clients[worker]:
            if isinstance(client.told, Backend):
                self.pair[worker].pools[0].done(client.told, "ok", now)
                self.clients[worker].remove(client)
                return

    def tick(self, worker: int, key: str, now: float) -> None:
        self.pair[worker].tick(now)
        self.clients[worker] = [c for c in self.clients[worker] if c.told != "queue_timeout"]

    def leave(self, worker: int, key: str, now: float) -> None:
        waiting = [c for c in self.clients[worker] if c.told is None]
        for client in waiting[-1:]:
            self.pair[worker].pools[0].leave(client)
            self.clients[worker].remove(client)

    def check(self) -> None:
        for place in range(2):
            both = zip(self.pair, self.clients, strict=True)
            held = sum(c.told is p.backends[place] for p, m in both for c in m)
            assert held == self.pair[0].backends[place].total() <= self.limit
        for balancer, mine in zip(self.pair, self.clients, strict=True):
            assert balancer.waiting == sum(c.told is None for c in mine)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("ask", "ask", "done", "tick", "leave")), st.integers(0, 1), st.sampled_from("xyz")
    ),
    max_size=120,
)


@given(STEPS, st.integers(1, 3), st.sampled_from(("round_robin", "least_requests", "session")))
def test_over_two_workers_the_limit_holds_and_nobody_is_forgotten(
    steps: list[tuple[str, int, str]], limit: int, balance: str
) -> None:
    two = TwoWorkers(limit, balance)
    now = 0.0
    for step, worker, key in steps:
        now += 0.3
        getattr(two, step)(worker, key, now)
        two.check()
    for _ in range(10 + 2 * limit):  # all end, one after the other: who waits is served within that time
        now += 0.5
        for worker in (0, 1):
            for _ in range(2 * limit):
                two.done(worker, "", now)
            two.pair[worker].tick(now)
        two.check()
    assert two.clients == [[], []]
    assert all(b.in_flight == 0 for balancer in two.pair for b in balancer.backends)


def test_two_full_workers_come_to_equal_parts_of_a_limit_whoever_was_first() -> None:
    buffer = bytearray(InFlight.size(2))
    pair = [balancer_of(pool_of("a:1:8"), flights=InFlight(buffer, 2, n)) for n in range(2)]
    held = [[got(pair[0].pools[0]) for _ in range(8)], []]
    for step in range(200):
        now = step * 0.05
        for n, balancer in enumerate(pair):
            for _ in range(3):
                client = Client()
                client.admitted = held[n].append  # type: ignore[method-assign]
                found = ask(balancer.pools[0], client, now=now)
                if isinstance(found, Backend):
                    held[n].append(found)
            if held[n]:
                balancer.pools[0].done(held[n].pop(), "ok", now)
            balancer.tick(now)
        assert len(held[0]) + len(held[1]) <= 8
    assert [len(h) for h in held] == [4, 4]


class Again(Client):
    """Asks again from within the call that admits it, as a client does whose backend fails at once."""

    def __init__(self, pool: object, tries: int) -> None:
        super().__init__()
        self.pool, self.tries = pool, tries

    def admitted(self, backend: Backend) -> None:
        super().admitted(backend)
        self.pool.done(backend, "failed", 0.0)  # type: ignore[attr-defined]
        self.tries -= 1
        if self.tries:
            ask(self.pool, self, avoid=[backend])  # type: ignore[arg-type]


def test_who_is_admitted_may_ask_again_at_once() -> None:
    balancer = balancer_of(pool_of("a:1:1", "b:1:1"))
    pool = balancer.pools[0]
    held = [got(pool) for _ in range(2)]
    again, other = Again(pool, 3), Client()
    ask(pool, again)
    ask(pool, other)
    for found in held:
        pool.done(found, "ok", 0.0)
    balancer.tick(0.0)
    assert isinstance(other.told, Backend)  # it stood before the second try
    assert (again.calls, again.tries) == (3, 0)
    assert sum(b.total() for b in balancer.backends) == 1
    assert pool.waiting == balancer.waiting == 0


def test_retry_after_is_how_long_the_queue_takes_at_the_rate_places_come_free() -> None:
    settings = pool_of("a:1:4", queue=QueueSettings(seconds=60))
    balancer = balancer_of(settings)
    pool = balancer.pools[0]
    assert pool.retry_after() == 2  # nobody waits: something else is wrong, and health checks take about that
    held = got(pool)
    for _ in range(3):
        got(pool)
    for _ in range(20):
        ask(pool)
    assert pool.retry_after() == 60  # nothing is known of how fast it goes
    for second in range(1, 100):
        for _ in range(2):
            pool.done(held, "ok", float(second))
            held.take(float(second))  # as fast as they come free, others take them
        pool.tick(0.0 + second) if second < 60 else None
    assert 10 <= pool.retry_after() <= 11


def test_with_the_queue_switched_off_nobody_waits() -> None:
    pool = balancer_of(pool_of("a:1:1", queue=QueueSettings(most=0)), ejection=OFF).pools[0]
    got(pool)
    assert ask(pool) == "queue_full"
