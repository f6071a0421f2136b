from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from deepmoat.api.metrics import text
from deepmoat.kit.meters import Sample

LABELS = st.dictionaries(st.sampled_from(("component", "reason")), st.text(max_size=20), max_size=2)


def read(data: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(data.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_counters_and_gauges_read_back_under_their_names() -> None:
    samples = [
        Sample("deepmoat_dropped_records_total", (("component", "ndjson"), ("reason", "refused")), 3, True),
        Sample("deepmoat_dropped_records_total", (("component", "otlp"), ("reason", "refused")), 4, True),
        Sample("deepmoat_store_bytes", (), 1e9, False),
    ]
    assert read(text(samples)) == {(s.name, s.labels): s.value for s in samples}


@given(st.lists(LABELS, max_size=5, unique_by=lambda d: tuple(sorted(d.items()))))
def test_no_label_value_breaks_the_format(labels: list[dict[str, str]]) -> None:
    samples = [Sample("deepmoat_x_total", tuple(sorted(d.items())), n, True) for n, d in enumerate(labels)]
    assert read(text(samples)) == {(s.name, s.labels): s.value for s in samples}
