from hypothesis import given
from hypothesis import strategies as st

from deepmoat.kit.meters import Sample, count, drop, dropped, gauge, merged, snapshot

SAMPLES = st.lists(
    st.builds(Sample, st.sampled_from("ab"), st.just(()), st.integers(0, 9).map(float), st.booleans())
)


def test_drops_are_counted_by_component_and_reason() -> None:
    before = dropped("ndjson", "not_json")
    drop("ndjson", "not_json", 3)
    assert dropped("ndjson", "not_json") == before + 3


def test_a_snapshot_holds_counters_and_gauges() -> None:
    count("deepmoat_test_things_total", 2, kind="x")
    gauge("deepmoat_test_level", 7.5)
    found = {(s.name, s.counter): s.value for s in snapshot()}
    assert found["deepmoat_test_things_total", True] >= 2 and found["deepmoat_test_level", False] == 7.5


@given(st.lists(SAMPLES))
def test_merging_loses_nothing(snapshots: list[list[Sample]]) -> None:
    assert sum(s.value for s in merged(snapshots)) == sum(s.value for snap in snapshots for s in snap)
