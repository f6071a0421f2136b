"""Requests in flight over all workers: never more than the limit, and no backend's counts in another's."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.balance.inflight import InFlight, Slot
from deepmoat.kit.errors import ConfigError


def workers(count: int, buffer: bytearray | None = None) -> list[InFlight]:
    buffer = buffer if buffer is not None else bytearray(InFlight.size(count))
    return [InFlight(buffer, count, number) for number in range(count)]


class Interrupted(InFlight):
    """Between counting itself and adding up, whatever ``between`` does happens."""

    between: Callable[[], None] = staticmethod(lambda: None)

    def _all(self, slot: Slot) -> list[int]:
        self.between()
        return super()._all(slot)


def test_each_worker_sees_the_sum_of_all() -> None:
    one, two, three = workers(3)
    slots = [w.slot("a:80") for w in (one, two, three)]
    one.add(slots[0])
    one.add(slots[0])
    three.add(slots[2])
    assert [w.total(s) for w, s in zip((one, two, three), slots, strict=True)] == [3, 3, 3]
    one.done(slots[0])
    assert two.total(slots[1]) == 2


def test_workers_need_not_know_the_same_backends_or_meet_them_in_one_order() -> None:
    one, two = workers(2)
    names = [f"10.0.{n // 250}.{n % 250}:80" for n in range(700)]
    mine = [one.slot(name) for name in names]
    theirs = {name: two.slot(name) for name in reversed(names[100:])}
    for n, (slot, name) in enumerate(zip(mine, names, strict=True)):
        for _ in range(n % 5):
            one.add(slot)
        if name in theirs:
            two.add(theirs[name])
    assert [one.total(slot) for slot in mine] == [n % 5 + (n >= 100) for n in range(700)]
    assert [two.total(theirs[name]) for name in names[100:]] == [n % 5 + 1 for n in range(100, 700)]


def test_what_a_dead_worker_left_does_not_count_once_it_is_back() -> None:
    buffer = bytearray(InFlight.size(2))
    one, two = workers(2, buffer)
    one.add(one.slot("a:80"))
    slot = two.slot("a:80")
    two.add(slot)
    two.add(slot)
    again = InFlight(buffer, 2, 1)
    assert one.total(one.slot("a:80")) == 1
    assert again.total(again.slot("a:80")) == 1


def test_what_was_never_counted_cannot_be_uncounted() -> None:
    (one,) = workers(1)
    slot = one.slot("a:80")
    for _ in range(3):
        one.done(slot)
    assert one.total(slot) == 0
    assert one.take(slot, 1, 0.0)
    assert one.total(slot) == 1


def test_memory_of_the_wrong_size_or_a_worker_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match="worker 2 of 2"):
        InFlight(bytearray(InFlight.size(2)), 2, 2)
    with pytest.raises(ValueError, match="in 100 bytes"):
        InFlight(bytearray(100), 1, 0)


def test_a_place_that_reloads_gave_up_is_used_again_but_never_while_something_is_in_flight_there() -> None:
    (one,) = workers(1)
    busy = one.slot("busy:80")
    one.add(busy)
    for generation in range(60):
        names = [f"g{generation}-{n}:80" for n in range(200)]
        one.keep(names)
        assert {one.total(one.slot(name)) for name in names} == {0}
    assert one.total(busy) == 1
    one.done(busy)
    assert one.total(busy) == 0
    one.add(busy)  # its place may be another's by now: it finds itself a new one
    assert one.total(busy) == 1
    assert {one.total(one.slot(name)) for name in names} == {0}


def test_more_backends_than_there_is_room_for_are_an_error_not_a_wrong_count() -> None:
    (one,) = workers(1)
    with pytest.raises(ConfigError, match="too many backends"):
        for n in range(5000):
            one.slot(f"b{n}:80")


@given(
    st.integers(2, 4), st.integers(1, 6), st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60)
)
def test_the_limit_holds_however_workers_take_turns(
    count: int, limit: int, steps: list[tuple[int, bool]]
) -> None:
    all_workers = workers(count)
    slots = [worker.slot("a:80") for worker in all_workers]
    held = [0] * count
    for number, takes in steps:
        number %= count
        room = sum(held) < limit
        if takes:
            taken = all_workers[number].take(slots[number], limit, 0.0)
            assert taken is room  # nobody waits, so whatever is free is given
            held[number] += taken
        elif held[number]:
            all_workers[number].done(slots[number])
            held[number] -= 1
        assert sum(held) == all_workers[0].total(slots[0]) <= limit


@given(st.integers(1, 4), st.integers(0, 4), st.lists(st.integers(0, 2), max_size=8))
def test_the_limit_holds_when_workers_count_at_the_same_moment(
    limit: int, held: int, inside: list[int]
) -> None:
    """While one is between its two steps, others do whole asks, and each of those is interrupted too."""
    buffer = bytearray(InFlight.size(3))
    trio = [Interrupted(buffer, 3, number) for number in range(3)]
    slots = [worker.slot("a:80") for worker in trio]
    taken = [trio[0].take(slots[0], limit, 0.0) for _ in range(held)]
    under_way = {0}
    todo = list(inside)

    def another_asks() -> None:
        if todo and (number := todo.pop()) not in under_way:
            under_way.add(number)
            taken.append(trio[number].take(slots[number], limit, 0.0))
            under_way.discard(number)

    for worker in trio:
        worker.between = another_asks  # type: ignore[method-assign]
    taken.append(trio[0].take(slots[0], limit, 0.0))
    assert sum(taken) <= limit
    assert trio[0].total(slots[0]) == sum(taken)


def test_two_that_count_at_the_same_moment_for_the_last_place_step_back_at_worst() -> None:
    buffer = bytearray(InFlight.size(2))
    one, two = Interrupted(buffer, 2, 0), InFlight(buffer, 2, 1)
    mine, theirs = one.slot("a:80"), two.slot("a:80")
    one.between = lambda: two.add(theirs)  # type: ignore[method-assign]
    assert not one.take(mine, 1, 0.0)
    two.done(theirs)
    assert two.take(theirs, 1, 0.0)


def test_a_worker_leaves_others_their_part_while_they_wait_and_takes_all_when_they_do_not() -> None:
    one, two = workers(2)
    mine, theirs = one.slot("a:80"), two.slot("a:80")
    assert [one.take(mine, 4, 0.0) for _ in range(4)] == [True] * 4
    two.wait(theirs, True)
    one.done(mine)
    assert one.take(mine, 4, 0.0) is False  # it has 3 of its 2
    assert two.take(theirs, 4, 0.0)
    one.done(mine)
    assert two.take(theirs, 4, 0.0)
    one.done(mine)
    assert one.take(mine, 4, 0.0)  # 2 and 2
    two.done(theirs)
    two.wait(theirs, False)
    assert one.take(mine, 4, 0.0)
    assert one.total(mine) == 4


def test_a_single_place_goes_round_by_the_second() -> None:
    trio = workers(3)
    slots = [worker.slot("a:80") for worker in trio]
    for worker, slot in zip(trio, slots, strict=True):
        worker.wait(slot, True)
    turns = []
    for second in range(6):
        takers = []
        for number, (worker, slot) in enumerate(zip(trio, slots, strict=True)):
            if worker.take(slot, 1, second + 0.5):
                takers.append(number)
                worker.done(slot)
        turns.append(takers)
    assert turns == [[0], [2], [1], [0], [2], [1]]
    for worker, slot in zip(trio, slots, strict=True):
        worker.wait(slot, False)
    assert all(worker.total(slot) == 0 for worker, slot in zip(trio, slots, strict=True))
