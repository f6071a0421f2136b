"""Logins seen in access records: a POST to a login path, and the answer's status, say what happened.

401 and 403 are failures, 2xx and 3xx successes; any other status says nothing about the account.
"""

from deepmoat.collect.enrich.redact import literal
from deepmoat.collect.plan import Plan
from deepmoat.collect.receiver import Context

_OUTCOME = "if(http_response_status_code IN (401, 403), 'failure', 'success')"
_FIXED = frozenset({"event_action", "event_outcome", "event_reason", "service_name"})


def happened(context: Context) -> str:
    """A condition over an access record's columns: was it a login whose outcome is known?"""
    paths = ", ".join(map(literal, context.settings.login_paths)) or "''"
    status = "http_response_status_code IN (401, 403) OR intDiv(http_response_status_code, 100) IN (2, 3)"
    return f"http_request_method = 'POST' AND url_path IN ({paths}) AND ({status})"


def mentioned(context: Context, text: str) -> str:
    """A cheap condition: does ``text`` name the end of a login path at all?"""
    words = ", ".join(literal(word.decode()) for word in _words(context))
    return f"multiSearchAny({text}, [{words}])" if words else "0"


def plan(context: Context, table: str, form: str, structure: str) -> Plan:
    """A second Load over ``table``, which has the columns of access records."""
    where, words = happened(context), _words(context)
    return Plan("security", form, structure, _COLUMNS, table, where, fixed=_FIXED, words=words)


def _words(context: Context) -> tuple[bytes, ...]:
    """The last parts of the login paths: JSON may escape a slash, and nothing else of a path."""
    ends = {path.rpartition("/")[2].encode() for path in context.settings.login_paths}
    return tuple(sorted(end for end in ends if not any(other in end for other in ends - {end})))


_COLUMNS = {
    "time": "time",
    "client_address": "client_address",
    "event_action": "'login'",
    "event_outcome": _OUTCOME,
    "event_reason": "toString(http_response_status_code)",
    "service_name": "'web'",
    "server_address": "server_address",
    "user_name": "user_name",
    "request_id": "request_id",
    "attributes": "map('url_path', url_path)",
}
