"""Worker: what all connections of one worker process share. It has no sockets: ``serve.py`` hands in
the clock and the way to reach a backend.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from deepmoat.edge.balance.rotation import Backend, Rotation
from deepmoat.edge.chain import Check
from deepmoat.edge.llm.answer import Usage
from deepmoat.edge.llm.call import Call
from deepmoat.edge.llm.key import key_hasher
from deepmoat.edge.proxy.exchange import Exchange
from deepmoat.edge.proxy.forwarders import Forwarders
from deepmoat.edge.proxy.head import Head, HeadReader
from deepmoat.edge.proxy.pool import Pool
from deepmoat.edge.proxy.upstream import Upstream
from deepmoat.edge.records import AccessRecord, Journal, LlmRecord, Refusals, text
from deepmoat.edge.settings import EdgeSettings
from deepmoat.kit.meters import count, drop
from deepmoat.model import Request, Verdict


class Guest(Protocol):
    """A client connection, as the loops of the worker see it. ``deadline`` is in monotonic seconds."""

    deadline: float

    @property
    def busy(self) -> bool:
        """Is a request under way?"""

    def dialed(self, exchange: Exchange, upstream: Upstream) -> None:
        """A connection for ``exchange`` is there."""

    def dial_failed(self, exchange: Exchange) -> None:
        """The backend for ``exchange`` could not be reached."""

    def expire(self) -> None:
        """The deadline has passed."""

    def drain(self) -> None:
        """The worker stops: close when nothing is under way."""

    def abort(self) -> None:
        """End the connection now."""


_UNREAD = Request("::", "", "")
_NO_USAGE = Usage()
_NO_HEAD = Head("", b"", "", [], {})
Dial = Callable[[Guest, Exchange, Backend], None]
"""Connect to a backend; then the client's ``dialed`` or ``dial_failed`` is called."""


class Worker:
    """``clock`` gives monotonic seconds; adding ``epoch`` makes them seconds since 1970.

    ``soon`` calls a function in the loop's next round.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        secret: bytes,
        rotation: Rotation,
        checks: tuple[Check, ...],
        clock: Callable[[], float],
        dial: Dial,
        soon: Callable[[Callable[[], None]], object],
        name: str,
    ) -> None:
        self.timeouts, self.limits = settings.timeouts, settings.limits
        self.clock, self.dial, self.rotation, self.checks = clock, dial, rotation, checks
        self.soon = soon
        self.epoch = 0.0
        self.tick = clock()
        self.draining = False
        self.heads = HeadReader(settings.key_headers, most=settings.limits.headers)
        self._key_headers = tuple(k.lower().encode() for k in settings.key_headers)
        self.forwarders = Forwarders(settings.trusted_forwarders)
        self._hash_key = key_hasher(secret)
        self.pool = Pool()
        self.journal = Journal()
        self.refusals = Refusals()
        self.clients: set[Guest] = set()
        self._name = name
        self._requests = 0
        self._tally: Counter[str] = Counter()

    def new_request_id(self) -> str:
        """An id no other request of any worker has."""
        self._requests += 1
        return f"{self._name}-{self._requests:x}"

    def key_of(self, read: Mapping[bytes, bytes]) -> str:
        """Keyed hash of the API key among the headers ``read``, "" without one."""
        for name in self._key_headers:
            if name in read:
                return self._hash_key(read[name])
        return ""

    def refused(self, verdict: Verdict) -> None:
        """Count a refusal by its reason: what the protocol calls wrong, or the check that objected."""
        phase, _, rule = verdict.rule.partition("/")
        count("deepmoat_edge_refused_total", reason=rule if phase == "http" else phase)

    def record(self, exchange: Exchange, client: str, verdict: Verdict) -> None:
        """Write down what became of ``exchange``."""
        self._tally[verdict.decision] += 1
        now = self.clock()
        if verdict.decision != "pass":
            request = exchange.request
            host = request.host if request else ""
            phase = verdict.rule.partition("/")[0]
            if not self.refusals.add(client, phase, verdict.decision, verdict.rule, host):
                return
        took = now - exchange.started
        self._add("access", self._access(exchange, client, verdict, took))
        if exchange.call is not None:
            self._add("llm", self._llm(exchange, client, verdict, took))

    def settle(self, now: float) -> None:
        """Hand the sums of the last second on; ``now`` in seconds since 1970."""
        for record in self.refusals.take(now):
            self._add("ddos", record)
        tally, self._tally = self._tally, Counter()
        for decision, requests in tally.items():
            count("deepmoat_edge_requests_total", requests, verdict=decision)

    def _add(self, logstore: str, record: msgspec.Struct) -> None:
        if not self.journal.add(logstore, record):
            drop("edge", "journal_full")

    def _access(self, exchange: Exchange, client: str, verdict: Verdict, took: float) -> AccessRecord:
        request, head, call = exchange.request, exchange.head, exchange.call
        if request is None or head is None:
            request, head = _UNREAD, _NO_HEAD
        return AccessRecord(
            exchange.started + self.epoch,
            client,
            request.method,
            request.host,
            request.path,
            request.query,
            exchange.status,
            "http",
            head.version,
            took,
            exchange.request_id,
            verdict.decision,
            exchange.request_size,
            exchange.answer_size,
            request.headers.get("user-agent", ""),
            text(head.read[b"referer"]) if b"referer" in head.read else "",
            exchange.backend,
            exchange.upstream_status,
            exchange.upstream_at and exchange.upstream_at - exchange.started,
            call.user if call else "",
            request.key_hash,
            verdict.rule,
            {"error": exchange.error} if exchange.error else {},
        )

    def _llm(self, exchange: Exchange, client: str, verdict: Verdict, took: float) -> LlmRecord:
        call, request = exchange.call, exchange.request
        assert call is not None and request is not None  # noqa: S101, PT018 - a call was read from a request
        usage = exchange.answer.usage() if exchange.answer else _NO_USAGE
        first = exchange.first_byte_at
        return LlmRecord(
            time=exchange.started + self.epoch,
            client_address=client,
            http_request_method=request.method,
            server_address=request.host,
            url_path=request.path,
            url_query=request.query,
            http_response_status_code=exchange.status,
            gen_ai_provider_name=call.endpoint.provider,
            gen_ai_operation_name=call.endpoint.operation,
            gen_ai_request_model=call.model,
            gen_ai_response_model=usage.model,
            gen_ai_usage_input_tokens=usage.input_tokens,
            gen_ai_usage_output_tokens=usage.output_tokens,
            gen_ai_response_finish_reason=usage.finish_reason,
            gen_ai_conversation_id=call.conversation,
            streamed=int(call.streamed),
            duration=took,
            time_to_first_token=first and first - exchange.started,
            upstream_address=exchange.backend,
            request_id=exchange.request_id,
            user_name=call.user,
            key_hash=request.key_hash,
            verdict=verdict.decision,
            verdict_rule=verdict.rule,
            attributes=_remarks(exchange, call, usage),
        )


def _remarks(exchange: Exchange, call: Call, usage: Usage) -> dict[str, str]:
    """What a reader of the numbers ought to know about them."""
    remarks = {} if call.readable else {"request": "unreadable"}
    if exchange.error:
        remarks["error"] = exchange.error
    if not usage.known:
        remarks["usage"] = "absent"
    return remarks
