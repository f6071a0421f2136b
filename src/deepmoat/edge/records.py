"""Records of the edge: what is written about a request, and how a flood of refused ones is summed up.

Column names are those of ``model/logstore.py``; a test holds the two together. Fields at their
default are left out of the line.
"""

from collections.abc import Iterator, Sequence

import msgspec

from deepmoat.model import Request

_PATH, _TEXT, _QUERY = 4096, 1024, 8192
_FIRST_PATH = 256
_MOST_KEYS = 4096
_AT_ONCE = 256
_BLOCKS = ("limit", "block")
_ENCODER = msgspec.json.Encoder()


class AccessRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One line of ``access``. What came after the first release stands behind ``attributes``."""

    time: float
    client_address: str
    http_request_method: str
    server_address: str
    url_path: str
    url_query: str
    http_response_status_code: int
    url_scheme: str
    network_protocol_version: str
    duration: float
    request_id: str
    verdict: str
    http_request_body_size: int = 0
    http_response_body_size: int = 0
    user_agent_original: str = ""
    http_request_referer: str = ""
    upstream_address: str = ""
    upstream_status_code: int = 0
    upstream_duration: float = 0.0
    user_name: str = ""
    key_hash: str = ""
    verdict_rule: str = ""
    attributes: dict[str, str] = {}
    error_type: str = ""
    client_port: int = 0
    tls_protocol_version: str = ""
    tls_cipher: str = ""
    tls_client_ja4: str = ""
    http_response_content_type: str = ""
    upstream_pool: str = ""
    upstream_tries: int = 0
    trace_id: str = ""
    session_hash: str = ""
    client_asn: int = 0


class LlmRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One line of ``llm``. ``prompt`` and ``answer`` come here as they are; the load redacts them."""

    time: float
    client_address: str
    http_request_method: str
    server_address: str
    url_path: str
    http_response_status_code: int
    gen_ai_provider_name: str
    gen_ai_operation_name: str
    duration: float
    request_id: str
    verdict: str
    url_query: str = ""
    gen_ai_request_model: str = ""
    gen_ai_response_model: str = ""
    gen_ai_usage_input_tokens: int = 0
    gen_ai_usage_output_tokens: int = 0
    gen_ai_response_finish_reason: str = ""
    gen_ai_conversation_id: str = ""
    streamed: int = 0
    time_to_first_token: float = 0.0
    upstream_address: str = ""
    user_name: str = ""
    key_hash: str = ""
    verdict_rule: str = ""
    attributes: dict[str, str] = {}
    error_type: str = ""
    tls_client_ja4: str = ""
    gen_ai_response_id: str = ""
    gen_ai_usage_cache_read_input_tokens: int = 0
    gen_ai_usage_cache_creation_input_tokens: int = 0
    gen_ai_usage_reasoning_output_tokens: int = 0
    gen_ai_usage_estimated: int = 0
    cost: float = 0.0
    prompt: str = ""
    answer: str = ""
    client_left: int = 0
    tokens_per_second: float = 0.0
    queue_duration: float = 0.0
    upstream_pool: str = ""
    trace_id: str = ""
    session_hash: str = ""


class DdosRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One line of ``ddos``: ``requests`` of one client that one rule refused, or let in, within a second.

    ``cc_blocks`` and ``last_result`` say the same as ``verdict`` in the words of Anti-DDoS: limited and
    blocked is blocked, and only ``pass`` is ok. What follows is told of the first of the requests.
    """

    time: float
    client_address: str
    vector: str
    cc_phase: str
    verdict: str
    verdict_rule: str
    server_address: str
    requests: int
    cc_blocks: int = 0
    last_result: str = ""
    http_request_method: str = ""
    url_path: str = ""
    tls_client_ja4: str = ""
    key_hash: str = ""
    session_hash: str = ""
    client_asn: int = 0


def text(raw: bytes, most: int = _TEXT) -> str:
    """What a client sent, as text that any JSON reader takes: bytes that are no UTF-8 become U+FFFD."""
    return raw[:most].decode("utf-8", "replace")


def split_target(target: bytes) -> tuple[str, str]:
    """Path and query of a request target."""
    path, mark, query = target.partition(b"?")
    return text(path, _PATH), text(query, _QUERY) if mark else ""


class Refusals:
    """Counts refused requests, and solved challenges, by who, why and where, between two calls of ``take``.

    Under a flood one line for each second, client and rule says it all. The number of keys is bounded:
    beyond it host, path, key and session, which a client may make up, are left out, and then the client.
    At worst that is 65,540 records of some 500 bytes each.
    """

    def __init__(self, most: int = _MOST_KEYS) -> None:
        self._records: dict[tuple[str, str, str, str, str], DdosRecord] = {}
        self._most = most

    def add(  # noqa: PLR0913
        self, client: str, phase: str, verdict: str, rule: str, host: str, request: Request | None = None
    ) -> bool:
        """Count one; True for the first of its kind since the last ``take``.

        ``verdict`` is challenge, limit or block, or pass for a challenge that was solved. ``request`` is
        its head, where one was read: of the first the record keeps method, path, fingerprint, key, session.
        """
        kinds = len(self._records)
        if kinds >= self._most:
            host = ""
        if kinds >= 16 * self._most:
            client, request = "::", None
        key = client, phase, verdict, rule, host
        record = self._records.get(key)
        if record is not None:
            record.requests += 1
            return False
        self._records[key] = _first(key, request, whole=kinds < self._most)
        return True

    def take(self, now: float) -> list[DdosRecord]:
        """The records of all counted so far, at time ``now``; counting starts again."""
        records, self._records = self._records, {}
        for record in records.values():
            record.time = now
        return list(records.values())


def _first(key: tuple[str, str, str, str, str], request: Request | None, *, whole: bool) -> DdosRecord:
    """The record of the first of its kind; ``take`` tells it the time."""
    client, phase, verdict, rule, host = key
    blocked, result = int(verdict in _BLOCKS), "ok" if verdict == "pass" else "failed"
    if request is None:
        return DdosRecord(0.0, client, "http", phase, verdict, rule, host, 1, blocked, result)
    method, ja4 = request.method, request.ja4
    path, key_hash, session = request.path[:_FIRST_PATH], request.key_hash, request.session
    if not whole:
        path = key_hash = session = ""
    seen = method, path, ja4, key_hash, session
    return DdosRecord(0.0, client, "http", phase, verdict, rule, host, 1, blocked, result, *seen)


class Journal:
    """Records waiting for the disk, by logstore. Beyond ``most`` of them newer ones are not taken."""

    def __init__(self, most: int = 200_000) -> None:
        self._records: dict[str, list[msgspec.Struct]] = {}
        self._count = 0
        self._most = most

    def add(self, logstore: str, record: msgspec.Struct) -> bool:
        """Take one record; False when there is no room for it."""
        if self._count >= self._most:
            return False
        self._count += 1
        try:
            self._records[logstore].append(record)
        except KeyError:
            self._records[logstore] = [record]
        return True

    def take(self) -> dict[str, list[msgspec.Struct]]:
        """All records so far; the journal is empty again."""
        records, self._records, self._count = self._records, {}, 0
        return records


def encoded(records: Sequence[msgspec.Struct]) -> Iterator[bytes]:
    """``records`` as lines of JSON, in pieces small enough that no other thread waits long for its turn."""
    for start in range(0, len(records), _AT_ONCE):
        yield _ENCODER.encode_lines(records[start : start + _AT_ONCE])
