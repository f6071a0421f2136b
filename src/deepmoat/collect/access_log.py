"""The access logs of nginx and Apache as ClickHouse expressions: common and combined are one thing.

A line is split at its double quotes (an eighth of the time a regular expression takes):
``address identity user [time] `` · request · `` status bytes `` · referer · `` `` · agent · rest.
Quotes and backslashes inside a field are escaped by the server, and rare: only lines with a backslash
are first brought to one kind of escape, ``\\xHH``, and their fields decoded.
"""

from collections.abc import Sequence

from deepmoat.collect.enrich.redact import literal
from deepmoat.collect.lines import LINE, STRUCTURE, rejected
from deepmoat.collect.logins import mentioned
from deepmoat.collect.logins import plan as login_plan
from deepmoat.collect.plan import Plan, bounds
from deepmoat.collect.receiver import Context

_TIME = "parseDateTimeOrNull(substring(p[1], -28, 26), '%d/%b/%Y:%H:%i:%s %z', 'UTC')"
_HEX = literal("\\x")
# Apache writes \\ and \" and \t, nginx \xHH for all of them.
_ESCAPES = (("\\\\", "\\x5C"), ('\\"', "\\x22"), ("\\n", "\\x0A"), ("\\r", "\\x0D"), ("\\t", "\\x09"))


def plans(context: Context, parser: str, *, quotes: int) -> Sequence[Plan]:
    """Plans of lines with ``quotes`` quoted fields after the status: access, logins, and what is neither."""
    good = f"reason = '' AND {bounds(context, 'time')}"
    table = _fields(quotes, "1")
    logins = f"(SELECT {_columns(_COLUMNS)} FROM {_fields(quotes, mentioned(context, 'line'))} WHERE {good})"  # noqa: S608
    wrong = "if(reason = '', 'the time is out of range', reason)"
    # A line with escapes may spell a secret in them: it is always looked at closely.
    raw = "if(escaped, 'token', line)"
    return (
        Plan("access", "LineAsString", STRUCTURE, _COLUMNS, table, good, raw=raw),
        login_plan(context, logins, "LineAsString", STRUCTURE),
        rejected(parser, "access", table, f"NOT ({good})", wrong),
    )


def _columns(columns: dict[str, str]) -> str:
    return ", ".join(f"{expression} AS {name}" for name, expression in columns.items())


def _fields(quotes: int, where: str) -> str:
    """A table of ``line``, ``escaped``, ``reason`` ('' for a good line) and the fields as text."""
    normal = "line"
    for escape, code in _ESCAPES:
        normal = f"replaceAll({normal}, {literal(escape)}, {literal(code)})"
    escaped = f"position(line, {literal(chr(92))}) > 0"
    lines = f"(SELECT {LINE} AS line, {escaped} AS escaped FROM {{file}} WHERE {where})"  # noqa: S608
    split = f"(SELECT line, escaped, splitByChar('\"', if(escaped, {normal}, line)) AS raw FROM {lines})"  # noqa: S608
    decoded = f"if(escaped, arrayMap(field -> {_decoded('field')}, raw), raw) AS p"
    split = f"(SELECT line, escaped, {decoded} FROM {split})"  # noqa: S608
    parts = (
        f"{_TIME} AS at, splitByChar(' ', substring(p[1], 1, length(p[1]) - 30)) AS who, "
        f"splitByChar(' ', p[2]) AS request, splitByChar(' ', p[3]) AS result, "
        "if(result[2] = '-', 0, toUInt16OrNull(result[2])) AS status, "
        "if(result[3] = '-', 0, toUInt64OrNull(result[3])) AS size, "
        f"length(request) > 2 AND startsWith(request[-1], 'HTTP/') AS full, "
        f"(full OR length(request) = 2) AND match(request[1], '^[A-Z][A-Z_-]{{1,31}}$') AS sane, "
        "if(NOT sane, '', if(length(request) < 4, request[2], "
        "arrayStringConcat(arraySlice(request, 2, length(request) - 2), ' '))) AS target, "
        "arrayStringConcat(arraySlice(p, 7), '\"') AS rest"
    )
    reason = (
        f"multiIf(length(p) < {3 + (quotes and 3)} OR length(result) < 3, 'not a line of this format', "
        "isNull(at), 'the time cannot be read', isNull(status), 'the status is out of range', "
        "isNull(size), 'the size is out of range', '')"
    )
    return f"(SELECT *, ifNull(at, toDateTime(0, 'UTC')) AS time, {reason} AS reason FROM (SELECT line, escaped, p, {parts} FROM {split}))"  # noqa: S608,E501


def _decoded(text: str) -> str:
    """``text`` with its ``\\xHH`` decoded, as UTF-8."""
    split = f"splitByString({_HEX}, {text})"
    byte = "concat(unhex(substring(part, 1, 2)), substring(part, 3))"
    part = f"if(match(part, '^[0-9a-fA-F]{{2}}'), {byte}, concat({_HEX}, part))"
    rest = f"arrayStringConcat(arrayMap(part -> {part}, arrayPopFront({split})))"
    return f"toValidUTF8(concat({split}[1], {rest}))"


def _given(text: str) -> str:
    """``text``, or '' where the server wrote a dash for nothing."""
    return f"if({text} = '-', '', {text})"


_USER = "if(length(who) = 3, who[3], arrayStringConcat(arraySlice(who, 3), ' '))"
# A first word that is no address may be a virtual host (Apache's vhost_combined): the address follows it.
_ADDRESS = "coalesce(toIPv6OrNull(who[1]), toIPv6OrNull(who[2]), toIPv6('::'))"
_NUMERIC = "isNotNull(toIPv6OrNull(who[1]))"
_EMPTY = "CAST(map(), 'Map(String, String)')"
_ABSOLUTE = "position(target, '://') > 0 AND NOT startsWith(target, '/')"
_PLACE = f"if({_ABSOLUTE}, path(target), target)"

_COLUMNS: dict[str, str] = {
    "time": "time",
    "client_address": _ADDRESS,
    "http_request_method": "if(sane, request[1], '')",
    "server_address": f"if({_ABSOLUTE}, domain(target), '')",
    "url_path": f"cutQueryString(cutFragment({_PLACE}))",
    "url_query": "if(position(target, '?') = 0, '', substring(target, position(target, '?') + 1))",
    "http_response_status_code": "assumeNotNull(status)",
    "network_protocol_version": "if(full AND sane, substring(request[-1], 6), '')",
    "http_response_body_size": "assumeNotNull(size)",
    "duration": "if(rest = '', 0, toFloat64OrZero(extract(rest, '^ ([0-9]+[.][0-9]+)(?: |$)')))",
    "user_agent_original": _given("p[6]"),
    "http_request_referer": _given("p[4]"),
    "request_id": "''",
    "user_name": _given(_USER),
    "body": "if(sane, '', line)",
    "attributes": f"if(rest = '' AND {_NUMERIC}, {_EMPTY}, mapFilter((name, value) -> value != '', "
    f"map('extra', trim(rest), 'client', if({_NUMERIC}, '', who[1]))))",
}
