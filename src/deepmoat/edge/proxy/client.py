"""Client: one client connection, from its first byte to its last.

llhttp judges every byte of the framing, strictly; what it lets through and RFC 9112 does not is refused
in ``head.py``. One request is read at a time: what a client sends ahead of an answer waits, unread. The
body goes to the backend as it comes; when the backend, or the client, is slow, the other side is not
read, so memory stays bounded. When the client leaves, the backend connection is closed, which cancels
the generation under way.
"""

from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from deepmoat.edge.balance.rotation import Backend
from deepmoat.edge.chain import PASS, judge
from deepmoat.edge.llm.answer import AnswerReader
from deepmoat.edge.llm.call import Call, read_request
from deepmoat.edge.llm.endpoint import find_endpoint
from deepmoat.edge.proxy.exchange import Exchange, Link
from deepmoat.edge.proxy.head import AnswerHead, Head, origin_form, write_head
from deepmoat.edge.proxy.refusal import Refused, answer, refusal
from deepmoat.edge.proxy.upstream import Upstream
from deepmoat.edge.proxy.worker import Worker
from deepmoat.edge.records import split_target, text
from deepmoat.kit.addresses import canonical
from deepmoat.model import Request, Verdict

_MOST_PENDING = 65_536
_MOST_EXCESS = 65_536
_FRAMING_RATIO = 9  # a chunk of one byte is six bytes long
_LINGER = 2.0
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CHUNKS_END = b"0\r\n\r\n"


class Client:
    """The loop calls the first group, the parser the second, the backend connection the third."""

    __slots__ = (
        "_exchange",
        "_held",
        "_lingering",
        "_parser",
        "_peer",
        "_served",
        "_started",
        "_transport",
        "_trusted",
        "_unread",
        "_stuck",
        "_whole",
        "_worker",
        "deadline",
    )

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._transport: Any = None
        self._parser = HttpRequestParser(self)
        self._exchange: Exchange | None = None  # the request that is read or answered
        self._unread = b""  # the beginning of a head, or what came after the request
        self._whole = False  # the parser has seen the end of the request
        self._held: set[str] = set()
        self._lingering = False
        self._stuck = False  # the client does not take what we write
        self._served = 0
        self._started = 0.0
        self._peer, self._trusted = "", False
        self.deadline = 0.0

    # The loop's calls.

    def connection_made(self, transport: Any) -> None:
        """The loop's call: a client has connected."""
        worker = self._worker
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._peer = (canonical(peer[0].partition("%")[0]) if peer else None) or "::"
        self._trusted = worker.forwarders.trusts(self._peer)
        self.deadline = worker.tick + worker.timeouts.head
        worker.clients.add(self)
        if len(worker.clients) > worker.limits.connections:
            self._refuse_connection("too_many_connections")

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
            elif exchange.complete:
                self._keep_unread(data)
                return
            else:
                self._read_body(exchange, data)
        except (HttpParserError, Refused) as exc:
            self._refuse(exc.reason if isinstance(exc, Refused) else "malformed")
        self._step()

    def eof_received(self) -> None:
        """The loop's call: the client will send no more; the connection closes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop's call: the client is gone, and with it the reason to ask the backend."""
        self._worker.clients.discard(self)
        exchange, self._exchange = self._exchange, None
        self._lingering = True
        if exchange is not None:
            exchange.status = exchange.status or 499
            exchange.error = exchange.error or "client_left"
            self._cancel(exchange)
            self._record(exchange)

    def pause_writing(self) -> None:
        """The loop's call: the client does not take the answer as fast as it comes."""
        self._stuck = True
        if self._exchange is not None and self._exchange.upstream is not None:
            self._exchange.upstream.hold(True)

    def resume_writing(self) -> None:
        """The loop's call: the client takes more."""
        self._stuck = False
        if self._exchange is None:
            self._go_on()
        elif self._exchange.upstream is not None:
            self._exchange.upstream.hold(False)

    # The parser's calls.

    def on_message_begin(self) -> None:
        """A request begins; one behind the end of ours is more than we asked the parser to read."""
        if self._whole:
            raise Refused("malformed")

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without its framing."""
        exchange = self._exchange
        if exchange is None or exchange.head is None:
            return
        exchange.request_size += len(data)
        copy = exchange.copy
        if copy is not None and len(copy) < self._worker.limits.inspect_bytes:
            copy += data
        if exchange.head.length < 0:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        exchange.pending.append(data)
        exchange.pending_size += len(data)

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
        else:
            self._read_body(exchange, rest)

    def _take_head(self, data: bytes, raw: bytes) -> None:
        """``data`` is what llhttp has not seen of the head ``raw``."""
        worker = self._worker
        upgrade = False
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            upgrade = True
        head = worker.heads.read(raw, trusted=self._trusted)
        if upgrade:
            self._decline_upgrade(head)
        head.target = origin_form(head.target, head.read.get(b"host", b""), head.method)
        exchange = Exchange(self._started, worker.new_request_id(), head)
        request = exchange.request = self._request(exchange, head)
        self._exchange = exchange
        if head.length > worker.limits.body_bytes:
            raise Refused("body_too_large")
        if endpoint := find_endpoint(head.method, request.path):
            exchange.call, exchange.copy = Call(endpoint), bytearray()
        self.deadline = worker.tick + worker.timeouts.body
        if self._whole:
            self._complete(exchange)

    def _decline_upgrade(self, head: Head) -> None:
        """Read on as if no upgrade had been asked for, as RFC 9110, section 7.8, allows.

        llhttp skips the body of such a request, so a fresh parser is shown a head with the same framing.
        """
        framing = b"Transfer-Encoding: chunked" if head.length < 0 else b"Content-Length: %d" % head.length
        self._whole = False
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing)

    def _request(self, exchange: Exchange, head: Head) -> Request:
        worker, read = self._worker, head.read
        client = self._peer
        if self._trusted:
            client = worker.forwarders.client(client, read.get(b"x-forwarded-for", b""))
            exchange.request_id = _request_id(read.get(b"x-request-id", b"")) or exchange.request_id
        path, query = split_target(head.target)
        agent = read.get(b"user-agent")
        return Request(
            client,
            head.method,
            path,
            query,
            read.get(b"host", b"").decode("ascii").lower(),
            {"user-agent": text(agent)} if agent else {},
            worker.key_of(read),
        )

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
        self.deadline = worker.tick + worker.timeouts.body
        if self._whole:
            self._complete(exchange)
            self._keep_unread(rest)

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
        """The whole request has been read."""
        worker, head = self._worker, exchange.head
        exchange.complete = True
        exchange.keep_alive = "refused" not in self._held and self._keeps_alive(head)
        if head is not None and head.length < 0:
            exchange.pending.append(_CHUNKS_END)
        call, copy = exchange.call, exchange.copy
        if call is not None and copy is not None:
            whole = len(copy) == exchange.request_size
            exchange.call = read_request(call.endpoint, copy, whole=whole)
            exchange.copy = None
        self.deadline = worker.tick + worker.timeouts.answer

    def _keeps_alive(self, head: Head | None) -> bool:
        option = head.read.get(b"connection", b"").lower() if head is not None else b"close"
        if head is not None and head.version == "1.0":
            return b"keep-alive" in option
        return b"close" not in option

    def _keep_unread(self, data: bytes) -> None:
        """Bytes of the next request wait, and reading stops, until this one is answered."""
        if data:
            self._unread += data
            self._hold("queue", True)

    def _refuse(self, reason: str) -> None:
        """What the client sends cannot be read any further."""
        exchange = self._exchange
        if exchange is None:
            exchange = self._exchange = Exchange(self._started, self._worker.new_request_id())
        exchange.complete = exchange.keep_alive = False
        exchange.verdict = refusal(reason)
        self._cancel(exchange)

    # Moving on.

    def _step(self) -> None:
        """Do what can be done for the request."""
        exchange = self._exchange
        if exchange is None or self._lingering:
            return
        if exchange.verdict is None and exchange.request is not None:
            now = self._worker.clock() + self._worker.epoch
            exchange.verdict = judge(exchange.request, now, self._worker.checks)
        if exchange.verdict is not PASS:
            self._answer_refused(exchange, exchange.verdict or PASS)
        elif exchange.upstream is not None:
            if exchange.pending:
                self._flush(exchange, exchange.upstream)
        elif not exchange.dialing:
            self._ask(exchange)
        elif exchange.pending_size > _MOST_PENDING:
            self._hold("dial", True)

    def _flush(self, exchange: Exchange, upstream: Link) -> None:
        data = b"".join(exchange.pending)
        exchange.pending.clear()
        exchange.pending_size = 0
        upstream.write(data)

    def _ask(self, exchange: Exchange) -> None:
        """Find a backend for ``exchange``."""
        worker = self._worker
        backend = worker.rotation.pick((exchange.backend,) if exchange.tries else ())
        if backend is None:
            self._fail(exchange, exchange.error or "no_backend")
            return
        if not exchange.upstream_head:
            exchange.upstream_head = self._upstream_head(exchange, backend)
            exchange.pending.insert(0, exchange.upstream_head)
        exchange.backend = backend.address
        upstream = worker.pool.take(backend.address)
        if upstream is not None:
            self._begin(exchange, upstream)
            return
        exchange.dialing = True
        worker.dial(self, exchange, backend)

    def _begin(self, exchange: Exchange, upstream: Upstream) -> None:
        exchange.upstream = upstream
        upstream.begin(self, exchange)
        if self._stuck:
            upstream.hold(True)
        if exchange.head is not None and exchange.head.expects and not exchange.complete:
            self._transport.write(_CONTINUE)
        self._flush(exchange, upstream)

    def _upstream_head(self, exchange: Exchange, backend: Backend) -> bytes:
        head = exchange.head
        assert head is not None  # noqa: S101 - a request without a head is never passed on
        read = head.read
        chain = self._peer.encode()
        if b"x-forwarded-for" in read:
            chain = read[b"x-forwarded-for"] + b", " + chain
        ours = [b"X-Forwarded-For: %b\r\nX-Request-Id: %b" % (chain, exchange.request_id.encode())]
        if not self._trusted:
            ours.append(b"X-Forwarded-Proto: http")
        if exchange.call is not None:
            ours.append(b"Accept-Encoding: identity")  # tokens are read from the answer
        elif b"accept-encoding" in read:
            ours.append(b"Accept-Encoding: " + read[b"accept-encoding"])
        return write_head(head, read.get(b"host") or backend.address.encode(), ours)

    # The backend's calls.

    def dialed(self, exchange: Exchange, upstream: Upstream) -> None:
        """A connection for ``exchange`` is there."""
        exchange.dialing = False
        if exchange.ended or exchange.verdict is not PASS:
            upstream.idle_since = self._worker.tick
            self._worker.pool.give(upstream)
            return
        self._begin(exchange, upstream)
        self._hold("dial", False)

    def dial_failed(self, exchange: Exchange) -> None:
        """The backend could not be reached: nothing was sent, so another one may be asked."""
        exchange.dialing = False
        if exchange.ended or exchange.verdict is not PASS:
            return
        exchange.tries += 1
        exchange.error = "backend_unreachable"
        if exchange.tries >= max(2, len(self._worker.rotation.backends)):
            self._fail(exchange, "backend_unreachable")
        else:
            self._ask(exchange)

    def begin_answer(self, head: AnswerHead) -> bytes:
        """The answer's head, as the client shall see it."""
        exchange, worker = self._exchange, self._worker
        assert exchange is not None and exchange.head is not None  # noqa: S101, PT018 - it asked
        exchange.status = exchange.upstream_status = head.status
        exchange.upstream_at = worker.clock()
        keep = exchange.keep_alive and exchange.complete and head.framing != "close" and not worker.draining
        exchange.keep_alive = keep
        if exchange.call is not None and head.encoding in (b"", b"identity"):
            exchange.answer = AnswerReader(head.content_type, worker.limits.inspect_bytes)
        ending = b"\r\n" if keep else b"Connection: close\r\n\r\n"
        if keep and exchange.head.version == "1.0":
            ending = b"Connection: keep-alive\r\n\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b" % (head.status, head.reason, head.lines, ending)

    def forward(self, data: bytes) -> None:
        """Bytes of the answer."""
        exchange, worker = self._exchange, self._worker
        if exchange is not None and exchange.answer_size and not exchange.first_byte_at:
            exchange.first_byte_at = worker.clock()
        self.deadline = worker.tick + worker.timeouts.answer
        self._transport.write(data)

    def answered(self, upstream: Upstream) -> None:
        """The answer is complete."""
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - it asked
        exchange.upstream = None
        if upstream.reusable and exchange.complete and "backend" not in self._held:
            upstream.idle_since = self._worker.tick
            self._worker.pool.give(upstream)
        else:
            upstream.close()
        self._finish(exchange)

    def lost(self, upstream: Upstream, reason: str) -> None:
        """The backend ended before its answer did."""
        exchange = self._exchange
        if exchange is None or exchange.upstream is not upstream:
            return
        exchange.upstream = None
        if exchange.status:
            exchange.error = reason
            self._transport.abort()  # the client must not take half an answer for a whole one
            return
        if reason == "backend_closed" and upstream.served > 1 and _repeatable(exchange):
            exchange.pending = [exchange.upstream_head]
            self._ask(exchange)
            return
        self._fail(exchange, reason)

    def hold_request(self, hold: bool) -> None:  # noqa: FBT001
        """The backend does not take the body as fast as it comes, or does again."""
        self._hold("backend", hold)

    # Ending.

    def _fail(self, exchange: Exchange, reason: str) -> None:
        """No backend answered."""
        exchange.error = reason
        exchange.verdict = refusal(reason)
        self._step()

    def _answer_refused(self, exchange: Exchange, verdict: Verdict) -> None:
        """Answer a request that did not pass; one whose answer has begun is cut off."""
        if exchange.status:
            exchange.error = exchange.error or verdict.reason
            self._transport.abort()
            return
        keep = exchange.keep_alive = exchange.complete and exchange.keep_alive and not self._worker.draining
        exchange.status = verdict.status
        self._worker.refused(verdict)
        head_only = exchange.head is not None and exchange.head.method == "HEAD"
        self._transport.write(answer(verdict, exchange.request_id, close=not keep, head_only=head_only))
        self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        """The answer is out: record it, and read the next request."""
        self._exchange = None
        self._served += 1
        self._record(exchange)
        worker = self._worker
        if not exchange.keep_alive:
            self._linger(unread=not exchange.complete)
            return
        self.deadline = worker.tick + worker.timeouts.idle
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

    def _record(self, exchange: Exchange) -> None:
        exchange.ended = True
        verdict = exchange.verdict or PASS
        if verdict.status >= 500 and verdict.status != 505:
            verdict = PASS  # the client did nothing wrong
        client = exchange.request.client_address if exchange.request else self._peer
        self._worker.record(exchange, client, verdict)

    def _cancel(self, exchange: Exchange) -> None:
        upstream, exchange.upstream = exchange.upstream, None
        if upstream is not None:
            upstream.close()

    def _linger(self, *, unread: bool) -> None:
        """Close, but let the answer arrive: closing with unread bytes would reset the connection."""
        self._lingering = True
        if not unread or not self._transport.can_write_eof():
            self._transport.close()
            return
        if self._held:
            self._held.clear()
            self._transport.resume_reading()
        self._transport.write_eof()
        self.deadline = self._worker.tick + _LINGER

    def _refuse_connection(self, reason: str) -> None:
        verdict = refusal(reason)
        self._worker.refused(verdict)
        self._transport.write(answer(verdict, "", close=True, head_only=False))
        self._linger(unread=True)

    def _hold(self, why: str, hold: bool) -> None:  # noqa: FBT001
        """Read from the client only while nothing stands against it."""
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
        if self._lingering or (exchange is None and self._served and not self._unread):
            self._transport.abort()
        elif exchange is None and not self._unread:
            self._refuse_connection("head_timeout")
        elif exchange is None:
            self._refuse("head_timeout")
            self._step()
        elif exchange.complete or self._held:
            self._give_up(exchange, "backend_timeout")
        else:
            self._give_up(exchange, "body_timeout")

    def _give_up(self, exchange: Exchange, reason: str) -> None:
        self._cancel(exchange)
        exchange.keep_alive = False
        self._fail(exchange, reason)

    @property
    def busy(self) -> bool:
        """Is a request under way?"""
        return self._exchange is not None

    def abort(self) -> None:
        """End the connection now, whatever is under way."""
        self._transport.abort()

    def drain(self) -> None:
        """The worker stops: close when nothing is under way."""
        if self._exchange is None and not self._lingering:
            self._transport.close()


def _repeatable(exchange: Exchange) -> bool:
    """A connection that had idled may close just as it is used; asking twice must do no harm."""
    head = exchange.head
    return head is not None and head.method in _REPEATABLE and exchange.complete and not exchange.request_size


def _request_id(given: bytes) -> str:
    """A forwarder's request id, if it is one: up to 128 visible ASCII characters."""
    word = given.decode("ascii", "replace")
    return word if word.isascii() and word.isprintable() and " " not in word and len(word) <= 128 else ""
