"""Upstream without a socket: the same answer whatever the pieces, and a connection fit for the next one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.proxy.exchange import Exchange
from deepmoat.edge.proxy.head import AnswerHead, Head
from deepmoat.edge.proxy.upstream import Upstream

BACKEND: Any = object()


class Wire:
    """A transport that remembers: is it read, is it open, what was written."""

    def __init__(self) -> None:
        self.reading, self.open, self.written = True, True, b""

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return not self.open

    def abort(self) -> None:
        self.open = False

    def write(self, data: bytes) -> None:
        self.written += data


class Asker:
    """Takes the answer; ``slow`` holds the backend up with every piece."""

    def __init__(self, upstream: Upstream, *, slow: bool = False) -> None:
        self.upstream, self.slow = upstream, slow
        self.got, self.end = b"", ""

    def begin_answer(self, head: AnswerHead) -> bytes:
        return b"%d " % head.status

    def forward(self, data: bytes) -> None:
        self.got += data
        if self.slow:
            self.upstream.hold(True)

    def forward_body(self, data: bytes) -> None:
        self.got += data

    def answered(self, upstream: Upstream) -> None:
        self.end = "whole" if upstream.reusable else "last"

    def lost(self, upstream: Upstream, reason: str) -> None:
        self.end = reason

    def hold_request(self, hold: bool) -> None: ...


def asked(*, slow: bool = False, method: str = "GET") -> tuple[Upstream, Asker, Exchange, Wire]:
    upstream, wire = Upstream(BACKEND, lambda _: None), Wire()
    upstream.connection_made(wire)
    asker = Asker(upstream, slow=slow)
    exchange = Exchange(0.0, "id", Head(method, b"/", "1.1", [], {}))
    upstream.begin(asker, exchange)
    return upstream, asker, exchange, wire


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n"
)
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + LENGTH


@given(st.sampled_from((LENGTH, CHUNKS, HINTS)), st.lists(st.integers(1, 140), max_size=12))
def test_any_split_gives_the_same_answer(raw: bytes, cuts: list[int]) -> None:
    upstream, asker, exchange, _ = asked()
    places = sorted({0, len(raw), *(c for c in cuts if c < len(raw))})
    for start, end in zip(places, places[1:], strict=False):
        assert asker.end == ""
        upstream.data_received(raw[start:end])
    body = raw.rpartition(b"chunked\r\n\r\n")[2] if b"chunked" in raw else b"hello world"
    assert (asker.got, asker.end, exchange.answer_size) == (b"200 " + body, "whole", 11)


@given(st.sampled_from((LENGTH, CHUNKS, HINTS)), st.lists(st.integers(1, 140), max_size=12))
def test_an_unframed_answer_is_its_body_whatever_the_pieces(raw: bytes, cuts: list[int]) -> None:
    upstream, asker, exchange, _ = asked()
    exchange.unframed = True
    places = sorted({0, len(raw), *(c for c in cuts if c < len(raw))})
    for start, end in zip(places, places[1:], strict=False):
        upstream.data_received(raw[start:end])
    assert (asker.got, asker.end, exchange.answer_size) == (b"hello world", "whole", 11)


@given(st.binary(max_size=200))
def test_any_bytes_at_all_end_in_an_answer_a_loss_or_a_wait(raw: bytes) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKS[:50]):
        upstream, asker, _, wire = asked()
        upstream.data_received(start + raw)
        assert asker.end in ("", "whole", "last", "backend_bad_answer")
        assert wire.open or asker.end == "backend_bad_answer"


def test_a_slow_client_leaves_no_held_up_connection_to_the_next_one() -> None:
    upstream, _, _, wire = asked(slow=True)
    upstream.data_received(LENGTH[:-3])
    assert not wire.reading
    upstream.data_received(LENGTH[-3:])
    assert wire.reading
    again: Any = Asker(upstream)
    upstream.begin(again, Exchange(0.0, "id", Head("GET", b"/", "1.1", [], {})))
    upstream.data_received(CHUNKS)
    assert again.end == "whole"


def test_a_backend_that_speaks_unasked_is_cut_off() -> None:
    upstream, asker, _, wire = asked()
    upstream.data_received(LENGTH)
    upstream.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    assert asker.got == b"200 hello world" and not wire.open


def test_an_endless_head_is_no_answer() -> None:
    upstream, asker, _, wire = asked()
    for _ in range(100):
        upstream.data_received(b"X: aaaaaaaa\r\n" * 100)
    assert asker.end == "backend_bad_answer" and not wire.open
