"""Conversation: one request on its way, whatever protocol its client speaks.

It is judged, read when it calls a model, given a backend, answered and recorded. A subclass knows how
bytes come from the client and go to it (``client.py``: HTTP/1.1, ``http2.py``: one stream of HTTP/2). The
body goes to the backend as it comes; when one side is slow the other is not read, so memory stays bounded.
The body of a model call is held until it is whole, or as long as the inspect limit: where it goes depends
on the model it names. When the client leaves, the backend connection is closed, which cancels the
generation under way.
"""

from abc import ABC, abstractmethod
from typing import Any

from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.chain import PASS, judge_call, judge_head
from deepmoat.edge.llm.add_usage import UsageFilter, with_usage
from deepmoat.edge.proxy.exchange import Exchange, Link
from deepmoat.edge.proxy.head import AnswerHead, Head, write_head
from deepmoat.edge.proxy.origin import Origin
from deepmoat.edge.proxy.refusal import Answer, Refused, refusal
from deepmoat.edge.proxy.upstream import Upstream
from deepmoat.edge.proxy.worker import Worker
from deepmoat.model import Verdict

_MOST_PENDING = 65_536
_MOST_TRIES = 3
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_CHUNKS_END = b"0\r\n\r\n"
_EVENT_STREAM = b"text/event-stream"


class Conversation(ABC):
    """The subclass calls the first group, backend and queue the second; the subclass has the third.

    ``deadline`` is in monotonic seconds: the worker's sweep calls ``expire`` when it has passed.
    """

    __slots__ = ("_exchange", "_held", "_origin", "_stuck", "_worker", "deadline")

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._origin: Origin
        self._exchange: Exchange | None = None  # the request that is read or answered
        self._held: set[str] = set()
        self._stuck = False  # the client does not take what we write
        self.deadline = 0.0

    # What the client sent.

    def _open(self, head: Head, started: float) -> Exchange:
        """A request whose head has been read. Raises Refused for a body that is known to be too large."""
        worker = self._worker
        exchange = Exchange(started, worker.new_request_id(), head)
        self._exchange = exchange
        request = exchange.request = worker.request(exchange, head, self._origin)
        exchange.endpoint = worker.find_endpoint(request.method, request.host, request.path)
        if head.length > worker.limits.body_bytes:
            raise Refused("body_too_large")
        if exchange.endpoint is not None:
            exchange.copy = bytearray()
        return exchange

    def _take_body(self, exchange: Exchange, data: bytes) -> None:
        """A piece of the body, without its framing."""
        exchange.request_size += len(data)
        if exchange.copy is not None:
            exchange.copy += data
            self._worker.inspecting += len(data)
            return
        if exchange.head is not None and exchange.head.length < 0:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        exchange.pending.append(data)
        exchange.pending_size += len(data)

    def _complete(self, exchange: Exchange) -> None:
        """The whole request is here."""
        exchange.complete = True
        head = exchange.head
        if exchange.copy is None and head is not None and head.length < 0 and not exchange.upgrade:
            exchange.pending.append(_CHUNKS_END)
        if not exchange.in_line:
            self.deadline = self._worker.tick + self._worker.timeouts.answer

    def _wait_for_body(self, exchange: Exchange) -> None:
        """More of the body has to come; one who waits in line for a backend has the queue's own time."""
        if not exchange.in_line:
            self.deadline = self._worker.body_deadline(exchange)

    def _refuse(self, reason: str, started: float = 0.0) -> None:
        """What the client sends cannot be read any further."""
        exchange = self._exchange
        if exchange is None:
            exchange = self._exchange = Exchange(started, self._worker.new_request_id())
        exchange.complete = exchange.keep_alive = False
        exchange.verdict = refusal(reason)
        self._cancel(exchange, "left")

    def _step(self) -> None:
        """Do what can be done for the request."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.verdict is None and exchange.request is not None:
            worker = self._worker
            exchange.verdict = judge_head(exchange.request, worker.clock() + worker.epoch, worker.checks)
        if exchange.verdict is not PASS:
            self._answer_refused(exchange, exchange.verdict or PASS)
        elif exchange.upstream is not None or exchange.waiting:
            self._feed(exchange)
        elif exchange.copy is None:
            self._ask(exchange)
        elif exchange.complete or self._inspected(exchange.copy):
            self._read_call(exchange)
        elif not exchange.continued:
            self._continue(exchange)

    def _feed(self, exchange: Exchange) -> None:
        """Give the body to the backend, or keep a little of it until one is there."""
        if exchange.upstream is None:
            if exchange.pending_size > _MOST_PENDING:
                self._hold("dial", True)
        elif exchange.pending and not exchange.tunnel:
            self._flush(exchange, exchange.upstream)

    def _inspected(self, copy: bytearray) -> bool:
        """Is as much held as may be?"""
        worker = self._worker
        return len(copy) >= worker.limits.inspect_bytes or worker.inspecting > worker.limits.inspect_total

    def _read_call(self, exchange: Exchange) -> None:
        """The body of a model call, or the beginning of a long one, is here: read it, judge it, go on."""
        worker, head, request, copy = self._worker, exchange.head, exchange.request, exchange.copy
        assert head is not None and request is not None and copy is not None  # noqa: S101, PT018 - it has a body
        assert exchange.endpoint is not None  # noqa: S101 - it was held for that
        body = bytes(copy)
        exchange.copy = None
        worker.inspecting -= len(body)
        whole = exchange.complete
        call = exchange.call = worker.read_call(exchange.endpoint, head, body, whole=whole)
        verdict = judge_call(request, call, worker.clock() + worker.epoch, worker.checks)
        if verdict is not PASS:
            exchange.verdict = verdict
            self._answer_refused(exchange, verdict)
            return
        if whole:
            if worker.add_usage and call.lacks_usage and not head.encoded and (more := with_usage(body)):
                body, exchange.filter = more, UsageFilter()
            head.length = len(body)  # chunks are over: it goes on with its length
            head.read.setdefault(b"content-length", b"")
        elif head.length < 0:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        exchange.pending = [body] if body else []
        exchange.pending_size = len(body)
        self._ask(exchange)

    def _flush(self, exchange: Exchange, upstream: Link) -> None:
        pending = exchange.pending
        data = pending[0] if len(pending) == 1 else b"".join(pending)
        pending.clear()
        exchange.pending_size = 0
        upstream.write(data)

    # Finding a backend.

    def _ask(self, exchange: Exchange) -> None:
        """Find a backend for ``exchange``, or a place in the queue for one."""
        worker, request = self._worker, exchange.request
        assert request is not None  # noqa: S101 - it was judged
        call = exchange.call
        pool = exchange.pool
        if pool is None:
            pool = exchange.pool = worker.balancer.route(
                request.host, request.path, call.model if call is not None else ""
            )
            if pool is None:
                self._fail(exchange, "no_backend")
                return
        session = request.session or (call.conversation if call is not None else "")
        key = request.key_hash or request.client_address
        found = pool.ask(self, key=key, session=session or key, avoid=exchange.tried, now=worker.clock())
        if isinstance(found, Backend):
            self._use(exchange, found)
        elif found == "queued":
            exchange.waiting = exchange.in_line = True
            exchange.queued_at = worker.clock()
            worker.queueing()
            self.deadline = float("inf")  # the queue has its own
        else:
            self._fail(exchange, exchange.error if exchange.error and found == "no_backend" else found)

    def _use(self, exchange: Exchange, backend: Backend) -> None:
        """``backend`` has a place for ``exchange``."""
        worker = self._worker
        exchange.backend, exchange.counted = backend, True
        if not exchange.upstream_head:
            exchange.upstream_head = self._upstream_head(exchange, backend)
            exchange.pending.insert(0, exchange.upstream_head)
        upstream = worker.pool.take(backend)
        if upstream is not None:
            self._begin(exchange, upstream)
            return
        exchange.waiting = True
        worker.dial(self, exchange, backend)

    def _begin(self, exchange: Exchange, upstream: Upstream) -> None:
        exchange.upstream = upstream
        upstream.begin(self, exchange)
        if self._stuck:
            upstream.hold(True)
        if not exchange.complete and not exchange.continued:
            self._continue(exchange)
        self._flush(exchange, upstream)
        self._hold("dial", False)

    def _upstream_head(self, exchange: Exchange, backend: Backend) -> bytes:
        head = exchange.head
        assert head is not None  # noqa: S101 - a request without a head is never passed on
        read, origin = head.read, self._origin
        request_id, trace = exchange.request_id.encode(), self._worker.trace(exchange, read)
        told = origin.forwarding
        if origin.trusted:
            listed, own = read.get(b"x-forwarded-for"), origin.address.encode()
            chain = listed + b", " + own if listed else own
            told = b"X-Forwarded-For: %b\r\nX-Request-Id: " % chain
        ours = [b"%b%b\r\ntraceparent: %b" % (told, request_id, trace)]
        if exchange.endpoint is not None:
            ours.append(b"Accept-Encoding: identity")  # tokens are read from the answer
        elif b"accept-encoding" in read:
            ours.append(b"Accept-Encoding: " + read[b"accept-encoding"])
        if exchange.upgrade:
            ours.append(b"Connection: Upgrade\r\nUpgrade: " + exchange.upgrade)
        return write_head(head, read.get(b"host") or backend.address.encode(), ours)

    # The queue's and the backend's calls.

    def admitted(self, backend: Backend) -> None:
        """The queue's call: a backend has a place for the request."""
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - it leaves the queue when its request ends
        exchange.waiting = exchange.in_line = False
        worker = self._worker
        exchange.queued += worker.clock() - exchange.queued_at
        self.deadline = (
            worker.tick + worker.timeouts.answer if exchange.complete else worker.body_deadline(exchange)
        )
        self._use(exchange, backend)

    def turned_away(self, reason: str) -> None:
        """The queue's call: no backend had a place in time."""
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - it leaves the queue when its request ends
        exchange.waiting = exchange.in_line = False
        exchange.queued += self._worker.clock() - exchange.queued_at
        self._fail(exchange, reason)

    def dialed(self, exchange: Exchange, upstream: Upstream) -> None:
        """A connection for ``exchange`` is there."""
        if exchange.ended or exchange.verdict is not PASS or exchange.upstream is not None:
            upstream.idle_since = self._worker.tick
            self._worker.pool.give(upstream)
            return
        exchange.waiting = False
        self._begin(exchange, upstream)

    def dial_failed(self, exchange: Exchange) -> None:
        """The backend could not be reached: nothing was sent, so another one may be asked."""
        if exchange.ended or exchange.verdict is not PASS:
            return
        exchange.waiting = False
        self._again(exchange, "backend_unreachable")

    def _again(self, exchange: Exchange, reason: str) -> None:
        """Ask another backend, if there is one that was not asked yet."""
        self._release(exchange, "failed")
        exchange.tries += 1
        exchange.error = reason
        if exchange.backend is not None:
            exchange.tried.append(exchange.backend)
        if exchange.tries >= _MOST_TRIES:
            self._fail(exchange, reason)
        else:
            self._ask(exchange)

    def begin_answer(self, head: AnswerHead) -> bytes:
        """The answer's head, as the client shall see it."""
        exchange, worker = self._exchange, self._worker
        assert exchange is not None and exchange.head is not None  # noqa: S101, PT018 - it asked
        exchange.status = exchange.upstream_status = head.status
        exchange.upstream_at = worker.clock()
        exchange.content_type = head.content_type
        if exchange.call is not None:
            exchange.answer = worker.answer_reader(exchange.call, head)
        if exchange.filter is not None:
            if head.content_type != _EVENT_STREAM or head.encoding not in (b"", b"identity"):
                exchange.filter = None
            else:
                exchange.unframed = True
        return self._answer_head(exchange, head)

    def answered(self, upstream: Upstream) -> None:
        """The answer is complete."""
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - it asked
        exchange.upstream = None
        exchange.whole = True
        if upstream.reusable and exchange.complete and _all_sent(exchange) and "backend" not in self._held:
            upstream.idle_since = self._worker.tick
            self._worker.pool.give(upstream)
        else:
            upstream.close()
        self._release(exchange, "failed" if exchange.status in (502, 503, 504) else "ok")
        self._finish(exchange)

    def lost(self, upstream: Upstream, reason: str) -> None:
        """The backend ended before its answer did."""
        exchange = self._exchange
        if exchange is None or exchange.upstream is not upstream:
            return
        exchange.upstream = None
        if exchange.status:
            self._release(exchange, "failed")
            exchange.error = reason
            self._cut(exchange)  # the client must not take half an answer for a whole one
            return
        stale = reason == "backend_closed" and upstream.served > 1
        if stale and _repeatable(exchange):
            self._release(exchange, "left")  # it had idled and closed as it was used: no fault of the backend
            exchange.pending = [exchange.upstream_head]
            self._ask(exchange)
            return
        if reason == "backend_closed" and _repeatable(exchange):
            exchange.pending = [exchange.upstream_head]
            self._again(exchange, reason)
            return
        self._release(exchange, "left" if stale else "failed")
        self._fail(exchange, reason)

    def hold_request(self, hold: bool) -> None:  # noqa: FBT001
        """The backend does not take the body as fast as it comes, or does again."""
        self._hold("backend", hold)

    # Ending.

    def _fail(self, exchange: Exchange, reason: str) -> None:
        """No backend answered."""
        exchange.error = reason
        retry = exchange.pool.retry_after() if exchange.pool is not None else 1
        exchange.verdict = refusal(reason, retry)
        self._step()

    def _answer_refused(self, exchange: Exchange, verdict: Verdict) -> None:
        """Answer a request that did not pass; one whose answer has begun is cut off."""
        if exchange.status:
            exchange.error = exchange.error or verdict.reason
            self._cut(exchange)
            return
        worker = self._worker
        self._cancel(exchange, "left")
        exchange.status = verdict.status
        worker.refused(verdict)
        self._send_refusal(exchange, worker.refused_answer(exchange, verdict))
        self._finish(exchange)

    def _give_up(self, exchange: Exchange, reason: str) -> None:
        self._cancel(exchange, "failed" if reason == "backend_timeout" else "left")
        exchange.keep_alive = False
        self._fail(exchange, reason)

    def _cancel(self, exchange: Exchange, outcome: str) -> None:
        """Nothing more is wanted of queue and backend."""
        upstream, exchange.upstream = exchange.upstream, None
        if upstream is not None:
            upstream.finish() if exchange.tunnel else upstream.close()
        elif exchange.waiting and not exchange.counted and exchange.pool is not None:
            exchange.pool.leave(self)
        exchange.waiting = False
        if exchange.copy is not None:
            self._worker.inspecting -= len(exchange.copy)
            exchange.copy = None
        self._release(exchange, outcome)

    def _release(self, exchange: Exchange, outcome: Any) -> None:
        """The backend has one request less in flight."""
        if not exchange.counted:
            return
        exchange.counted = False
        pool, backend, worker = exchange.pool, exchange.backend, self._worker
        assert pool is not None and backend is not None  # noqa: S101, PT018 - it was counted there
        if pool.done(backend, outcome, worker.clock()):
            worker.soon(worker.admit)

    def _left(self) -> None:
        """The client is gone, and with it the reason to ask the backend."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if exchange.upgrade and exchange.tunnel:
                exchange.whole = True
            else:
                exchange.status = exchange.status or 499
                exchange.error = exchange.error or "client_left"
            self._cancel(exchange, "left")
            self._record(exchange)

    def _record(self, exchange: Exchange) -> None:
        exchange.ended = True
        verdict = exchange.verdict or PASS
        if verdict.status >= 500 and verdict.status != 505:
            verdict = PASS  # the client did nothing wrong
        self._worker.record(exchange, self._origin, verdict)

    @property
    def busy(self) -> bool:
        """Is a request under way?"""
        return self._exchange is not None

    # What a subclass knows.

    @abstractmethod
    def _hold(self, why: str, hold: bool) -> None:  # noqa: FBT001
        """Read from the client only while nothing stands against it."""

    @abstractmethod
    def _continue(self, exchange: Exchange) -> None:
        """The client may send the body, if it waits to be asked for it."""

    @abstractmethod
    def _answer_head(self, exchange: Exchange, head: AnswerHead) -> bytes:
        """The head of a backend's answer in the client's protocol; b"" when it was sent."""

    @abstractmethod
    def forward(self, data: bytes) -> None:
        """Bytes of the answer, framed for the client."""

    @abstractmethod
    def forward_body(self, data: bytes) -> None:
        """Bytes of the answer's body, without framing."""

    @abstractmethod
    def _send_refusal(self, exchange: Exchange, answer: Answer) -> None:
        """Write the answer to a request that did not pass."""

    @abstractmethod
    def _cut(self, exchange: Exchange) -> None:
        """Break the answer off so that the client sees it."""

    @abstractmethod
    def _finish(self, exchange: Exchange) -> None:
        """The answer is out: record it, and go on."""


def _all_sent(exchange: Exchange) -> bool:
    """Did the backend get as long a body as its head said? Else the next request is taken for the rest."""
    head = exchange.head
    if head is None or head.length < 0 or exchange.call is not None:
        return True
    return exchange.request_size == head.length


def _repeatable(exchange: Exchange) -> bool:
    """A connection that had idled may close just as it is used; asking twice must do no harm."""
    head = exchange.head
    return (
        head is not None
        and head.method in _REPEATABLE
        and exchange.complete
        and not exchange.request_size
        and not exchange.upgrade
    )
