"""Records of the edge: what is written about a request, and how a flood of refused ones is summed up.

Column names are those of ``model/logstore.py``; a test holds the two together. Fields at their
default are left out of the line.
"""

from collections.abc import Iterator, Sequence

import msgspec

_PATH, _TEXT, _QUERY = 4096, 1024, 8192
_MOST_KEYS = 4096
_AT_ONCE = 256
_ENCODER = msgspec.json.Encoder()


class AccessRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One line of ``access``."""

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


class LlmRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One line of ``llm``."""

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


class DdosRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One line of ``ddos``: ``requests`` of one client that one rule refused within a second."""

    time: float
    client_address: str
    vector: str
    cc_phase: str
    verdict: str
    verdict_rule: str
    server_address: str
    requests: int


def text(raw: bytes, most: int = _TEXT) -> str:
    """What a client sent, as text that any JSON reader takes: bytes that are no UTF-8 become U+FFFD."""
    return raw[:most].decode("utf-8", "replace")


def split_target(target: bytes) -> tuple[str, str]:
    """Path and query of a request target."""
    path, mark, query = target.partition(b"?")
    return text(path, _PATH), text(query, _QUERY) if mark else ""


class Refusals:
    """Counts refused requests by who, why and where, between two calls of ``take``.

    Under a flood one line for each second, client and rule says it all. The number of keys is bounded:
    beyond it the host, which a client may make up, is left out, and then the client.
    """

    def __init__(self, most: int = _MOST_KEYS) -> None:
        self._counts: dict[tuple[str, str, str, str, str], int] = {}
        self._most = most

    def add(self, client: str, phase: str, verdict: str, rule: str, host: str) -> bool:
        """Count one; True for the first of its kind since the last ``take``."""
        if len(self._counts) >= self._most:
            host = ""
        if len(self._counts) >= 16 * self._most:
            client = "::"
        key = client, phase, verdict, rule, host
        seen = self._counts.get(key, 0)
        self._counts[key] = seen + 1
        return seen == 0

    def take(self, now: float) -> list[DdosRecord]:
        """The records of all counted so far, at time ``now``; counting starts again."""
        counts, self._counts = self._counts, {}
        return [
            DdosRecord(now, client, "http", phase, verdict, rule, host, requests)
            for (client, phase, verdict, rule, host), requests in counts.items()
        ]


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
