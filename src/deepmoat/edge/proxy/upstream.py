"""Upstream: one connection to a backend, and the answer that comes over it.

The answer's head is read and written anew; its body is passed through byte by byte as it arrives, so
a stream of events is never held back. Only where the body ends is tracked, chunk framing in C. Where the
client wants other framing, or an event is taken out, the body goes on without its framing.
"""

from typing import Any, Protocol

from httptools import HttpParserError, HttpResponseParser

from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.proxy.exchange import Exchange
from deepmoat.edge.proxy.head import AnswerHead, read_answer_head
from deepmoat.kit.errors import PeerError

_MOST_HEAD = 65_536
_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Owner(Protocol):
    """Who asked: it takes the answer. After ``answered`` or ``lost`` nothing more comes."""

    def begin_answer(self, head: AnswerHead) -> bytes:
        """The head as the client shall see it."""

    def forward(self, data: bytes) -> None:
        """Bytes for the client, framed as they came."""

    def forward_body(self, data: bytes) -> None:
        """Bytes of the body, without framing, of an answer whose exchange is ``unframed``."""

    def answered(self, upstream: "Upstream") -> None:
        """The answer is complete; ``upstream.reusable`` says whether the connection may serve again."""

    def lost(self, upstream: "Upstream", reason: str) -> None:
        """The answer will not be complete."""

    def hold_request(self, hold: bool) -> None:  # noqa: FBT001
        """Stop sending the request's body, or go on."""


class Upstream:
    """A connection that serves one exchange at a time. ``served`` counts them."""

    __slots__ = (
        "_buffer",
        "_exchange",
        "_extra",
        "_framing",
        "_held",
        "_left",
        "_pieces",
        "_owner",
        "_parser",
        "_transport",
        "backend",
        "idle_since",
        "on_lost",
        "reusable",
        "served",
    )

    def __init__(self, backend: Backend, on_lost: Any) -> None:
        self.backend, self.on_lost = backend, on_lost
        self.idle_since = 0.0
        self.served = 0
        self.reusable = True
        self._transport: Any = None
        self._owner: Owner | None = None
        self._exchange: Exchange | None = None
        self._buffer = b""
        self._framing = ""
        self._left = 0
        self._parser: HttpResponseParser | None = None
        self._pieces: list[bytes] = []  # of an answer that goes on without its framing
        self._extra = self._held = False

    # What the proxy asks of it.

    def begin(self, owner: Owner, exchange: Exchange) -> None:
        """Serve ``exchange``: what comes from now on is its answer."""
        self._owner, self._exchange = owner, exchange
        self._framing, self._buffer = "", b""
        self._pieces = []
        self.served += 1

    def write(self, data: bytes) -> None:
        """Bytes of the request."""
        self._transport.write(data)

    def hold(self, hold: bool) -> None:  # noqa: FBT001
        """Stop reading the answer because the client does not take it, or go on."""
        if self._held == hold or self._transport.is_closing():
            return
        self._held = hold
        if hold:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def release(self) -> None:
        """The exchange is over: forget who asked, and read on for the next one."""
        self.hold(False)
        self._owner = self._exchange = None

    def close(self) -> None:
        """End the connection now: a request still under way is cancelled by that."""
        self.release()
        self._transport.abort()

    def finish(self) -> None:
        """End the connection once what was written is sent."""
        self.release()
        self._transport.close()

    def closing(self) -> bool:
        """Can it no longer be used?"""
        return bool(self._transport.is_closing())

    # What the loop tells it.

    def connection_made(self, transport: Any) -> None:
        """The loop's call: connected."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """The loop's call: bytes of the answer."""
        owner = self._owner
        if owner is None:
            self._transport.abort()  # it spoke unasked: whatever it means, it is no answer to anybody
            return
        try:
            if self._framing:
                self._body(owner, data, b"")
            else:
                self._head(owner, self._buffer + data if self._buffer else data)
        except (PeerError, HttpParserError):
            self._fail(owner, "backend_bad_answer")

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop's call: the connection is gone."""
        owner = self._owner
        self.on_lost(self)
        if owner is None:
            return
        self.reusable = False
        if self._framing == "tunnel" or (self._framing == "close" and exc is None):
            self._end(owner)
            return
        self.release()
        owner.lost(self, "backend_closed")

    def eof_received(self) -> None:
        """The loop's call: the backend will send no more; the connection closes."""

    def pause_writing(self) -> None:
        """The loop's call: the backend does not take the request as fast as it comes."""
        if self._owner is not None:
            self._owner.hold_request(True)

    def resume_writing(self) -> None:
        """The loop's call: the backend takes more."""
        if self._owner is not None:
            self._owner.hold_request(False)

    # Reading the answer.

    def _head(self, owner: Owner, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > _MOST_HEAD:
                raise PeerError("answer head too large", status=502)
            self._buffer = data
            return
        self._buffer = b""
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - owner and exchange come and go together
        assert exchange.head is not None  # noqa: S101 - it was sent
        head = read_answer_head(data[:end], exchange.head.method)
        rest = data[end + 4 :]
        if head.status < 200:
            self._interim(owner, head, rest)
            return
        self._framing, self._left, self.reusable = head.framing, head.length, head.reusable
        if head.framing == "chunked":
            self._expect_chunks()
        self._body(owner, rest, owner.begin_answer(head))

    def _interim(self, owner: Owner, head: AnswerHead, rest: bytes) -> None:
        """100 was answered by us, 103 is a hint we do not pass on, 101 is right only if asked for."""
        if head.status == 101:
            self._switch(owner, head, rest)
        elif rest:
            self._head(owner, rest)

    def _switch(self, owner: Owner, head: AnswerHead, rest: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - owner and exchange come and go together
        if not exchange.upgrade or head.upgrade != exchange.upgrade.lower():
            raise PeerError("switching protocols unasked", status=502)
        self._framing, self.reusable = "tunnel", False
        exchange.tunnel = True
        self._body(owner, rest, owner.begin_answer(head))

    def _body(self, owner: Owner, data: bytes, head: bytes) -> None:
        framing = self._framing
        if framing == "chunked":
            self._chunks(owner, data, head)
            return
        if framing == "length" or framing == "none":
            if len(data) > self._left:
                data = data[: self._left]  # more than it announced: the rest is nobody's answer
                self.reusable = False
            self._left -= len(data)
        if data:
            self._note(data)
        exchange = self._exchange
        if exchange is not None and exchange.unframed:
            self._unframed(owner, exchange, data)
        elif head or data:
            owner.forward(head + data if head and data else head or data)
        if self._left <= 0 and framing in ("length", "none"):
            self._end(owner)

    def _unframed(self, owner: Owner, exchange: Exchange, data: bytes) -> None:
        """Pass a piece of the body on without its framing, and without what is taken out."""
        if exchange.filter is not None:
            data = exchange.filter.feed(data)
        if data:
            owner.forward_body(data)

    def _note(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.answer_size += len(data)
            if exchange.answer is not None:
                exchange.answer.feed(data)

    def _expect_chunks(self) -> None:
        if self._parser is None:
            self._parser = HttpResponseParser(self)
        self._extra = False
        self._left = 1
        self._parser.feed_data(_CHUNKED_HEAD)
        self._extra = True

    def _chunks(self, owner: Owner, data: bytes, head: bytes) -> None:
        assert self._parser is not None  # noqa: S101 - made by _expect_chunks
        if data:
            self._parser.feed_data(data)
        exchange = self._exchange
        if exchange is not None and exchange.unframed:
            body, self._pieces = b"".join(self._pieces), []
            self._unframed(owner, exchange, body)
        elif head or data:
            owner.forward(head + data if head and data else head or data)
        if not self._left:
            self._end(owner)

    def on_message_begin(self) -> None:
        """The parser's call: an answer begins. One after the end of ours would be smuggled."""
        if self._extra:
            raise PeerError("bytes after the answer", status=502)

    def on_body(self, data: bytes) -> None:
        """The parser's call: bytes without their framing."""
        exchange = self._exchange
        if exchange is None:
            return
        exchange.answer_size += len(data)
        if exchange.answer is not None:
            exchange.answer.feed(data)
        if exchange.unframed:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The parser's call: the last chunk is here."""
        self._left = 0

    def _end(self, owner: Owner) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.filter is not None and (rest := exchange.filter.end()):
            owner.forward_body(rest)
        self.release()
        owner.answered(self)

    def _fail(self, owner: Owner, reason: str) -> None:
        self.reusable = False
        self.release()
        self._transport.abort()
        owner.lost(self, reason)
