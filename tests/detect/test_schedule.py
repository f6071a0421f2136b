"""Who is due when."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.detect.schedule import TICK, due, window
from deepmoat.detect.settings import DetectSettings, detectors

START = datetime(2025, 1, 28, 3, 0, tzinfo=UTC)
ALL = detectors(DetectSettings())


def run(seconds: float, step: float) -> dict[str, list[float]]:
    """When each detector ran in ``seconds``, looked at every ``step``."""
    last: dict[str, datetime] = {}
    ran: dict[str, list[float]] = {d.name: [] for d in ALL}
    for n in range(int(seconds / step)):
        now = START + timedelta(seconds=n * step)
        for item in due(ALL, now, last):
            last[item.detector.name] = now
            ran[item.detector.name].append(n * step)
    return ran


def test_every_detector_runs_once_a_period_after_its_first_run() -> None:
    ran = run(120, 0.25)
    for detector in ALL:
        times = ran[detector.name]
        assert abs(len(times) - 120 / detector.EVERY) <= 1.5, detector.name
        gaps = [b - a for a, b in zip(times[1:], times[2:], strict=False)]
        assert all(abs(gap - detector.EVERY) <= 0.25 for gap in gaps), (detector.name, gaps[:5])


def test_the_burst_detector_runs_at_least_every_second() -> None:
    times = run(30, TICK)["request_burst"]
    assert max(b - a for a, b in zip(times, times[1:], strict=False)) <= 1


def test_slow_detectors_are_spread_over_their_period() -> None:
    ran = run(300, 0.25)
    slow = [d.name for d in ALL if d.EVERY == 5.0]
    assert len(slow) >= 3
    assert len({ran[name][1] for name in slow}) == len(slow)


def test_a_detector_that_was_missed_runs_once_not_once_for_each_period_missed() -> None:
    last = {d.name: START for d in ALL}
    later = START + timedelta(hours=1)
    assert len(due(ALL, later, last)) == len(ALL)
    assert due(ALL, later, {d.name: later for d in ALL}) == ()


def test_nothing_runs_twice_in_an_instant() -> None:
    assert due(ALL, START, {d.name: START for d in ALL}) == ()


@given(st.floats(0, 4e9), st.integers(0, len(ALL) - 1))
def test_a_live_range_begins_with_a_whole_bucket_and_holds_the_window(at: float, index: int) -> None:
    detector, now = ALL[index], datetime.fromtimestamp(at, UTC)
    since, until = window(detector, now)
    assert since.timestamp() % detector.BUCKET == 0
    assert detector.WINDOW <= now.timestamp() - since.timestamp() < detector.WINDOW + detector.BUCKET
    assert until > now


def test_a_clock_set_back_stops_no_detector() -> None:
    last = {d.name: START for d in ALL}
    for back in (timedelta(hours=1), timedelta(days=400)):
        assert {item.detector.name for item in due(ALL, START - back, last)} == {d.name for d in ALL}
