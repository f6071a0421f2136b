"""Worker: what all connections of one worker process share. It has no sockets: ``serve.py`` hands in
the clock and the way to reach a backend. What the settings decide is in ``policy``, which a reload replaces
as a whole; requests under way go on with what they have been given.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from random import getrandbits
from typing import Any, Protocol

from deepmoat.edge.balance.backend import Backend
from deepmoat.edge.balance.balancer import Balancer
from deepmoat.edge.llm.answer import AnswerReader
from deepmoat.edge.llm.call import Call
from deepmoat.edge.llm.endpoint import Endpoint
from deepmoat.edge.proxy.account import Account
from deepmoat.edge.proxy.exchange import Exchange
from deepmoat.edge.proxy.head import AnswerHead, Head
from deepmoat.edge.proxy.origin import Origin, forwarding
from deepmoat.edge.proxy.policy import Policy, host_text
from deepmoat.edge.proxy.pool import Pool
from deepmoat.edge.proxy.refusal import Answer, refusal, refused_answer
from deepmoat.edge.proxy.upstream import Upstream
from deepmoat.edge.records import text
from deepmoat.edge.wire.trace import new_traceparent, read_traceparent
from deepmoat.kit.addresses import canonical
from deepmoat.kit.meters import count
from deepmoat.model import Request, Verdict


class Guest(Protocol):
    """A client connection, as the loops of the worker see it. ``deadline`` is in monotonic seconds."""

    deadline: float

    @property
    def busy(self) -> bool:
        """Is a request under way?"""

    def expire(self) -> None:
        """The deadline has passed."""

    def drain(self) -> None:
        """The worker stops: close when nothing is under way."""

    def abort(self) -> None:
        """End the connection now."""


class Asker(Protocol):
    """Who waits for a connection to a backend."""

    def dialed(self, exchange: Exchange, upstream: Upstream) -> None:
        """A connection for ``exchange`` is there."""

    def dial_failed(self, exchange: Exchange) -> None:
        """The backend for ``exchange`` could not be reached."""


Dial = Callable[[Asker, Exchange, Backend], None]
"""Connect to a backend; then the asker's ``dialed`` or ``dial_failed`` is called."""
_BODY_GRACE = 1.0
_ONES = 1 << 64 | 1  # neither half of an id is all zeros


class Worker:
    """``clock`` gives monotonic seconds; adding ``epoch`` makes them seconds since 1970.

    ``soon`` calls a function in the loop's next round; ``queueing`` is told when a request waits for a place;
    ``reset`` has a transport's connection reset when it is aborted.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        clock: Callable[[], float],
        dial: Dial,
        soon: Callable[[Callable[[], None]], object],
        queueing: Callable[[], None],
        reset: Callable[[Any], None],
        name: str,
    ) -> None:
        self.clock, self.dial, self.soon, self.queueing, self.reset = clock, dial, soon, queueing, reset
        self.epoch = 0.0
        self.tick = clock()
        self.draining = False
        self.inspecting = 0  # bytes of model calls that are held to be read
        self.pool = Pool()
        self.account = Account(policy)
        self.clients: set[Guest] = set()
        self._by_client: Counter[str] = Counter()
        self._name = name
        self._requests = 0
        self.take(policy)

    def take(self, policy: Policy) -> None:
        """From now on ``policy`` holds for what comes."""
        self.policy = policy
        self.timeouts, self.limits = policy.timeouts, policy.limits
        self.heads, self.checks, self.forwarders = policy.heads, policy.checks, policy.forwarders
        self.balancer: Balancer = policy.balancer
        self.find_endpoint = policy.endpoints.find
        self.add_usage = policy.llm.add_usage
        self.account.policy = policy

    # Connections.

    def origin(self, peer: tuple[str, int] | None) -> Origin:
        """Whose connection it is, from the socket's ``peer`` name."""
        address = (canonical(peer[0].partition("%")[0]) if peer else None) or "::"
        port = peer[1] if peer else 0
        told = forwarding(address, "http")
        return Origin(address, port, self.forwarders.trusts(address), forwarding=told)

    def connected(self, guest: Guest, origin: Origin) -> Verdict | None:
        """Count a connection; the verdict on one that is too many."""
        self.clients.add(guest)
        mine = 0
        if not origin.trusted:
            mine = self._by_client[origin.address] = self._by_client[origin.address] + 1
        if len(self.clients) > self.limits.connections or mine > self.limits.connections_per_client:
            return refusal("too_many_connections")
        if origin.trusted:
            return None
        return self.policy.guard.connected(origin.address, self.clock() + self.epoch)

    def disconnected(self, guest: Guest, origin: Origin) -> None:
        """A connection has ended."""
        self.clients.discard(guest)
        if origin.trusted:
            return
        left = self._by_client[origin.address] - 1
        if left > 0:
            self._by_client[origin.address] = left
        else:
            del self._by_client[origin.address]

    def body_deadline(self, exchange: Exchange) -> float:
        """When the next piece of a body must be here: soon, and fast enough on the whole."""
        timeout, rate = self.timeouts.body, self.limits.body_rate
        soon = self.tick + timeout
        if not rate:
            return soon
        begun = exchange.started + exchange.queued
        return min(soon, begun + timeout + _BODY_GRACE + exchange.request_size / rate)

    # Requests.

    def new_request_id(self) -> str:
        """An id no other request of any worker has."""
        self._requests += 1
        return f"{self._name}-{self._requests:x}"

    def request(self, exchange: Exchange, head: Head, origin: Origin) -> Request:
        """What the checks see of a request; its target is normalised by that. Raises Refused."""
        policy, read = self.policy, head.read
        client, scheme = origin.address, origin.scheme
        if origin.trusted:
            listed, chain = read.get(b"x-forwarded-for", b""), read.get(b"forwarded", b"")
            client = self.forwarders.client(client, listed, chain)
            scheme = self.forwarders.scheme(read.get(b"x-forwarded-proto", b""), chain, listed) or scheme
            exchange.request_id = _request_id(read.get(b"x-request-id", b"")) or exchange.request_id
        head.target, path, query = policy.target(head)
        return Request(
            client,
            head.method,
            path,
            query,
            host_text(read[b"host"]) if b"host" in read else "",
            {key: text(read[name], most) for name, key, most in policy.wanted() if name in read},
            policy.key_of(read),
            policy.session_of(read),
            origin.ja4,
            scheme,
        )

    def trace(self, exchange: Exchange, read: Mapping[bytes, bytes]) -> bytes:
        """The W3C traceparent for the backend: the client's trace goes on, or one begins."""
        given = read.get(b"traceparent")
        if not given:
            bits = b"%048x" % (getrandbits(192) | _ONES)
            exchange.trace_id = bits[:32].decode()
            return b"00-%b-%b-01" % (bits[:32], bits[32:])
        received = read_traceparent(given)
        trace = new_traceparent(received, getrandbits(192))
        exchange.trace_id = trace.trace_id
        if received is not None and b"tracestate" in read:
            return trace.header() + b"\r\ntracestate: " + read[b"tracestate"]
        return trace.header()

    def read_call(self, endpoint: Endpoint, head: Head, body: bytes, *, whole: bool) -> Call:
        """What the body of a model call says."""
        encoding = head.read.get(b"content-encoding", b"")
        return self.policy.read_call(endpoint, encoding, body, whole=whole, size=max(0, head.length))

    def answer_reader(self, call: Call, head: AnswerHead) -> AnswerReader:
        """A reader of the answer to a model call."""
        return self.policy.answer_reader(call, head)

    def admit(self) -> None:
        """Give free places at backends to those who wait for them."""
        self.balancer.tick(self.clock())

    # Answers.

    def refused(self, verdict: Verdict) -> None:
        """Count a refusal by its reason: what the protocol calls wrong, or the check that objected."""
        phase, _, rule = verdict.rule.partition("/")
        count("deepmoat_edge_refused_total", reason=rule if phase == "http" else phase)

    def refused_answer(self, exchange: Exchange, verdict: Verdict) -> Answer:
        """The answer to a request that did not pass."""
        page = b""
        if verdict.decision == "challenge" and exchange.request is not None:
            page = self.policy.guard.page(exchange.request, self.clock() + self.epoch)
        return refused_answer(verdict, exchange.request_id, exchange.endpoint, page)

    def record(self, exchange: Exchange, origin: Origin, verdict: Verdict) -> None:
        """Write down what became of ``exchange``."""
        self.account.record(exchange, origin, verdict, self.clock(), self.epoch)


def _request_id(given: bytes) -> str:
    """A forwarder's request id, if it is one: up to 128 visible ASCII characters."""
    word = given.decode("ascii", "replace")
    return word if word.isascii() and word.isprintable() and " " not in word and len(word) <= 128 else ""
