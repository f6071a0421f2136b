"""Who is asked next, and when a backend is given up."""

from deepmoat.edge.balance.health import Health, is_well, probe
from deepmoat.edge.balance.rotation import Backend, Rotation


def backends(*names: str) -> list[Backend]:
    return [Backend(name, name, 80, b"", Health(fall=2, rise=2)) for name in names]


def turns(rotation: Rotation, count: int) -> str:
    return "".join(b.address for _ in range(count) if (b := rotation.pick()))


def test_healthy_backends_take_turns() -> None:
    taken = turns(Rotation(backends("a", "b", "c")), 300)
    assert {name: taken.count(name) for name in "abc"} == {"a": 100, "b": 100, "c": 100}


def test_a_backend_falls_and_rises_after_as_many_in_a_row_as_set() -> None:
    health = Health(fall=2, rise=2)
    states = []
    for well in (False, True, False, False, True, False, True, True):
        health.succeeded() if well else health.failed()
        states.append(health.healthy)
    assert states == [True, True, True, False, False, False, False, True]


def test_an_ejected_backend_gets_no_turn_unless_all_are_ejected() -> None:
    three = backends("a", "b", "c")
    rotation = Rotation(three)
    for _ in range(2):
        three[1].health.failed()
    assert set(turns(rotation, 30)) == {"a", "c"}
    for backend in three:
        for _ in range(2):
            backend.health.failed()
    assert set(turns(rotation, 30)) == {"a", "b", "c"}


def test_a_second_try_goes_elsewhere_and_nowhere_when_there_is_no_elsewhere() -> None:
    rotation = Rotation(backends("a", "b"))
    assert {b.address for _ in range(10) if (b := rotation.pick(avoid=("a",)))} == {"b"}
    assert rotation.pick(avoid=("a", "b")) is None
    assert Rotation([]).pick() is None


def test_a_probe_asks_for_its_path_or_nothing() -> None:
    assert probe("", "a:80") == b""
    assert probe("/up", "a:80").startswith(b"GET /up HTTP/1.1\r\nHost: a:80\r\n")
    assert [is_well(b"HTTP/1.1 %d x\r\n" % s) for s in (200, 204, 302, 404, 500)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert not is_well(b"SSH-2.0\r\n")
