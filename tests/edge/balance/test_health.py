"""When a backend is given up, and what a health check asks."""

from deepmoat.edge.balance.health import Health, is_well, probe


def test_a_backend_falls_and_rises_after_as_many_in_a_row_as_set() -> None:
    health = Health(fall=2, rise=2)
    states = []
    for well in (False, True, False, False, True, False, True, True):
        health.succeeded() if well else health.failed()
        states.append(health.healthy)
    assert states == [True, True, True, False, False, False, False, True]


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
