"""The queue: keys take turns, bounds hold, and time runs out in order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from deepmoat.edge.balance.queue import FairQueue
from deepmoat.edge.balance.settings import QueueSettings


def queue(**settings: int) -> FairQueue[str]:
    return FairQueue(QueueSettings(**settings))


def served(line: FairQueue[str]) -> list[str]:
    order = []
    while (place := line.first()) is not None:
        line.serve(place)
        order.append(place.waiter)
    return order


def test_a_key_with_a_hundred_waiting_does_not_starve_one_with_a_single_one() -> None:
    line = queue()
    for n in range(100):
        assert line.enter(f"greedy{n}", "greedy", 0.0) is None
    line.enter("modest", "modest", 1.0)
    assert served(line)[:3] == ["greedy0", "modest", "greedy1"]


def test_keys_take_turns_and_within_a_key_the_oldest_is_first() -> None:
    line = queue()
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        line.enter(name, name[0], 0.0)
    assert served(line) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert len(line) == 0


def test_bounds_hold_per_key_and_in_all() -> None:
    line = queue(most=5, most_per_key=3)
    assert [line.enter(f"a{n}", "a", 0.0) for n in range(4)] == [None, None, None, "key_queue_full"]
    assert [line.enter(f"b{n}", "b", 0.0) for n in range(3)] == [None, None, "queue_full"]
    assert line.leave("a0")
    assert line.enter("c", "c", 0.0) is None
    assert line.enter("d", "d", 0.0) == "queue_full"
    assert queue(most=0).enter("a", "a", 0.0) == "queue_full"


def test_who_leaves_is_not_served_and_leaving_twice_does_nothing() -> None:
    line = queue()
    for name in ("a1", "a2", "b1"):
        line.enter(name, name[0], 0.0)
    assert line.leave("a1")
    assert not line.leave("a1")
    assert not line.leave("stranger")
    assert served(line) == ["a2", "b1"]


def test_who_waits_already_keeps_its_place() -> None:
    line = queue(seconds=10)
    line.enter("a1", "a", 0.0)
    line.enter("a2", "a", 1.0)
    assert line.enter("a1", "b", 9.0) is None
    assert len(line) == 2
    place = line.overdue(10.0)
    assert place is not None
    assert (place.waiter, place.key, place.until) == ("a1", "a", 10.0)


def test_time_runs_out_in_the_order_of_entering_whatever_the_key() -> None:
    line = queue(seconds=10)
    for n, name in enumerate(("a1", "b1", "a2")):
        line.enter(name, name[0], float(n))
    gone = []
    for now in (9.9, 10.0, 10.5, 11.0, 12.0, 13.0):
        while (place := line.overdue(now)) is not None:
            line.leave(place.waiter)
            gone.append((now, place.waiter))
    assert gone == [(10.0, "a1"), (11.0, "b1"), (12.0, "a2")]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=60))
def test_while_a_key_waits_no_other_is_served_twice_before_it(keys: list[str]) -> None:
    line = queue()
    for n, key in enumerate(keys):
        line.enter(f"{key}{n}", key, 0.0)
    left, since = Counter(keys), {key: Counter[str]() for key in keys}
    for waiter in served(line):
        key = waiter[0]
        left[key] -= 1
        since[key].clear()
        for other in since:
            if other != key and left[other]:
                since[other][key] += 1
                assert since[other][key] <= 1
    assert not +left


class QueueMachine(RuleBasedStateMachine):
    """Against a list that is searched through."""

    def __init__(self) -> None:
        super().__init__()
        self.line = queue(most=8, most_per_key=3, seconds=5)
        self.model: list[tuple[str, str, float]] = []
        self.now, self.names = 0.0, 0

    @rule(key=st.sampled_from("abc"))
    def enter(self, key: str) -> None:
        self.names += 1
        name = f"{key}{self.names}"
        refused = self.line.enter(name, key, self.now)
        if len(self.model) >= 8:
            assert refused == "queue_full"
        elif sum(k == key for _, k, _ in self.model) >= 3:
            assert refused == "key_queue_full"
        else:
            assert refused is None
            self.model.append((name, key, self.now + 5))

    @rule(which=st.integers(0, 9))
    def leave(self, which: int) -> None:
        if which < len(self.model):
            assert self.line.leave(self.model.pop(which)[0])

    @rule()
    def serve(self) -> None:
        place = self.line.first()
        if place is None:
            assert not self.model
            return
        assert next(name for name, key, _ in self.model if key == place.key) == place.waiter
        self.line.serve(place)
        self.model = [entry for entry in self.model if entry[0] != place.waiter]

    @rule(seconds=st.floats(0, 4))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        while (place := self.line.overdue(self.now)) is not None:
            assert place.waiter == self.model.pop(0)[0]
            self.line.leave(place.waiter)
        assert all(until > self.now for _, _, until in self.model)

    @invariant()
    def as_many_as_the_list(self) -> None:
        assert len(self.line) == len(self.model)


TestQueueMachine = QueueMachine.TestCase
