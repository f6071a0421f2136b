"""Policy: everything the settings decide, made once and replaced as a whole by a reload."""

from collections.abc import Mapping
from functools import lru_cache

from deepmoat.edge.balance.balancer import Balancer
from deepmoat.edge.chain import checks
from deepmoat.edge.guard.guard import Guard
from deepmoat.edge.llm.answer import AnswerReader
from deepmoat.edge.llm.call import Call, read_request
from deepmoat.edge.llm.endpoint import Endpoint, Endpoints
from deepmoat.edge.llm.key import key_hasher, session_hasher
from deepmoat.edge.llm.prices import Prices
from deepmoat.edge.proxy.forwarders import Forwarders
from deepmoat.edge.proxy.head import AnswerHead, Head, HeadReader, origin_form
from deepmoat.edge.proxy.refusal import Refused
from deepmoat.edge.records import split_target
from deepmoat.edge.settings import EdgeSettings
from deepmoat.edge.wire.path import BadPath, normal_path
from deepmoat.kit.errors import ConfigError

_LONGEST = {b"cookie": 16_384}
_USUAL = 1024
_REMEMBERED = 256  # bytes of a target
Wanted = tuple[tuple[bytes, str, int], ...]
"""Headers for a Request: name as bytes, as text, and how many bytes of the value."""


class Policy:
    """What one version of the settings says. Raises ConfigError for settings that cannot be used."""

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        secret: bytes,
        endpoints: Endpoints,
        guard: Guard,
        balancer: Balancer,
        prices: Prices,
    ) -> None:
        self.settings, self.timeouts, self.limits = settings, settings.timeouts, settings.limits
        self.llm, self.guard, self.balancer, self.prices = settings.llm, guard, balancer, prices
        self.forwarders = Forwarders(settings.trusted_forwarders)
        self.endpoints = endpoints
        self._prompt_chars = settings.llm.text_chars if settings.llm.record_prompts else 0
        self._answer_chars = settings.llm.text_chars if settings.llm.record_answers else 0
        self._hash, self._hash_session = key_hasher(secret), session_hasher(secret)
        self._keys = tuple(name.lower().encode() for name in settings.key_headers)
        self._sessions = tuple(_session(source) for source in settings.session)
        noted = (*settings.key_headers, *(name for name, _ in self._sessions), "accept", "cookie")
        self._headers: frozenset[bytes] | None = None
        self._wanted: Wanted = ()
        self.checks = checks(guard)
        self.heads = HeadReader(noted, most=settings.limits.headers, upgrades=settings.upgrades)
        self._noted_sessions = tuple((name.encode(), cookie) for name, cookie in self._sessions)

    def wanted(self) -> Wanted:
        """What checks look at; orders in force may ask for more."""
        headers = self.guard.actions.headers
        if headers is not self._headers:
            self._headers = headers
            names = sorted({b"user-agent"} | self.guard.headers)
            self._wanted = tuple((name, name.decode(), _LONGEST.get(name, _USUAL)) for name in names)
        return self._wanted

    def key_of(self, read: Mapping[bytes, bytes]) -> str:
        """Keyed hash of the API key among the headers ``read``, "" without one."""
        for name in self._keys:
            if name in read:
                return self._hash(read[name])
        return ""

    def session_of(self, read: Mapping[bytes, bytes]) -> str:
        """Keyed hash of the session among the headers ``read``, "" without one."""
        for name, cookie in self._noted_sessions:
            if name in read:
                value = _cookie(read[name], cookie) if cookie else read[name]
                if value:
                    return self._hash_session(value)
        return ""

    def target(self, head: Head) -> tuple[bytes, str, str]:
        """The request's target in origin form, its path normalised; then path and query as text.

        Raises Refused.
        """
        target = origin_form(head.target, head.read.get(b"host", b""), head.method)
        return _known_target(target) if len(target) <= _REMEMBERED else _normal_target(target)

    def read_call(self, endpoint: Endpoint, encoding: bytes, body: bytes, *, whole: bool, size: int) -> Call:
        """What the body of a model call says, or its beginning when it is not ``whole``."""
        return read_request(
            endpoint,
            body,
            whole=whole,
            encoding=encoding,
            most=self.limits.inspect_bytes,
            text_chars=self._prompt_chars,
            size=size,
        )

    def answer_reader(self, call: Call, head: AnswerHead) -> AnswerReader:
        """A reader of the answer to ``call`` that begins with ``head``."""
        return AnswerReader(
            head.content_type,
            self.limits.inspect_bytes,
            call=call,
            encoding=head.encoding,
            status=head.status,
            text_chars=self._answer_chars,
        )

    def silent_reader(self, call: Call) -> AnswerReader:
        """A reader of an answer that never began."""
        return AnswerReader(b"text/event-stream", self.limits.inspect_bytes, call=call)


def _normal_target(target: bytes) -> tuple[bytes, str, str]:
    path, mark, query = target.partition(b"?")
    try:
        path = normal_path(path)
    except BadPath as exc:
        raise Refused("bad_path") from exc
    target = path + mark + query
    return target, *split_target(target)


_known_target = lru_cache(4096)(_normal_target)


@lru_cache(4096)
def host_text(value: bytes) -> str:
    """A Host header that was found to be one, in lower case."""
    return value.decode("ascii").lower()


def _session(source: str) -> tuple[str, bytes]:
    """Header name, and the cookie's name within it where it is one."""
    kind, _, name = source.partition(":")
    if kind == "header" and name:
        return name.lower(), b""
    if kind == "cookie" and name:
        return "cookie", name.encode()
    raise ConfigError(
        f"not a place of a session: {source!r}", where="[edge] session", hint="header:NAME or cookie:NAME"
    )


def _cookie(header: bytes, name: bytes) -> bytes:
    """The value of the cookie ``name``, b"" without one."""
    for pair in header.split(b";"):
        key, _, value = pair.strip().partition(b"=")
        if key == name:
            return value
    return b""
