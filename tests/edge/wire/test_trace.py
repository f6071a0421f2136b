import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.wire.trace import Trace, new_traceparent, read_traceparent

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
IDS = f"{TRACE}-{PARENT}".encode()

READ: dict[bytes, Trace] = {
    b"00-" + IDS + b"-01": Trace(TRACE, PARENT, True),
    b"00-" + IDS + b"-00": Trace(TRACE, PARENT, False),
    b"00-" + IDS + b"-ff": Trace(TRACE, PARENT, True),
    b"00-" + IDS + b"-02": Trace(TRACE, PARENT, False),
    # Versions to come: the first four fields are what they are now.
    b"01-" + IDS + b"-01": Trace(TRACE, PARENT, True),
    b"cc-" + IDS + b"-01-": Trace(TRACE, PARENT, True),
    b"cc-" + IDS + b"-01-what-the-future-will-be-like": Trace(TRACE, PARENT, True),
    b"fe-" + IDS + b"-00-\x80": Trace(TRACE, PARENT, False),
}

INVALID = (
    b"",
    b"00",
    b"00-" + IDS,
    b"00-" + IDS + b"-",
    b"00-" + IDS + b"-1",
    b"00-" + IDS + b"-01-",
    b"00-" + IDS + b"-01-what-the-future-will-be-like",
    b"00-" + IDS + b"-01.",
    b"00-" + IDS + b"-01\n",
    b" 00-" + IDS + b"-01",
    b"00-" + IDS + b"-01, 00-" + IDS + b"-01",
    b"00-" + IDS + b"-0X",
    b"00-" + IDS + b"-FF",
    b"ff-" + IDS + b"-01",
    b"ff-" + IDS + b"-01-more",
    b"0-" + IDS + b"-01",
    b"000-" + IDS + b"-01",
    b"cc-" + IDS + b"-01.what-the-future-will-not-be-like",
    b"cc-" + IDS + b"-0",
    b"00-" + IDS.upper() + b"-01",
    b"00-" + b"0" * 32 + b"-" + PARENT.encode() + b"-01",
    b"00-" + TRACE.encode() + b"-" + b"0" * 16 + b"-01",
    b"00-" + TRACE[1:].encode() + b"-" + PARENT.encode() + b"-01",
    b"00-" + TRACE.encode() + b"-" + PARENT.encode() + b"0-01",
    b"00_" + IDS.replace(b"-", b"_") + b"_01",
)

BITS = st.integers(0, (1 << 192) - 1)
TRACES = st.builds(
    Trace,
    st.integers(1, (1 << 128) - 1).map("{:032x}".format),
    st.integers(1, (1 << 64) - 1).map("{:016x}".format),
    st.booleans(),
)


@pytest.mark.parametrize("value", READ)
def test_a_valid_traceparent_is_read(value: bytes) -> None:
    assert read_traceparent(value) == READ[value]


@pytest.mark.parametrize("value", INVALID)
def test_an_invalid_traceparent_is_none(value: bytes) -> None:
    assert read_traceparent(value) is None


def test_the_cases_are_really_there() -> None:
    assert (len(READ), len(set(INVALID))) == (8, 25)


def test_a_trace_goes_on_under_our_own_id() -> None:
    received = Trace(TRACE, PARENT, False)
    assert new_traceparent(received, 0xABC).header() == f"00-{TRACE}-0000000000000abc-00".encode()


def test_a_new_trace_takes_both_ids_from_the_bits_and_is_sampled_unless_told() -> None:
    bits = int("4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7", 16)
    assert new_traceparent(None, bits) == Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)
    assert new_traceparent(None, bits, sampled=False).header().endswith(b"-00")


def test_no_id_is_ever_all_zero() -> None:
    assert new_traceparent(None, 0).header() == b"00-" + b"0" * 31 + b"1-" + b"0" * 15 + b"1-01"
    assert new_traceparent(None, 1 << 192).trace_id == "0" * 31 + "1"


@given(TRACES)
def test_what_is_written_reads_back(trace: Trace) -> None:
    assert read_traceparent(trace.header()) == trace
    assert len(trace.header()) == 55


@given(TRACES | st.none(), BITS)
def test_our_position_is_always_valid(received: Trace | None, bits: int) -> None:
    ours = new_traceparent(received, bits)
    assert read_traceparent(ours.header()) == ours
    if received is not None:
        assert (ours.trace_id, ours.sampled) == (received.trace_id, received.sampled)


@given(st.binary(max_size=80) | st.text("0123456789abcdef-", min_size=50, max_size=60).map(str.encode))
def test_any_value_is_none_or_what_it_says(value: bytes) -> None:
    trace = read_traceparent(value)
    if trace is not None:
        assert value[3:52] == f"{trace.trace_id}-{trace.parent_id}".encode()
