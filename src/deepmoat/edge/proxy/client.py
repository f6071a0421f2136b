"""Client: one client connection, from its first byte to its last.

llhttp parses strictly; what it lets through and RFC 9112 does not is refused in ``head.py``. Requests
that a client sends ahead of their answers wait in a queue, and reading stops while there is one. The
body goes to the backend as it comes; when the backend, or the client, is slow, the other side is not
read, so memory stays bounded. When the client leaves, the backend connection is closed, which cancels
the generation under way.
"""

from collections import deque
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
_MOST_QUEUED = 100
_MOST_FRAMING = 65_536
_FRAMING_RATIO = 9  # a chunk of one byte is six bytes long
_LINGER = 2.0
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CHUNKS_END = b"0\r\n\r\n"


class Client:
    """The loop calls the first group, the parser the second, the backend connection the third."""

    __slots__ = (
        "_begun",
        "_current",
        "_held",
        "_lingering",
        "_parser",
        "_peer",
        "_queue",
        "_reading",
        "_refusal",
        "_replaying",
        "_served",
        "_transport",
        "_trusted",
        "_upgrading",
        "_worker",
        "deadline",
    )

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._transport: Any = None
        self._parser: HttpRequestParser = HttpRequestParser(self)
        self._current: Exchange | None = None
        self._reading: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._held: set[str] = set()
        self._refusal = ""
        self._lingering = self._replaying = self._upgrading = False
        self._served = self._begun = 0
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
        self._begun = 0
        before = self._reading
        taken = before.request_size if before is not None and before.head is not None else -1
        try:
            self._parse(data)
        except (HttpParserError, Refused):
            self._refused()
        exchange = self._reading
        if exchange is not None:
            if exchange is not before:
                taken = -1
            if exchange is before or (before is None and self._begun == 1):
                self._limit_framing(exchange, len(data), taken)
        self._pump()

    def eof_received(self) -> None:
        """The loop's call: the client will send no more; the connection closes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop's call: the client is gone, and with it the reason to ask the backend."""
        self._worker.clients.discard(self)
        exchange, self._current = self._current, None
        self._queue.clear()
        self._lingering = True
        if exchange is not None and exchange.head is not None:
            exchange.status = exchange.status or 499
            exchange.error = exchange.error or "client_left"
            self._cancel(exchange)
            self._end(exchange)

    def pause_writing(self) -> None:
        """The loop's call: the client does not take the answer as fast as it comes."""
        if self._current is not None and self._current.upstream is not None:
            self._current.upstream.hold(True)

    def resume_writing(self) -> None:
        """The loop's call: the client takes more."""
        if self._current is not None and self._current.upstream is not None:
            self._current.upstream.hold(False)

    # The parser's calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._replaying:
            return
        worker = self._worker
        self._begun += 1
        exchange = self._reading = Exchange(worker.clock())
        if self._current is None:
            self._current = exchange
            self.deadline = worker.tick + worker.timeouts.head
            return
        if len(self._queue) >= _MOST_QUEUED:
            self._refuse("too_many_pipelined")
        self._queue.append(exchange)

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        exchange = self._reading
        if exchange is None or self._replaying:
            return
        exchange.target += url
        if len(exchange.target) > self._worker.limits.head_bytes:
            self._refuse("head_too_large")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line; after the head it is a trailer, which goes nowhere."""
        exchange = self._reading
        if exchange is None or exchange.head is not None:
            return
        exchange.head_size += len(name) + len(value) + 4
        exchange.headers.append((name, value))
        limits = self._worker.limits
        if exchange.head_size > limits.head_bytes:
            self._refuse("head_too_large")
        if len(exchange.headers) > limits.headers:
            self._refuse("too_many_headers")

    def on_headers_complete(self) -> None:
        """The head is complete."""
        exchange = self._reading
        if exchange is None or self._replaying:
            return
        try:
            self._read_head(exchange)
        except Refused as exc:
            self._refuse(exc.reason)

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without its framing."""
        exchange = self._reading
        if exchange is None or exchange.head is None:
            return
        exchange.request_size += len(data)
        limits = self._worker.limits
        if exchange.request_size > limits.body_bytes:
            self._refuse("body_too_large")
        copy = exchange.copy
        if copy is not None and len(copy) < limits.inspect_bytes:
            copy += data
        if exchange.head.length < 0:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        exchange.pending.append(data)
        exchange.pending_size += len(data)

    def on_message_complete(self) -> None:
        """The request is complete."""
        exchange = self._reading
        if exchange is None or self._upgrading:
            return
        self._reading = None
        exchange.complete = True
        exchange.keep_alive = self._parser.should_keep_alive()
        if exchange.head is not None and exchange.head.length < 0:
            exchange.pending.append(_CHUNKS_END)
        if exchange.copy is not None:
            self._read_call(exchange)
        self.deadline = self._worker.tick + self._worker.timeouts.answer

    # Reading.

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as exc:
            self._decline_upgrade(data[exc.args[0] :])

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read on as if no upgrade had been asked for, as RFC 9110, section 7.8, allows.

        llhttp skips the body of such a request, so a fresh parser is shown a head with the same framing.
        """
        exchange = self._reading
        assert exchange is not None and exchange.head is not None  # noqa: S101, PT018
        length = exchange.head.length
        framing = b"Transfer-Encoding: chunked" if length < 0 else b"Content-Length: %d" % length
        self._upgrading, self._replaying = False, True
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing)
        self._replaying = False
        self._parse(rest)

    def _read_head(self, exchange: Exchange) -> None:
        parser, worker = self._parser, self._worker
        exchange.method = parser.get_method().decode()
        exchange.version = parser.get_http_version()
        exchange.request_id = worker.new_request_id()
        if exchange.version not in ("1.1", "1.0"):
            raise Refused("version_not_supported")
        if exchange.method == "CONNECT":
            raise Refused("connect_not_offered")
        self._upgrading = parser.should_upgrade()
        head = worker.heads.read(exchange.headers, exchange.version, trusted=self._trusted)
        exchange.target = origin_form(exchange.target, head.first(b"host"), exchange.method)
        exchange.request = self._request(exchange, head)
        exchange.head = head
        if head.length > worker.limits.body_bytes:
            raise Refused("body_too_large")
        endpoint = find_endpoint(exchange.method, exchange.request.path)
        if endpoint is not None:
            exchange.call, exchange.copy = Call(endpoint), bytearray()

    def _request(self, exchange: Exchange, head: Head) -> Request:
        worker = self._worker
        client = self._peer
        if self._trusted:
            client = worker.forwarders.client(client, head.read.get(b"x-forwarded-for", []))
            exchange.request_id = _request_id(head.first(b"x-request-id")) or exchange.request_id
        key = next((k for name in worker.key_headers if (k := head.first(name))), b"")
        path, query = split_target(exchange.target)
        host = head.first(b"host").decode("latin-1").lower()
        agent = text(head.first(b"user-agent"))
        return Request(
            client,
            exchange.method,
            path,
            query,
            host,
            {"user-agent": agent},
            worker.hash_key(key) if key else "",
        )

    def _read_call(self, exchange: Exchange) -> None:
        call, copy = exchange.call, exchange.copy
        assert call is not None and copy is not None  # noqa: S101, PT018 - both are set by _read_head
        whole = len(copy) == exchange.request_size
        exchange.call = read_request(call.endpoint, bytes(copy), whole=whole)
        exchange.copy = None

    def _limit_framing(self, exchange: Exchange, size: int, taken: int) -> None:
        """Bound what is neither a finished header nor body: a line without end, chunk extensions, trailers.

        ``size`` bytes came in; before them ``taken`` bytes of the body were here, -1 without a head.
        """
        worker = self._worker
        if exchange.head is None:
            exchange.framing_size += size
            if exchange.framing_size > worker.limits.head_bytes:
                self._refused("head_too_large")
            return
        self.deadline = worker.tick + worker.timeouts.body
        if taken < 0:
            exchange.framing_size = 0
        elif exchange.head.length < 0:
            size -= _FRAMING_RATIO * (exchange.request_size - taken)
            exchange.framing_size = max(0, exchange.framing_size + size)
            if exchange.framing_size > _MOST_FRAMING:
                self._refused("bad_chunks")

    def _refuse(self, reason: str) -> None:
        """Stop the parser; ``_refused`` goes on when it has returned."""
        self._refusal = reason
        raise Refused(reason)

    def _refused(self, reason: str = "") -> None:
        """What the client sends cannot be read any further: its last request is refused."""
        exchange, reason = self._reading, reason or self._refusal or "malformed"
        if exchange is None:
            self._hold("refused", True)  # what follows "Connection: close" is not read
            return
        if exchange.head is not None and reason == "malformed":
            reason = "bad_chunks"
        self._reading = None
        exchange.verdict = refusal(reason)
        self._lingering = exchange is not self._current
        if exchange.upstream is not None:
            self._cancel(exchange)

    # Moving on.

    def _pump(self) -> None:
        """Do what can be done for the current request, and for those behind it."""
        while self._current is not None and self._step(self._current):
            pass
        self._hold("queue", bool(self._queue))

    def _step(self, exchange: Exchange) -> bool:
        """True when ``exchange`` is over and the next one is current."""
        if exchange.verdict is None:
            if exchange.head is None or exchange.request is None:
                return False
            now = self._worker.clock() + self._worker.epoch
            exchange.verdict = judge(exchange.request, now, self._worker.checks)
            self._worker.in_flight += 1
        if exchange.verdict is not PASS:
            return self._answer_refused(exchange, exchange.verdict)
        self._send(exchange)
        return False

    def _send(self, exchange: Exchange) -> None:
        if exchange.upstream is not None:
            if exchange.pending:
                self._flush(exchange, exchange.upstream)
        elif not exchange.dialing:
            self._ask(exchange)
        if exchange.upstream is None:
            self._hold("dial", exchange.pending_size > _MOST_PENDING)

    def _flush(self, exchange: Exchange, upstream: Link) -> None:
        data = b"".join(exchange.pending)
        exchange.pending.clear()
        exchange.pending_size = 0
        upstream.write(data)

    def _ask(self, exchange: Exchange) -> None:
        """Find a backend for ``exchange``."""
        backend = self._worker.rotation.pick((exchange.backend,) if exchange.tries else ())
        if backend is None:
            self._fail(exchange, exchange.error or "no_backend")
            return
        if not exchange.upstream_head:
            exchange.upstream_head = self._upstream_head(exchange, backend)
            exchange.pending.insert(0, exchange.upstream_head)
        exchange.backend = backend.address
        upstream = self._worker.pool.take(backend.address)
        if upstream is not None:
            self._begin(exchange, upstream)
            return
        exchange.dialing = True
        self._worker.dial(self, exchange, backend)

    def _begin(self, exchange: Exchange, upstream: Upstream) -> None:
        exchange.upstream = upstream
        upstream.begin(self, exchange)
        if exchange.head is not None and exchange.head.expects and not exchange.complete:
            self._transport.write(_CONTINUE)
        self._flush(exchange, upstream)

    def _upstream_head(self, exchange: Exchange, backend: Backend) -> bytes:
        head = exchange.head
        assert head is not None and exchange.request is not None  # noqa: S101, PT018
        chain = b", ".join([*head.read.get(b"x-forwarded-for", []), self._peer.encode()])
        ours = [b"X-Forwarded-For: %b\r\nX-Request-Id: %b\r\n" % (chain, exchange.request_id.encode())]
        if not self._trusted:
            ours.append(b"X-Forwarded-Proto: http\r\n")
        if exchange.call is not None:
            ours.append(b"Accept-Encoding: identity\r\n")  # tokens are read from the answer
        elif b"accept-encoding" in head.read:
            ours.append(b"Accept-Encoding: %b\r\n" % b", ".join(head.read[b"accept-encoding"]))
        host = head.first(b"host") or backend.address.encode()
        return write_head(exchange.method, exchange.target, exchange.version, host, head, ours)

    # The backend's calls.

    def dialed(self, exchange: Exchange, upstream: Upstream) -> None:
        """A connection for ``exchange`` is there."""
        exchange.dialing = False
        if exchange.ended or exchange.verdict is not PASS:
            upstream.idle_since = self._worker.clock()
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
        self._pump()

    def begin_answer(self, head: AnswerHead) -> bytes:
        """The answer's head, as the client shall see it."""
        exchange = self._current
        assert exchange is not None  # noqa: S101 - only an exchange under way has a backend
        worker = self._worker
        exchange.status = exchange.upstream_status = head.status
        exchange.upstream_at = worker.clock()
        keep = exchange.keep_alive and exchange.complete and head.framing != "close" and not worker.draining
        exchange.closes = not keep
        if exchange.call is not None and head.encoding in (b"", b"identity"):
            exchange.answer = AnswerReader(head.content_type, worker.limits.inspect_bytes)
        ending = b"\r\n" if keep else b"Connection: close\r\n\r\n"
        if keep and exchange.version == "1.0":
            ending = b"Connection: keep-alive\r\n\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b" % (head.status, head.reason, head.lines, ending)

    def forward(self, data: bytes) -> None:
        """Bytes of the answer."""
        exchange, worker = self._current, self._worker
        if exchange is not None and exchange.answer_size and not exchange.first_byte_at:
            exchange.first_byte_at = worker.clock()
        self.deadline = worker.tick + worker.timeouts.answer
        self._transport.write(data)

    def answered(self, upstream: Upstream) -> None:
        """The answer is complete."""
        exchange = self._current
        assert exchange is not None  # noqa: S101 - only an exchange under way has a backend
        exchange.upstream = None
        if upstream.reusable and exchange.complete:
            upstream.idle_since = self._worker.tick
            self._worker.pool.give(upstream)
        else:
            upstream.close()
        self._finish(exchange)
        self._pump()

    def lost(self, upstream: Upstream, reason: str) -> None:
        """The backend ended before its answer did."""
        exchange = self._current
        if exchange is None or exchange.upstream is not upstream:
            return
        exchange.upstream = None
        if exchange.status:
            exchange.error = reason
            self._transport.abort()  # the client must not take half an answer for a whole one
            return
        if reason == "backend_closed" and upstream.served > 1 and self._repeatable(exchange):
            exchange.pending = [exchange.upstream_head]
            self._ask(exchange)
            return
        self._fail(exchange, reason)
        self._pump()

    def hold_request(self, hold: bool) -> None:  # noqa: FBT001
        """The backend does not take the body as fast as it comes, or does again."""
        self._hold("backend", hold)

    def _repeatable(self, exchange: Exchange) -> bool:
        """A connection that had idled may close just as it is used; asking twice must do no harm."""
        return exchange.method in _REPEATABLE and exchange.complete and not exchange.request_size

    # Ending.

    def _fail(self, exchange: Exchange, reason: str) -> None:
        """No backend answered: the client is told so by ``_pump``."""
        exchange.error = reason
        exchange.verdict = refusal(reason)

    def _answer_refused(self, exchange: Exchange, verdict: Verdict) -> bool:
        """Answer a request that did not pass; True when the connection goes on."""
        if exchange.status:  # its answer had begun
            exchange.error = exchange.error or verdict.reason
            self._transport.abort()
            return False
        keep = exchange.complete and exchange.keep_alive and not self._worker.draining
        exchange.status, exchange.closes = verdict.status, not keep
        self._worker.refused(
            verdict.reason if verdict.rule.startswith("http/") else verdict.rule.partition("/")[0]
        )
        self._transport.write(
            answer(verdict, exchange.request_id, close=not keep, head_only=exchange.method == "HEAD")
        )
        self._finish(exchange)
        return not self._lingering

    def _finish(self, exchange: Exchange) -> None:
        """The answer is out: record it, and take up what comes next."""
        self._end(exchange)
        self._served += 1
        worker = self._worker
        if exchange.closes or not exchange.complete:
            self._current = None
            self._linger(unread=not exchange.complete)
            return
        self._current = self._queue.popleft() if self._queue else None
        waits = self._current is None
        self.deadline = worker.tick + (worker.timeouts.idle if waits else worker.timeouts.answer)

    def _end(self, exchange: Exchange) -> None:
        worker = self._worker
        exchange.ended = True
        verdict = exchange.verdict or PASS
        if verdict.rule.startswith("http/backend") or verdict.rule == "http/no_backend":
            verdict = PASS  # the client did nothing wrong
        client = exchange.request.client_address if exchange.request else self._peer
        worker.record(exchange, client, verdict)

    def _cancel(self, exchange: Exchange) -> None:
        upstream, exchange.upstream = exchange.upstream, None
        if upstream is not None:
            upstream.close()

    def _linger(self, *, unread: bool) -> None:
        """Close, but let the answer arrive: closing with unread bytes would reset the connection."""
        self._lingering = True
        self._queue.clear()
        if not unread or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._release_all()
        self._transport.write_eof()
        self.deadline = self._worker.tick + _LINGER

    def _refuse_connection(self, reason: str) -> None:
        verdict = refusal(reason)
        self._worker.refused(reason)
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

    def _release_all(self) -> None:
        if self._held:
            self._held.clear()
            self._transport.resume_reading()

    def expire(self) -> None:
        """The deadline has passed."""
        exchange = self._current
        if self._lingering or (exchange is None and self._served):
            self._transport.abort()
            return
        if exchange is None:
            self._refuse_connection("head_timeout")
            return
        if exchange.status:
            exchange.error = "timeout"
            self._transport.abort()
            return
        reason = "head_timeout" if exchange.head is None else "backend_timeout"
        if exchange.head is not None and not exchange.complete and not self._held:
            reason = "body_timeout"
        self._reading = None
        self._cancel(exchange)
        exchange.verdict = refusal(reason)
        self._pump()

    def abort(self) -> None:
        """End the connection now, whatever is under way."""
        self._transport.abort()

    def drain(self) -> None:
        """The worker stops: close when nothing is under way."""
        if self._current is None and not self._lingering:
            self._transport.close()


def _request_id(given: bytes) -> str:
    """A forwarder's request id, if it is one: up to 128 visible ASCII characters."""
    word = given.decode("ascii", "replace")
    return word if word.isascii() and word.isprintable() and " " not in word and len(word) <= 128 else ""
