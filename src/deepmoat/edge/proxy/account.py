"""Account: what became of each exchange, as records, as counts, and as what budgets are charged."""

from collections import Counter

import msgspec

from deepmoat.edge.llm.answer import Usage
from deepmoat.edge.llm.call import Call
from deepmoat.edge.proxy.exchange import Exchange
from deepmoat.edge.proxy.head import Head
from deepmoat.edge.proxy.origin import Origin
from deepmoat.edge.proxy.policy import Policy
from deepmoat.edge.records import AccessRecord, Journal, LlmRecord, Refusals, text
from deepmoat.kit.meters import count, drop
from deepmoat.model import Request, Verdict

_UNREAD = Request("::", "", "")
_NO_USAGE = Usage()
_NO_HEAD = Head("", b"", "", [], {})
_NO_REMARKS: dict[str, str] = {}
_PASSED = "pass"
_LEFT = "client_left"


class Account:
    """One worker's journal, and its sums of what was refused."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.journal = Journal()
        self.refusals = Refusals()
        self._tally: Counter[str] = Counter()

    def record(self, exchange: Exchange, origin: Origin, verdict: Verdict, now: float, epoch: float) -> None:
        """Write down what became of ``exchange``; ``now`` is monotonic, with ``epoch`` since 1970."""
        decision = verdict.decision
        self._tally[decision] += 1
        request = exchange.request
        if decision != _PASSED:
            client = request.client_address if request else origin.address
            phase = verdict.rule.partition("/")[0]
            host = request.host if request else ""
            if not self.refusals.add(client, phase, decision, verdict.rule, host, request):
                return
        took = now - exchange.started
        self._add("access", self._access(exchange, origin, verdict, took, epoch))
        if exchange.endpoint is not None and request is not None:
            self._call(exchange, request, verdict, now, epoch)
        if request is not None and self.policy.guard.counts_bytes:
            self.policy.guard.sent(request, exchange.answer_size, now + epoch)

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

    def _access(
        self, exchange: Exchange, origin: Origin, verdict: Verdict, took: float, epoch: float
    ) -> AccessRecord:
        request, head, call, backend = exchange.request, exchange.head, exchange.call, exchange.backend
        if request is None or head is None:
            request, head = msgspec.structs.replace(_UNREAD, client_address=origin.address), _NO_HEAD
        pool = exchange.pool
        return AccessRecord(
            exchange.started + epoch,
            request.client_address,
            request.method,
            request.host,
            request.path,
            request.query,
            exchange.status,
            request.scheme,
            head.version,
            took,
            exchange.request_id,
            verdict.decision,
            exchange.request_size,
            exchange.answer_size,
            request.headers.get("user-agent", ""),
            text(head.read[b"referer"]) if b"referer" in head.read else "",
            backend.address if backend is not None else "",
            exchange.upstream_status,
            exchange.upstream_at and exchange.upstream_at - exchange.started,
            call.user if call is not None else "",
            request.key_hash,
            verdict.rule,
            _NO_REMARKS,
            exchange.error,
            origin.port,
            origin.tls_version,
            origin.tls_cipher,
            origin.ja4,
            exchange.content_type.decode("latin-1"),
            pool.name if pool is not None else "",
            exchange.tries,
            exchange.trace_id,
            request.session,
        )

    # Model calls.

    def _call(self, exchange: Exchange, request: Request, verdict: Verdict, now: float, epoch: float) -> None:
        """One model call: its record, and what it is charged for."""
        endpoint, call = exchange.endpoint, exchange.call
        assert endpoint is not None  # noqa: S101 - asked before
        call = call or Call(endpoint, readable=False)
        if exchange.answer is None and exchange.error == _LEFT and exchange.upstream_head:
            # It left before the answer began: its prompt has been read all the same.
            exchange.answer = self.policy.silent_reader(call)
        usage = exchange.answer.usage() if exchange.answer is not None else _NO_USAGE
        cost = (
            self.policy.prices.cost(call.model or usage.model, usage) if exchange.answer is not None else 0.0
        )
        self._add("llm", self._llm(exchange, request, call, usage, cost, verdict, now, epoch))
        if exchange.answer is not None:
            tokens = usage.input_tokens + usage.output_tokens
            self.policy.guard.spend(request, call, tokens, cost, now + epoch)

    def _llm(  # noqa: PLR0913 - one line of all that is known
        self,
        exchange: Exchange,
        request: Request,
        call: Call,
        usage: Usage,
        cost: float,
        verdict: Verdict,
        now: float,
        epoch: float,
    ) -> LlmRecord:
        first, backend, pool = exchange.first_byte_at, exchange.backend, exchange.pool
        generating = now - first if first else 0.0
        return LlmRecord(  # by position, as in ``records.py``: by name it takes twice as long
            exchange.started + epoch,
            request.client_address,
            request.method,
            request.host,
            request.path,
            exchange.status,
            call.endpoint.provider,
            call.endpoint.operation,
            now - exchange.started,
            exchange.request_id,
            verdict.decision,
            request.query,
            call.model,
            usage.model,
            usage.input_tokens,
            usage.output_tokens,
            usage.finish_reason,
            call.conversation,
            int(call.streamed),
            first and first - exchange.started,
            backend.address if backend is not None else "",
            call.user,
            request.key_hash,
            verdict.rule,
            _remarks(call, usage, exchange),
            exchange.error,
            request.ja4,
            usage.response_id,
            usage.cached_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
            int(usage.estimated),
            cost,
            call.prompt,
            usage.text,
            int(exchange.error == _LEFT),
            usage.output_tokens / generating if generating > 0 else 0.0,
            exchange.queued,
            pool.name if pool is not None else "",
            exchange.trace_id,
            request.session,
        )


def _remarks(call: Call, usage: Usage, exchange: Exchange) -> dict[str, str]:
    """What a reader of the numbers ought to know about them."""
    remarks = {}
    if not call.readable:
        remarks["request"] = call.reason or "unreadable"
    if not usage.known:
        remarks["usage"] = "estimated" if usage.estimated else "absent"
    if usage.tool_calls:
        remarks["tool_calls"] = " ".join(usage.tool_calls)
    if usage.truncated and exchange.whole:
        remarks["answer"] = "truncated"
    return remarks
