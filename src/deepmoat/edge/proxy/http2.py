"""Http2Client: one client connection of HTTP/2; each of its streams is a Conversation.

Backends stay HTTP/1.1. ``h2`` keeps the protocol (RFC 9113). Added here is what keeps attackers out: frames
that cost us work and move no data are paid for from a bucket (rapid reset, CVE-2023-44487; floods of PING,
SETTINGS, PRIORITY, empty DATA), the head of a request passes the same reader as one of HTTP/1.1, and both
directions wait when the other side is slow: a stream's window is opened again only for what the backend took.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from deepmoat.edge.guard.bucket import Bucket
from deepmoat.edge.proxy.conversation import Conversation
from deepmoat.edge.proxy.exchange import Exchange
from deepmoat.edge.proxy.head import AnswerHead, Head
from deepmoat.edge.proxy.origin import Origin, secured
from deepmoat.edge.proxy.refusal import Answer, Refused
from deepmoat.edge.proxy.worker import Worker
from deepmoat.kit.meters import count

_SLICE = 4096  # bytes looked at before the bucket is asked again
_TINY = 64
_RESET_COST = 10.0
_LINGER = 2.0
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_COSTS: tuple[type[Event], ...] = (PingReceived, RemoteSettingsChanged, PriorityUpdated, WindowUpdated)


class Http2Client:
    """The loop calls the first group, the streams the second."""

    def __init__(self, worker: Worker, origin: Origin) -> None:
        self._worker, self.origin = worker, origin
        self._transport: Any = None
        self.streams: dict[int, Stream] = {}
        config = H2Configuration(client_side=False, header_encoding=None)
        self.h2 = H2Connection(config)
        limits = worker.policy.settings.http2
        self._bucket = Bucket(float(limits.frames), worker.clock())
        self._settings = limits
        self._closing = self._draining = False
        self.stuck = False
        self._last = 0
        self._idle_from = worker.tick
        self.deadline = 0.0  # always past: ``expire`` looks at each stream's own

    # The loop's calls.

    def connection_made(self, transport: Any) -> None:
        """The loop's call: the handshake is over and the client speaks h2."""
        worker = self._worker
        self._transport = transport
        self.origin = secured(self.origin, transport)
        self.h2.local_settings.update(
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: self._settings.streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: worker.limits.head_bytes,
                SettingCodes.ENABLE_PUSH: 0,
            }
        )
        self.h2.initiate_connection()
        verdict = worker.connected(self, self.origin)
        self.flush()
        if verdict is not None:
            worker.refused(verdict)
            self._close(ErrorCodes.ENHANCE_YOUR_CALM)
        elif worker.draining:
            self.drain()

    def data_received(self, data: bytes) -> None:
        """The loop's call: bytes from the client."""
        for start in range(0, len(data), _SLICE):
            if self._closing:
                return
            self._take(data[start : start + _SLICE])
        self.flush()

    def eof_received(self) -> None:
        """The loop's call: the client will send no more; the connection closes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop's call: the client is gone, and all its streams with it."""
        self._closing = True
        self._worker.disconnected(self, self.origin)
        for stream in list(self.streams.values()):
            stream.gone()
        self.streams.clear()

    def pause_writing(self) -> None:
        """The loop's call: the client does not take what we send as fast as it comes."""
        self.stuck = True
        self._transport.pause_reading()
        for stream in self.streams.values():
            stream.hold_answer()

    def resume_writing(self) -> None:
        """The loop's call: the client takes more."""
        self.stuck = False
        if not self._closing:
            self._transport.resume_reading()
        for stream in list(self.streams.values()):
            stream.send_more()
        self.flush()

    # The streams' calls.

    def say(self, speak: Callable[..., Any], *args: Any) -> None:
        """Have ``h2`` speak; what it cannot say any more ends the connection."""
        if self._closing:
            return
        try:
            speak(*args)
        except H2Error:
            self._close(None)

    def room(self, stream: int) -> int:
        """How many bytes of data the windows of connection and ``stream`` take now."""
        if self._closing:
            return 0
        try:
            return min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
        except H2Error:
            return 0

    def flush(self) -> None:
        """Hand the frames that are ready to the transport."""
        if not self._closing and (data := self.h2.data_to_send()):
            self._transport.write(data)

    def moved(self) -> None:
        """Data went out: a client may answer that with a window update for nothing."""
        self._bucket.level = min(float(self._settings.frames), self._bucket.level + 1)

    def forget(self, stream: "Stream") -> None:
        """The stream is over."""
        self.streams.pop(stream.id, None)
        self._idle_from = self._worker.tick
        if self._draining and not self.streams:
            self._close(ErrorCodes.NO_ERROR)

    # Reading.

    def _take(self, data: bytes) -> None:
        try:
            for event in self.h2.receive_data(data):
                if not self._closing:
                    self._event(event)
        except H2Error:
            count("deepmoat_edge_refused_total", reason="malformed")
            self._close(None)

    def _event(self, event: Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, _COSTS):
            self._spend(1.0)
        if isinstance(event, RequestReceived):
            self._request(event)
        elif isinstance(event, DataReceived):
            self._data(event, stream)
        elif isinstance(event, StreamReset):
            self._reset(stream)
        elif isinstance(event, WindowUpdated):
            self._window(stream)
        elif isinstance(event, StreamEnded):
            self._ended(stream)
        elif isinstance(event, ConnectionTerminated):
            self._close(None)  # h2 says nothing after that, so nobody gets an answer

    def _ended(self, stream: "Stream | None") -> None:
        if stream is not None:
            stream.take_end()

    def _request(self, event: RequestReceived) -> None:
        self._last = max(self._last, event.stream_id or 0)
        if self._draining:
            self.say(self.h2.reset_stream, event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        stream = Stream(self._worker, self, event.stream_id or 0)
        self.streams[stream.id] = stream
        stream.take_head(event.headers or [], ended=event.stream_ended is not None)

    def _data(self, event: DataReceived, stream: "Stream | None") -> None:
        data, size = event.data or b"", event.flow_controlled_length or 0
        if len(data) < _TINY and event.stream_ended is None:
            self._spend(1.0)
        if stream is None or not stream.take_data(data, size):
            self.say(self.h2.acknowledge_received_data, size, event.stream_id)

    def _reset(self, stream: "Stream | None") -> None:
        """A reset before the answer is the cheapest request there is for a client, and dear for us."""
        self._spend(_RESET_COST if stream is not None else 1.0)
        if stream is not None:
            stream.gone()
            self.forget(stream)

    def _window(self, stream: "Stream | None") -> None:
        for one in [stream] if stream is not None else list(self.streams.values()):
            one.send_more()

    def _spend(self, cost: float) -> None:
        bucket, limits = self._bucket, self._settings
        now = self._worker.clock()
        bucket.level = min(
            float(limits.frames), bucket.level + max(0.0, now - bucket.at) * limits.frames_per_second
        )
        bucket.at = now
        bucket.level -= cost
        if bucket.level < 0 and not self._closing:
            count("deepmoat_edge_refused_total", reason="http2_flood")
            self._close(ErrorCodes.ENHANCE_YOUR_CALM)

    # Ending.

    def _close(self, code: ErrorCodes | None) -> None:
        """Say goodbye and close; ``code`` None where ``h2`` has said it already."""
        if self._closing:
            return
        self._closing = True
        self._idle_from = self._worker.tick
        if code is not None:
            with suppress(H2Error):
                self.h2.close_connection(code)
        if data := self.h2.data_to_send():
            self._transport.write(data)
        self._transport.close()
        self._worker.soon(self._abandon)  # not now: one of the streams may be speaking

    def _abandon(self) -> None:
        """The connection is over, and with it what its streams wait for."""
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            stream.gone()

    def expire(self) -> None:
        """The sweep's call: look at the deadlines of the streams, and at an idle connection."""
        tick, timeouts = self._worker.tick, self._worker.timeouts
        for stream in [s for s in self.streams.values() if s.deadline <= tick]:
            stream.expire()
        if self._closing:
            if tick - self._idle_from > _LINGER:
                self._transport.abort()
        elif not self.streams and tick - self._idle_from > timeouts.idle:
            self._close(ErrorCodes.NO_ERROR)
        else:
            self.flush()

    @property
    def busy(self) -> bool:
        """Is a request under way?"""
        return bool(self.streams)

    def abort(self) -> None:
        """End the connection now, whatever is under way."""
        self._transport.abort()

    def drain(self) -> None:
        """The worker stops: no new streams; close when the last has been answered."""
        if self._closing or self._draining:
            return
        self._draining = True
        self._transport.write(GoAwayFrame(0, last_stream_id=self._last).serialize())
        if not self.streams:
            self._close(ErrorCodes.NO_ERROR)


class Stream(Conversation):
    """One request and its answer. ``id`` is the stream's."""

    __slots__ = ("_asked", "_client", "_ending", "_outgoing", "_owed", "_reset", "id")

    def __init__(self, worker: Worker, client: Http2Client, id: int) -> None:
        super().__init__(worker)
        self._client, self.id, self._origin = client, id, client.origin
        self._outgoing = bytearray()  # what the client's window has no room for
        self._owed = 0  # bytes of the request whose room was not given back yet
        self._ending = False  # the answer is complete but for what is in ``_outgoing``
        self._reset = False
        self._asked = False  # the client has sent all it will
        self.deadline = worker.tick + worker.timeouts.body

    # The connection's calls.

    def take_head(self, headers: list[tuple[bytes, bytes]], *, ended: bool) -> None:
        """The head of the request."""
        worker = self._worker
        started = worker.clock()
        self._asked = ended
        try:
            raw = _raw_head(headers, ended=ended)
            if len(raw) > worker.limits.head_bytes:
                raise Refused("head_too_large")
            head: Head = worker.heads.read(raw, trusted=self._origin.trusted)
            head.version = "2"
            exchange = self._open(head, started)
            if ended:
                self._complete(exchange)
        except Refused as exc:
            self._refuse(exc.reason, started)
        self._step()

    def take_data(self, data: bytes, size: int) -> bool:
        """A piece of the body that took ``size`` bytes of the window; True when room is given back later."""
        exchange = self._exchange
        if exchange is None or exchange.complete or exchange.head is None or not data:
            return False  # an empty piece would end the body in chunks
        self._take_body(exchange, data)
        if exchange.request_size > self._worker.limits.body_bytes:
            self._refuse("body_too_large")
        else:
            self._wait_for_body(exchange)
        self._step()
        if not self._held or self._exchange is None:
            return False
        self._owed += size
        return True

    def take_end(self) -> None:
        """The request is complete."""
        exchange = self._exchange
        self._asked = True
        if exchange is not None and not exchange.complete:
            self._complete(exchange)
            self._step()

    def gone(self) -> None:
        """The client does not want the answer any more."""
        self._reset = True
        self._outgoing.clear()
        self._give_room()
        self._left()

    def hold_answer(self) -> None:
        """Nothing more of the answer is taken for now."""
        exchange = self._exchange
        if exchange is None or (exchange.complete and exchange.upstream is not None):
            self.deadline = self._worker.tick + self._worker.timeouts.send
        if exchange is not None and exchange.upstream is not None:
            self._stuck = True
            exchange.upstream.hold(True)

    def send_more(self) -> None:
        """The client has room again."""
        self._send()
        if self._outgoing or self._client.stuck:
            return
        self._stuck = False
        exchange = self._exchange
        if exchange is not None and exchange.upstream is not None:
            if exchange.complete:
                self.deadline = self._worker.tick + self._worker.timeouts.answer
            exchange.upstream.hold(False)

    # The answer.

    def _continue(self, exchange: Exchange) -> None:
        exchange.continued = True
        if exchange.head is not None and exchange.head.expects and not exchange.request_size:
            self._client.say(self._client.h2.send_headers, self.id, [(b":status", b"100")])
            self._client.flush()

    def _answer_head(self, exchange: Exchange, head: AnswerHead) -> bytes:
        exchange.unframed = True
        fields = [(b":status", b"%d" % head.status)]
        for line in head.lines.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            low = name.lower()
            if colon and low != b"transfer-encoding" and not (exchange.filter and low == b"content-length"):
                fields.append((low, value.strip(b" \t")))
        if not self._reset:
            self._client.say(self._client.h2.send_headers, self.id, fields)
            self._client.flush()
        return b""

    def forward(self, data: bytes) -> None:
        """Never called: answers to HTTP/2 come without framing."""
        raise AssertionError("framed bytes for an HTTP/2 client")

    def forward_body(self, data: bytes) -> None:
        """Bytes of the answer's body."""
        exchange, worker = self._exchange, self._worker
        if exchange is not None and not exchange.first_byte_at:
            exchange.first_byte_at = worker.clock()
        self.deadline = worker.tick + worker.timeouts.answer
        self._outgoing += data
        self._send()
        if self._outgoing:
            self.hold_answer()

    def _send(self) -> None:
        """Send what the windows of stream and connection have room for."""
        client, out = self._client, self._outgoing
        if self._reset:
            out.clear()
            return
        while out and not client.stuck:
            room = min(client.room(self.id), len(out))
            if room <= 0:
                break
            client.say(client.h2.send_data, self.id, bytes(out[:room]))
            del out[:room]
            client.moved()
        if self._ending and not out:
            self._end()
        client.flush()

    def _end(self) -> None:
        self._ending = False
        self._reset = True
        client = self._client
        client.say(client.h2.end_stream, self.id)
        if not self._asked:  # the rest of the request is not wanted (RFC 9113, section 8.1)
            client.say(client.h2.reset_stream, self.id, ErrorCodes.NO_ERROR)
        client.forget(self)

    def _send_refusal(self, exchange: Exchange, answer: Answer) -> None:
        if self._reset:
            return
        fields = [(b":status", b"%d" % answer.status), *answer.fields]
        self._client.say(self._client.h2.send_headers, self.id, fields)
        if exchange.head is None or exchange.head.method != "HEAD":
            self._outgoing += answer.body

    def _cut(self, exchange: Exchange) -> None:
        if not self._reset:
            self._reset = True
            self._client.say(self._client.h2.reset_stream, self.id, ErrorCodes.INTERNAL_ERROR)
        self._outgoing.clear()
        self._give_room()
        self._left()
        self._client.forget(self)
        self._client.flush()

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        self._record(exchange)
        self.deadline = self._worker.tick + self._worker.timeouts.send
        self._ending = True
        self._give_room()
        if not self._reset:
            self._send()
        self._client.flush()

    def _hold(self, why: str, hold: bool) -> None:  # noqa: FBT001
        if hold:
            self._held.add(why)
            return
        self._held.discard(why)
        if not self._held:
            self._give_room()

    def _give_room(self) -> None:
        """Open the window again by what the backend took."""
        owed, self._owed = self._owed, 0
        if owed:  # of a stream that is over the connection's window gets it back all the same
            self._client.say(self._client.h2.acknowledge_received_data, owed, self.id)
            self._client.flush()

    def expire(self) -> None:
        """The deadline has passed."""
        exchange = self._exchange
        if exchange is None or self._stuck:
            if exchange is not None:
                exchange.error = "send_timeout"
                self._cut(exchange)
            elif not self._reset:
                self._reset = True
                self._client.say(self._client.h2.reset_stream, self.id, ErrorCodes.CANCEL)
                self._client.forget(self)
        elif exchange.complete or self._held:
            self._give_up(exchange, "backend_timeout")
        else:
            self._give_up(exchange, "body_timeout")


def _raw_head(headers: list[tuple[bytes, bytes]], *, ended: bool) -> bytes:
    """The head as HTTP/1.1 would write it, so that one reader judges both. Raises Refused.

    ``h2`` has seen to the order and number of pseudo-headers and to names that HTTP/2 forbids.
    """
    pseudo = {name: value for name, value in headers if name[:1] == b":"}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(path):
        raise Refused("malformed")
    if not _VALUE.fullmatch(pseudo.get(b":authority", b"")):
        raise Refused("malformed")
    fields = [(name, value) for name, value in headers if name[:1] != b":"]
    if ended and any(name == b"content-length" and value.strip(b"0") for name, value in fields):
        raise Refused("bad_length")  # h2 looks at a length only when data comes
    hosts = {value.lower() for name, value in fields if name == b"host"}
    authority = pseudo.get(b":authority")
    if authority is not None and hosts - {authority.lower()}:
        raise Refused("host_mismatch")
    lines = [b"%b %b HTTP/1.1" % (method, path)]
    if authority is not None:
        lines.append(b"host: " + authority)
    lines += _lines(fields, skip_host=authority is not None)
    if not ended and not any(name == b"content-length" for name, _ in fields):
        lines.append(b"transfer-encoding: chunked")
    return b"\r\n".join(lines)


def _lines(fields: list[tuple[bytes, bytes]], *, skip_host: bool) -> list[bytes]:
    lines, crumbs = [], []
    for name, value in fields:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Refused("malformed")
        if name == b"cookie":
            crumbs.append(value)  # RFC 9113, section 8.2.3
        elif not (skip_host and name == b"host"):
            lines.append(b"%b: %b" % (name, value))
    if crumbs:
        lines.append(b"cookie: " + b"; ".join(crumbs))
    return lines
