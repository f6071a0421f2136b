"""Client: one client connection of HTTP/1.1, from its first byte to its last.

llhttp judges every byte of the framing, strictly; what it lets through and RFC 9112 does not is refused
in ``head.py``. One request is read at a time: what a client sends ahead of an answer waits, unread. What
becomes of a request is in ``conversation.py``.
"""

from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from deepmoat.edge.proxy.conversation import Conversation
from deepmoat.edge.proxy.exchange import Exchange
from deepmoat.edge.proxy.head import AnswerHead, Head, unframed_lines
from deepmoat.edge.proxy.origin import Origin, secured
from deepmoat.edge.proxy.refusal import Answer, Refused, refusal, refused_answer, written
from deepmoat.edge.proxy.worker import Worker
from deepmoat.model import Verdict

_MOST_EXCESS = 65_536
_FRAMING_RATIO = 9  # a chunk of one byte is six bytes long
_LINGER = 2.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CHUNKS_END = b"0\r\n\r\n"
_FOREVER = float("inf")


class Client(Conversation):
    """The loop calls the first group, the parser the second."""

    __slots__ = (
        "_lingering",
        "_parser",
        "_served",
        "_started",
        "_taken",
        "_transport",
        "_unread",
        "_whole",
    )

    def __init__(self, worker: Worker, origin: Origin | None = None) -> None:
        """``origin`` is None where the connection itself says whose it is."""
        super().__init__(worker)
        if origin is not None:
            self._origin = origin
        self._taken = origin
        self._transport: Any = None
        self._parser = HttpRequestParser(self)
        self._unread = b""  # the beginning of a head, or what came after the request
        self._whole = False  # the parser has seen the end of the request
        self._lingering = False
        self._served = 0
        self._started = 0.0

    # The loop's calls.

    def connection_made(self, transport: Any) -> None:
        """The loop's call: a client has connected."""
        worker = self._worker
        self._transport = transport
        if self._taken is None:
            self._origin = worker.origin(transport.get_extra_info("peername"))
        elif self._taken.ja4:
            self._origin = secured(self._taken, transport)
        self.deadline = worker.tick + worker.timeouts.head
        verdict = worker.connected(self, self._origin)
        if verdict is not None:
            self._refuse_connection(verdict)
        elif worker.draining:
            transport.close()

    def data_received(self, data: bytes) -> None:
        """The loop's call: bytes from the client."""
        if self._lingering:
            return
        exchange = self._exchange
        try:
            if exchange is None and self._stuck and not self._unread:
                self._keep_unread(data)  # answers it does not take must not pile up
                return
            if exchange is None:
                self._read_head(data)
            elif exchange.tunnel:
                self._tunnel(exchange, data)
                return
            elif exchange.complete:
                self._keep_unread(data)
                return
            else:
                self._read_body(exchange, data)
        except (HttpParserError, Refused) as exc:
            self._refuse(exc.reason if isinstance(exc, Refused) else "malformed", self._started)
        if not self._lingering:
            self._step()

    def eof_received(self) -> None:
        """The loop's call: the client will send no more; the connection closes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop's call: the client is gone."""
        self._worker.disconnected(self, self._origin)
        self._lingering = True
        self._left()

    def pause_writing(self) -> None:
        """The loop's call: the client does not take the answer as fast as it comes."""
        self._stuck = True
        self.deadline = self._worker.tick + self._worker.timeouts.send
        if self._exchange is not None and self._exchange.upstream is not None:
            self._exchange.upstream.hold(True)

    def resume_writing(self) -> None:
        """The loop's call: the client takes more."""
        self._stuck = False
        timeouts = self._worker.timeouts
        if self._exchange is None:
            self.deadline = self._worker.tick + timeouts.idle
            self._go_on()
        elif self._exchange.upstream is not None:
            tunnel = self._exchange.tunnel
            self.deadline = self._worker.tick + (timeouts.tunnel if tunnel else timeouts.answer)
            self._exchange.upstream.hold(False)

    # The parser's calls.

    def on_message_begin(self) -> None:
        """A request begins; one behind the end of ours is more than we asked the parser to read."""
        if self._whole:
            raise Refused("malformed")

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without its framing."""
        exchange = self._exchange
        if exchange is not None:
            self._take_body(exchange, data)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._whole = True

    # Reading.

    def _read_head(self, data: bytes) -> None:
        """Look for the end of the head; llhttp sees each byte as it comes, so nonsense is refused at once."""
        worker = self._worker
        old = self._unread
        if not old:
            self._started = worker.clock()
            self._whole = False
        whole = old + data if old else data
        end = whole.find(b"\r\n\r\n", max(0, len(old) - 3))
        if (end if end >= 0 else len(whole)) > worker.limits.head_bytes:
            raise Refused("head_too_large")
        if end < 0:
            self._unread = whole
            if not old:
                self.deadline = min(self.deadline, worker.tick + worker.timeouts.head)
            self._parser.feed_data(data)
            return
        self._unread = b""
        self._take_head(data[: end + 4 - len(old)], whole[:end].lstrip(b"\r\n"))
        rest = whole[end + 4 :]
        exchange = self._exchange
        if exchange is None or exchange.complete:
            self._keep_unread(rest)
        elif rest:
            self._read_body(exchange, rest)

    def _take_head(self, data: bytes, raw: bytes) -> None:
        """``data`` is what llhttp has not seen of the head ``raw``."""
        worker = self._worker
        upgrade = False
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            upgrade = True
        head = worker.heads.read(raw, trusted=self._origin.trusted)
        if upgrade:
            self._without_upgrade(head)
        exchange = self._open(head, self._started)
        exchange.upgrade = head.upgrade
        self.deadline = worker.tick + worker.timeouts.body
        if self._whole:
            self._complete(exchange)

    def _without_upgrade(self, head: Head) -> None:
        """Let llhttp read on as if no upgrade had been asked for.

        An upgrade that is not passed on is declined by that, as RFC 9110, section 7.8, allows. llhttp skips
        the body of such a request, so a fresh parser is shown a head with the same framing.
        """
        framing = b"Transfer-Encoding: chunked" if head.length < 0 else b"Content-Length: %d" % head.length
        self._whole = False
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing)

    def _read_body(self, exchange: Exchange, data: bytes) -> None:
        head, worker = exchange.head, self._worker
        if not data or head is None:
            return
        before = exchange.request_size
        if head.length >= 0:
            data, rest = data[: head.length - before], data[head.length - before :]
            self._parser.feed_data(data)
        else:
            rest = b""
            self._read_chunks(exchange, data)
            grown = exchange.request_size - before
            exchange.excess = max(0, exchange.excess + len(data) - _FRAMING_RATIO * grown)
            if exchange.request_size > worker.limits.body_bytes:
                raise Refused("body_too_large")
            if exchange.excess > _MOST_EXCESS:
                raise Refused("bad_chunks")
        if self._whole:
            self._complete(exchange)
            self._keep_unread(rest)
        else:
            self._wait_for_body(exchange)

    def _read_chunks(self, exchange: Exchange, data: bytes) -> None:
        """What follows the last chunk cannot be told from it by position, so it is not answered."""
        try:
            self._parser.feed_data(data)
        except HttpParserError as exc:
            if not self._whole:
                raise Refused("bad_chunks") from exc
            exchange.keep_alive = False
            self._hold("refused", True)

    def _complete(self, exchange: Exchange) -> None:
        super()._complete(exchange)
        if not exchange.status:  # what the answer's head said holds
            exchange.keep_alive = "refused" not in self._held and self._keeps_alive(exchange.head)

    def _keeps_alive(self, head: Head | None) -> bool:
        option = head.read.get(b"connection", b"").lower() if head is not None else b"close"
        if head is not None and head.version == "1.0":
            return b"keep-alive" in option and b"close" not in option
        return b"close" not in option

    def _keep_unread(self, data: bytes) -> None:
        """Bytes of the next request wait, and reading stops, until this one is answered."""
        if data:
            self._unread += data
            self._hold("queue", True)

    def _tunnel(self, exchange: Exchange, data: bytes) -> None:
        """Bytes of an upgraded connection: whatever they mean, they go to the backend."""
        worker = self._worker
        exchange.request_size += len(data)
        self.deadline = worker.tick + worker.timeouts.tunnel
        if exchange.upstream is not None:
            exchange.upstream.write(data)

    # The answer.

    def _continue(self, exchange: Exchange) -> None:
        exchange.continued = True
        if exchange.head is not None and exchange.head.expects and not exchange.request_size:
            self._transport.write(_CONTINUE)

    def _answer_head(self, exchange: Exchange, head: AnswerHead) -> bytes:
        request = exchange.head
        assert request is not None  # noqa: S101 - it was sent
        if exchange.tunnel:
            return self._switched(exchange, head)
        old = request.version == "1.0"
        exchange.unframed = exchange.unframed or (old and head.framing == "chunked")
        exchange.rechunk = exchange.unframed and not old
        endless = head.framing == "close" and not exchange.rechunk or exchange.unframed and old
        keep = exchange.keep_alive and exchange.complete and not endless and not self._worker.draining
        exchange.keep_alive = keep
        ending = b"\r\n" if keep else b"Connection: close\r\n\r\n"
        if keep and old:
            ending = b"Connection: keep-alive\r\n\r\n"
        lines = head.lines
        if exchange.unframed:
            lines = unframed_lines(head)
            if exchange.rechunk:
                ending = b"Transfer-Encoding: chunked\r\n" + ending
            self._transport.write(b"HTTP/1.1 %d %b\r\n%b%b" % (head.status, head.reason, lines, ending))
            return b""
        return b"HTTP/1.1 %d %b\r\n%b%b" % (head.status, head.reason, lines, ending)

    def _switched(self, exchange: Exchange, head: AnswerHead) -> bytes:
        """The connection changes its protocol; what the client already sent in the new one goes on."""
        exchange.keep_alive = False
        data, self._unread = self._unread, b""
        self._hold("queue", False)
        if data:
            self._worker.soon(lambda: self.data_received(data))
        self.deadline = self._worker.tick + self._worker.timeouts.tunnel
        return b"HTTP/1.1 101 %b\r\n%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (
            head.reason or b"Switching Protocols",
            head.lines,
            exchange.upgrade,
        )

    def forward(self, data: bytes) -> None:
        """Bytes of the answer, framed for the client."""
        exchange, worker = self._exchange, self._worker
        if exchange is not None and not exchange.first_byte_at and exchange.answer_size:
            exchange.first_byte_at = worker.clock()
        timeouts = worker.timeouts
        self.deadline = worker.tick + timeouts.answer
        if exchange is not None and exchange.tunnel:
            self.deadline = worker.tick + timeouts.tunnel
        self._transport.write(data)
        if self._stuck:
            self.deadline = worker.tick + timeouts.send

    def forward_body(self, data: bytes) -> None:
        """Bytes of the answer's body, without framing."""
        exchange = self._exchange
        if exchange is not None and exchange.rechunk:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.forward(data)

    def _send_refusal(self, exchange: Exchange, answer: Answer) -> None:
        keep = exchange.complete and exchange.keep_alive and not self._worker.draining
        exchange.keep_alive = keep
        head_only = exchange.head is not None and exchange.head.method == "HEAD"
        self._transport.write(written(answer, close=not keep, head_only=head_only))

    def _cut(self, exchange: Exchange) -> None:
        """A close in order could be the end of an answer without length: only a reset says that it is not."""
        self._worker.reset(self._transport)
        self._transport.abort()

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        self._served += 1
        worker = self._worker
        if exchange.rechunk and exchange.whole:
            self._transport.write(_CHUNKS_END)
        self._record(exchange)
        if not exchange.keep_alive or worker.draining:
            self._linger(unread=not exchange.complete)
            return
        self.deadline = worker.tick + (worker.timeouts.send if self._stuck else worker.timeouts.idle)
        if self._held:
            self._hold("backend", False)
            self._hold("dial", False)
            if not self._stuck:
                self._go_on()

    def _go_on(self) -> None:
        """Take up what the client sent ahead, if it did."""
        if "queue" in self._held:
            self._worker.soon(self._read_on)

    def _read_on(self) -> None:
        if self._exchange is not None or "queue" not in self._held:
            return
        data, self._unread = self._unread, b""
        self._hold("queue", False)
        self.data_received(data)

    def _linger(self, *, unread: bool) -> None:
        """Close, but let the answer arrive: closing with unread bytes would reset the connection."""
        self._lingering = True
        if not unread or not self._transport.can_write_eof():
            self._transport.close()
            self.deadline = self._worker.tick + self._worker.timeouts.send
            return
        if self._held:
            self._held.clear()
            self._transport.resume_reading()
        self._transport.write_eof()
        self.deadline = self._worker.tick + _LINGER

    def _refuse_connection(self, verdict: Verdict) -> None:
        self._worker.refused(verdict)
        self._transport.write(written(refused_answer(verdict, ""), close=True, head_only=False))
        self._linger(unread=True)

    def _hold(self, why: str, hold: bool) -> None:  # noqa: FBT001
        held = self._held
        if hold == (why in held) or self._lingering:
            return
        if hold:
            held.add(why)
            if len(held) == 1:
                self._transport.pause_reading()
        else:
            held.remove(why)
            if not held:
                self._transport.resume_reading()

    def expire(self) -> None:
        """The deadline has passed."""
        exchange = self._exchange
        if self._lingering or self._stuck or (exchange is None and self._served and not self._unread):
            if exchange is not None:
                exchange.error = exchange.error or ("send_timeout" if self._stuck else "")
            self._transport.abort()
        elif exchange is None and not self._unread:
            self._refuse_connection(refusal("head_timeout"))
        elif exchange is None:
            self._refuse("head_timeout", self._started)
            self._step()
        elif exchange.tunnel:
            exchange.error = "tunnel_timeout"
            self._transport.abort()
        elif exchange.complete or self._held:
            self._give_up(exchange, "backend_timeout")
        else:
            self._give_up(exchange, "body_timeout")

    def abort(self) -> None:
        """End the connection now, whatever is under way."""
        self._transport.abort()

    def drain(self) -> None:
        """The worker stops: close when nothing is under way."""
        if self._exchange is None and not self._lingering:
            self._transport.close()
