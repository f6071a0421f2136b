"""The built-in logstores: their columns, and the names users of other products know them by.

Column names are OpenTelemetry semantic conventions (HTTP, GenAI, network, user) with
underscores for dots. The migrations of ``store/logs`` create exactly these columns; a test
holds the two together.
"""

from typing import Literal

import msgspec

Kind = Literal["time", "text", "integer", "number", "address", "map"]
_KINDS: dict[str, Kind] = {
    "DateTime64(9, 'UTC')": "time",
    "String": "text",
    "LowCardinality(String)": "text",
    "UInt8": "integer",
    "UInt16": "integer",
    "UInt32": "integer",
    "UInt64": "integer",
    "Float64": "number",
    "IPv6": "address",
    "Map(LowCardinality(String), String)": "map",
}


class Column(msgspec.Struct, frozen=True):
    """One column: its name, its ClickHouse type, and what it holds (with its unit)."""

    name: str
    type: str
    about: str

    @property
    def kind(self) -> Kind:
        """The family of the type, as the query languages see it."""
        return _KINDS[self.type]


class Logstore(msgspec.Struct, frozen=True):
    """One kind of log. ``aliases`` maps names known from other products to columns."""

    name: str
    about: str
    columns: tuple[Column, ...]
    aliases: dict[str, str] = {}

    def column(self, name: str) -> Column | None:
        """The column called or aliased ``name``, in any case; None where there is none."""
        key = name.lower()
        key = self.aliases.get(key, key)
        return next((c for c in self.columns if c.name == key), None)


_TIME = "DateTime64(9, 'UTC')"
_WORD = "LowCardinality(String)"
_MAP = "Map(LowCardinality(String), String)"

_HEAD = (
    Column("time", _TIME, "when it happened, UTC"),
    Column("source", _WORD, "who delivered it: an edge, a file's name, a sender's API key"),
)
_TAIL = (
    Column("body", "String", "the line as it was written, redacted"),
    Column("attributes", _MAP, "everything without a column of its own"),
)
_CLIENT = (
    Column("client_address", "IPv6", "the client's address; IPv4 as ::ffff:a.b.c.d; :: when unknown"),
    Column("client_country", _WORD, "country the address is registered in, ISO 3166-1 alpha-2"),
)
_REQUEST_ID = Column("request_id", "String", "the id shared by all records of one request")
_TRACE_ID = Column("trace_id", "String", "W3C trace id, hex")
_ASN = Column(
    "client_asn", "UInt32", "number of the autonomous system of the client's address; 0 when unknown"
)
_JA4 = Column("tls_client_ja4", _WORD, "JA4 fingerprint of the client's TLS hello; empty without TLS")
_POOL = Column("upstream_pool", _WORD, "the pool the backend belongs to")
_KEY = Column("key_hash", _WORD, "keyed hash of the API key that was presented")
_SESSION = Column("session_hash", "String", "keyed hash of the session that was presented")
_USER = Column("user_name", "String", "who the client says it is")
_VERDICT = (
    Column("verdict", _WORD, "pass, challenge, limit or block"),
    Column("verdict_rule", _WORD, "the check or action that decided"),
)
_ERROR = Column(
    "error_type", _WORD, "why the request failed: client_left, backend_unreachable, …; empty when it did not"
)
_HTTP = (
    Column("http_request_method", _WORD, "request method"),
    Column("server_address", _WORD, "Host asked for"),
    Column("url_path", "String", "path of the URL"),
    Column("url_query", "String", "query string of the URL, without '?', redacted"),
    Column("http_response_status_code", "UInt16", "status of the answer"),
)
_WHO = (_REQUEST_ID, _USER, _KEY, *_VERDICT)
_WHO_AT_EDGE = (_REQUEST_ID, _TRACE_ID, _USER, _KEY, _SESSION, *_VERDICT, _ERROR)
_HTTP_ALIASES = {
    "__time__": "time",
    "__source__": "source",
    "timestamp": "time",
    "content": "body",
    "message": "body",
    "real_client_ip": "client_address",
    "remote_addr": "client_address",
    "client_ip": "client_address",
    "ip": "client_address",
    "src_ip": "client_address",
    "principal_ip": "client_address",
    "country": "client_country",
    "status": "http_response_status_code",
    "status_code": "http_response_status_code",
    "method": "http_request_method",
    "request_method": "http_request_method",
    "host": "server_address",
    "matched_host": "server_address",
    "http_host": "server_address",
    "request_path": "url_path",
    "path": "url_path",
    "request_uri": "url_path",
    "querystring": "url_query",
    "user": "user_name",
    "remote_user": "user_name",
    "request_traceid": "request_id",
    "action": "verdict",
    "final_action": "verdict",
    "cc_action": "verdict",
    "rule": "verdict_rule",
    "final_rule_id": "verdict_rule",
    "cc_rule_id": "verdict_rule",
}
_EDGE_ALIASES = _HTTP_ALIASES | {"ja4": "tls_client_ja4", "traceid": "trace_id"}
_ACCESS_ALIASES = _EDGE_ALIASES | {
    "http_user_agent": "user_agent_original",
    "user_agent": "user_agent_original",
    "http_referer": "http_request_referer",
    "referer": "http_request_referer",
    "body_bytes_sent": "http_response_body_size",
    "request_length": "http_request_body_size",
    "request_time": "duration",
    "server_protocol": "network_protocol_version",
    "upstream_addr": "upstream_address",
    "upstream_response_time": "upstream_duration",
    "upstream_status": "upstream_status_code",
    "scheme": "url_scheme",
    "remote_port": "client_port",
    "src_port": "client_port",
    "ssl_protocol": "tls_protocol_version",
    "ssl_cipher": "tls_cipher",
    "content_type": "http_response_content_type",
}
# Of Higress ai-statistics, LoongCollector's input_agentsight, Sigma's llm_gateway, and older OpenTelemetry.
_LLM_ALIASES = {
    "model": "gen_ai_request_model",
    "model_requested": "gen_ai_request_model",
    "model_served": "gen_ai_response_model",
    "gen_ai_system": "gen_ai_provider_name",
    "chat_id": "gen_ai_response_id",
    "input_token": "gen_ai_usage_input_tokens",
    "input_tokens": "gen_ai_usage_input_tokens",
    "prompt_tokens": "gen_ai_usage_input_tokens",
    "gen_ai_usage_prompt_tokens": "gen_ai_usage_input_tokens",
    "output_token": "gen_ai_usage_output_tokens",
    "output_tokens": "gen_ai_usage_output_tokens",
    "completion_tokens": "gen_ai_usage_output_tokens",
    "gen_ai_usage_completion_tokens": "gen_ai_usage_output_tokens",
    "cached_tokens": "gen_ai_usage_cache_read_input_tokens",
    "cache_read_input_tokens": "gen_ai_usage_cache_read_input_tokens",
    "cache_creation_input_tokens": "gen_ai_usage_cache_creation_input_tokens",
    "gen_ai_usage_cache_write_input_tokens": "gen_ai_usage_cache_creation_input_tokens",
    "reasoning_tokens": "gen_ai_usage_reasoning_output_tokens",
    "gen_ai_usage_reasoning_tokens": "gen_ai_usage_reasoning_output_tokens",
    "gen_ai_usage_cost": "cost",
    "finish_reason": "gen_ai_response_finish_reason",
    "finish_reasons": "gen_ai_response_finish_reason",
    "gen_ai_response_finish_reasons": "gen_ai_response_finish_reason",
    "stop_reason": "gen_ai_response_finish_reason",
    "session_id": "gen_ai_conversation_id",
    "gen_ai_session_id": "gen_ai_conversation_id",
    "question": "prompt",
    "gen_ai_input_messages": "prompt",
    "gen_ai_prompt": "prompt",
    "gen_ai_output_messages": "answer",
    "gen_ai_completion": "answer",
    "is_sse": "streamed",
    "llm_service_duration": "duration",
    "gen_ai_response_duration": "duration",
    "llm_first_token_duration": "time_to_first_token",
    "endpoint": "url_path",
    "consumer": "user_name",
    "api_key_id": "key_hash",
    "upstream_addr": "upstream_address",
}
_COMMON_ALIASES = {"__time__": "time", "__source__": "source", "timestamp": "time", "content": "body"} | {
    "message": "body"
}

ACCESS = Logstore(
    "access",
    "every HTTP request: the edge's own, and nginx, Apache and load balancer logs",
    (
        *_HEAD,
        *_CLIENT,
        _ASN,
        Column("client_port", "UInt16", "port the client's connection came from; 0 when unknown"),
        *_HTTP,
        Column("url_scheme", _WORD, "http or https"),
        Column("network_protocol_version", _WORD, "1.0, 1.1, 2"),
        Column("tls_protocol_version", _WORD, "version of TLS, 1.3 or 1.2; empty without TLS"),
        Column("tls_cipher", _WORD, "cipher suite of the connection"),
        _JA4,
        Column("http_request_body_size", "UInt64", "bytes of the request body"),
        Column("http_response_body_size", "UInt64", "bytes of the answer's body"),
        Column("http_response_content_type", _WORD, "Content-Type of the answer, without parameters"),
        Column("duration", "Float64", "seconds from the first byte of the request to the last of the answer"),
        Column("user_agent_original", "String", "User-Agent as sent"),
        Column("http_request_referer", "String", "Referer as sent, redacted"),
        Column("upstream_address", _WORD, "backend that answered"),
        _POOL,
        Column("upstream_status_code", "UInt16", "status the backend gave; 0 when it was not asked"),
        Column("upstream_duration", "Float64", "seconds until the backend's head arrived"),
        Column("upstream_tries", "UInt8", "how many backends were asked"),
        *_WHO_AT_EDGE,
        *_TAIL,
    ),
    _ACCESS_ALIASES,
)
LLM = Logstore(
    "llm",
    "every call of a model",
    (
        *_HEAD,
        *_CLIENT,
        _JA4,
        *_HTTP,
        Column("gen_ai_provider_name", _WORD, "openai, anthropic, …"),
        Column("gen_ai_operation_name", _WORD, "chat, text_completion, embeddings"),
        Column("gen_ai_request_model", _WORD, "model asked for"),
        Column("gen_ai_response_model", _WORD, "model that answered"),
        Column("gen_ai_response_id", "String", "the provider's id of the answer"),
        Column("gen_ai_usage_input_tokens", "UInt64", "tokens of the prompt, cached ones included"),
        Column(
            "gen_ai_usage_cache_read_input_tokens", "UInt64", "those of them read from the provider's cache"
        ),
        Column(
            "gen_ai_usage_cache_creation_input_tokens",
            "UInt64",
            "those of them written to the provider's cache",
        ),
        Column("gen_ai_usage_output_tokens", "UInt64", "tokens of the answer, reasoning included"),
        Column("gen_ai_usage_reasoning_output_tokens", "UInt64", "those of them spent on reasoning"),
        Column(
            "gen_ai_usage_estimated",
            "UInt8",
            "1 when the tokens were estimated, 0 when the answer named them",
        ),
        Column("cost", "Float64", "price of the call, in the currency of the price file; 0 when unknown"),
        Column("gen_ai_response_finish_reason", _WORD, "stop, length, …"),
        Column("gen_ai_conversation_id", "String", "the conversation"),
        Column(
            "prompt", "String", "what was asked, redacted and cut; empty unless the edge is told to keep it"
        ),
        Column(
            "answer",
            "String",
            "what was answered, redacted and cut; empty unless the edge is told to keep it",
        ),
        Column("streamed", "UInt8", "1 when the answer was streamed"),
        Column("client_left", "UInt8", "1 when the client left before the answer ended"),
        Column("duration", "Float64", "seconds from request to end of answer"),
        Column("time_to_first_token", "Float64", "seconds from request to first byte of the answer's body"),
        Column(
            "tokens_per_second", "Float64", "tokens of the answer a second from its first byte to its last"
        ),
        Column("queue_duration", "Float64", "seconds the call waited for a backend"),
        Column("upstream_address", _WORD, "backend that answered"),
        _POOL,
        *_WHO_AT_EDGE,
        *_TAIL,
    ),
    _EDGE_ALIASES | _LLM_ALIASES,
)
SECURITY = Logstore(
    "security",
    "logins, hosts and posture: what the security of accounts and machines turns on",
    (
        *_HEAD,
        *_CLIENT,
        Column("event_action", _WORD, "login, logout, session, …"),
        Column("event_outcome", _WORD, "success, failure or unknown"),
        Column("event_reason", _WORD, "why it failed, as the service says it"),
        Column("service_name", _WORD, "sshd, web, …"),
        Column("server_address", _WORD, "host or site it happened on"),
        Column("user_name", "String", "the account"),
        Column("request_id", "String", "the id shared by all records of one request"),
        *_TAIL,
    ),
    _COMMON_ALIASES
    | {
        "real_client_ip": "client_address",
        "remote_addr": "client_address",
        "client_ip": "client_address",
        "ip": "client_address",
        "country": "client_country",
        "user": "user_name",
        "outcome": "event_outcome",
        "action": "event_action",
        "host": "server_address",
        "service": "service_name",
    },
)
WAF = Logstore(
    "waf",
    "every request in which a rule matched",
    (
        *_HEAD,
        *_CLIENT,
        *_HTTP,
        Column("rule_ids", "String", "ids of the rules that matched, separated by a space"),
        Column("score", "UInt32", "anomaly score"),
        *_WHO,
        *_TAIL,
    ),
    _HTTP_ALIASES,
)
DDOS = Logstore(
    "ddos",
    "floods and what was done about them; refused requests and solved challenges, counted by client and rule",
    (
        *_HEAD,
        *_CLIENT,
        _ASN,
        Column("vector", _WORD, "http, ntp, ssdp, memcached, …"),
        Column("cc_phase", _WORD, "the guard that decided: action, rate, challenge, …"),
        Column("verdict", _WORD, "challenge, limit or block; pass for a challenge that was solved"),
        Column("verdict_rule", _WORD, "the check or action that decided"),
        Column("cc_blocks", "UInt8", "1 when they were limited or blocked, 0 when challenged or passed"),
        Column("last_result", _WORD, "ok when they passed, failed when they did not"),
        Column("server_address", _WORD, "host asked for"),
        Column("http_request_method", _WORD, "method of the first of them"),
        Column("url_path", "String", "path of the first of them, cut"),
        Column("tls_client_ja4", _WORD, "JA4 fingerprint of the first of them"),
        Column("key_hash", _WORD, "keyed hash of the API key that the first of them presented"),
        Column("session_hash", "String", "keyed hash of the session that the first of them presented"),
        Column("requests", "UInt64", "how many requests or packets this record stands for"),
        *_TAIL,
    ),
    _COMMON_ALIASES
    | {
        "real_client_ip": "client_address",
        "remote_addr": "client_address",
        "client_ip": "client_address",
        "src_ip": "client_address",
        "ip": "client_address",
        "country": "client_country",
        "cc_action": "verdict",
        "final_action": "verdict",
        "action": "verdict",
        "cc_rule_id": "verdict_rule",
        "final_rule_id": "verdict_rule",
        "rule": "verdict_rule",
        "final_plugin": "cc_phase",
        "host": "server_address",
        "matched_host": "server_address",
        "http_host": "server_address",
        "method": "http_request_method",
        "request_method": "http_request_method",
        "request_path": "url_path",
        "path": "url_path",
        "ja4": "tls_client_ja4",
        "api_key_id": "key_hash",
    },
)
FLOW = Logstore(
    "flow",
    "traffic between hosts, one record a flow and second",
    (
        *_HEAD,
        *_CLIENT,
        Column("server_address", _WORD, "destination address"),
        Column("network_transport", _WORD, "tcp, udp, icmp, …"),
        Column("client_port", "UInt16", "source port"),
        Column("server_port", "UInt16", "destination port"),
        Column("packets", "UInt64", "packets"),
        Column("bytes", "UInt64", "bytes"),
        *_TAIL,
    ),
    _COMMON_ALIASES | {"src_ip": "client_address", "dst_ip": "server_address"},
)
APP = Logstore(
    "app",
    "applications and containers: OpenTelemetry logs and plain lines",
    (
        *_HEAD,
        Column("severity_text", _WORD, "TRACE, DEBUG, INFO, WARN, ERROR, FATAL"),
        Column("severity_number", "UInt8", "OpenTelemetry severity, 0 to 24"),
        Column("service_name", _WORD, "the service that wrote it"),
        Column("host_name", _WORD, "the machine it ran on"),
        Column("scope_name", _WORD, "the logger"),
        Column("trace_id", "String", "W3C trace id, hex"),
        Column("span_id", "String", "W3C span id, hex"),
        *_TAIL,
    ),
    _COMMON_ALIASES | {"level": "severity_text", "service": "service_name", "host": "host_name"},
)
AUDIT = Logstore(
    "audit",
    "what deepmoat and its users did",
    (
        *_HEAD,
        Column("client_address", "IPv6", "where the user was; :: for deepmoat itself"),
        Column("user_name", "String", "who did it; 'deepmoat' for itself"),
        Column("event_action", _WORD, "sign_in, query, block, unblock, key_create, …"),
        Column("event_outcome", _WORD, "success or failure"),
        Column("incident", "String", "the incident it belongs to"),
        *_TAIL,
    ),
    _COMMON_ALIASES | {"user": "user_name", "action": "event_action"},
)
REJECTED = Logstore(
    "rejected",
    "records that could not be read, with the reason",
    (
        *_HEAD,
        Column("logstore", _WORD, "where it was meant to go"),
        Column("receiver", _WORD, "the receiver or parser that took it"),
        Column("segment", "String", "the segment it came in"),
        Column("reason", "String", "why it was rejected"),
        *_TAIL,
    ),
    _COMMON_ALIASES,
)

LOGSTORES: dict[str, Logstore] = {
    s.name: s for s in (ACCESS, LLM, SECURITY, WAF, DDOS, FLOW, APP, AUDIT, REJECTED)
}
