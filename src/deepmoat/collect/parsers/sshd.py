"""``sshd``: auth.log as syslog writes it, with the traditional or an ISO 8601 time.

OpenSSH's lines become ``security`` records: password, key and other attempts as ``login`` with user,
outcome and address; what else it says (invalid users, PAM, disconnects) under actions of their own, so
that one attempt is one ``login``. "message repeated N times" is N records. Lines of other programs in
the same file become ``app`` records.

A user name is the attacker's own text and may hold anything, " from 192.0.2.1 port 22" too: the last
address of the line is the true one, because sshd writes it behind the name.
"""

from collections.abc import Sequence

from deepmoat.collect.enrich.redact import literal
from deepmoat.collect.lines import LINES, STRUCTURE, LineParser, rejected
from deepmoat.collect.plan import Plan, bounds
from deepmoat.collect.receiver import Context
from deepmoat.kit.spool import Stream

# time host program[pid]: message. RFC 3164 section 4.1.2 and RFC 5424 section 6.2.3 for the times.
_LINE = (
    r"^(?:<\d{1,3}>)?([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
    r"(?:Z|[+-]\d\d:?\d\d)?) (\S+) ([^\s:\[]{1,64})(?:\[\d{1,10}\])?: (.*)$"
)
_REPEATED = r"^message repeated (\d{1,4}) times: \[ ?(.*?) ?\]$"
# openssh-portable auth.c, auth_log(): "%s %s%s%s for %s%.100s from %.200s port %d ssh2%s%s"
_ATTEMPT = (
    r"^(Failed|Accepted) (\S+) for ((?:invalid|illegal) user )?(.*) from ([0-9A-Fa-f.:%]\S*) port \d{1,5}"
    r"(?: ssh\d?)?(?:: .*)?$"
)
_ADDRESS = r"(?:.*)(?: from | by |rhost=|\[)([0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)"
_USER = r"(?: user=|(?:invalid|illegal|Invalid|Illegal) user |for user )(\S*)"
_ACTIONS = (
    (r"^(?:Invalid|Illegal) user |invalid user .*\[preauth\]$", "invalid_user", "failure"),
    (r"authentication failure|Authentication failure", "authentication", "failure"),
    (r"^pam_unix\(sshd:session\): session opened|^session opened", "session", "success"),
    (
        r"session closed|^Received disconnect|^Disconnected|^Connection (?:closed|reset)",
        "disconnect",
        "unknown",
    ),
)
_NOW = "toDateTime({born:Float64})"


class Sshd(LineParser):
    """``Dec 10 06:55:46 host sshd[7]: Failed password for root from 192.0.2.9 port 22 ssh2``.

    A time without a year gets the settings' year, or the latest that is not in the future; one without
    a zone is in ``collect.zone``.
    """

    SAMPLE = (
        b"Mar  3 06:55:46 web1 sshd[7]: Failed password for invalid user bob from 192.0.2.9 port 38926 ssh2\n"
        b"2025-03-03T06:55:47.123456+01:00 web1 sshd[7]: Accepted publickey for ann from 2001:db8::7 port 5\n"
        b"Mar  3 06:56:00 web1 sudo: ann : TTY=pts/0 ; COMMAND=/bin/ls\n"
    )

    def plans(self, stream: Stream) -> Sequence[Plan]:
        table = _table(self.context)
        good = f"program != '' AND {bounds(self.context, 'time')}"
        reason = "if(program = '', 'not a line of this format', 'the time is out of range')"
        own = frozenset({"event_action", "event_outcome", "event_reason", "service_name"})
        return (
            Plan(
                "security",
                "LineAsString",
                STRUCTURE,
                _COLUMNS,
                f"(SELECT *, arrayJoin(range(times)) FROM {table} WHERE sshd)",  # noqa: S608
                good,
                raw="line",
                fixed=own,
            ),
            Plan("app", "LineAsString", STRUCTURE, _OTHERS, table, f"NOT sshd AND {good}", raw="line"),
            rejected("sshd", "security", table, f"NOT ({good})", reason),
        )


def _table(context: Context) -> str:
    """The lines with their parts; ``program`` is '' where a line has none."""
    head = f"SELECT line, extractGroups(line, {literal(_LINE)}) AS head FROM {LINES}"  # noqa: S608
    parts = (
        "SELECT line, head, head[2] AS host, head[3] AS program, "
        "match(program, '^sshd(?:-session|-auth)?$') AS sshd, "
        "startsWith(head[4], 'message repeated ') AS again, "
        f"if(again, extractGroups(head[4], {literal(_REPEATED)}), []) AS repeated, "
        "if(empty(repeated), head[4], repeated[2]) AS message, "
        "if(empty(repeated), 1, toUInt16OrDefault(repeated[1], 1::UInt16)) AS times, "
        f"{_time(context)} AS time, if(sshd, extractGroups(message, {literal(_ATTEMPT)}), []) AS attempt"
    )
    return f"({parts} FROM ({head}))"


def _time(context: Context) -> str:
    """The line's time as DateTime64; 1970 where it has none that can be read."""
    zone = literal(context.settings.zone)
    iso = f"parseDateTime64BestEffortOrNull(replaceOne(head[1], ',', '.'), 9, {zone})"
    traditional = _in_year(context.year, zone) if context.year else _latest(zone)
    found = f"if(match(head[1], '^[0-9]'), {iso}, toDateTime64({traditional}, 9, {zone}))"
    return f"ifNull({found}, toDateTime64(0, 9, 'UTC'))"


def _in_year(year: int | str, zone: str) -> str:
    return f"parseDateTimeBestEffortOrNull(concat(toString({year}), ' ', head[1]), {zone})"


def _latest(zone: str) -> str:
    """The newest year that puts the line at most a day after the segment; four back for a 29 February."""
    years = [_in_year(f"toYear({_NOW}) - {back}", zone) for back in range(5)]
    fits = [f"if({year} <= {_NOW} + 86400, {year}, NULL)" for year in years]
    return f"coalesce({', '.join(fits)})"


_ATTEMPTED = "notEmpty(attempt)"
_COLUMNS: dict[str, str] = {
    "time": "time",
    "client_address": f"toIPv6OrDefault(if({_ATTEMPTED}, attempt[5], extract(message, {literal(_ADDRESS)})))",
    "event_action": f"multiIf({_ATTEMPTED}, 'login', "
    + ", ".join(f"match(message, {literal(pattern)}), '{action}'" for pattern, action, _ in _ACTIONS)
    + ", 'notice')",
    "event_outcome": f"multiIf({_ATTEMPTED}, if(attempt[1] = 'Accepted', 'success', 'failure'), "
    + ", ".join(f"match(message, {literal(pattern)}), '{outcome}'" for pattern, _, outcome in _ACTIONS)
    + ", 'unknown')",
    "event_reason": f"multiIf(NOT {_ATTEMPTED}, '', attempt[3] != '', 'invalid user', "
    "attempt[1] = 'Failed', 'wrong credential', '')",
    "service_name": "'sshd'",
    "server_address": "host",
    "user_name": f"if({_ATTEMPTED}, attempt[4], extract(message, {literal(_USER)}))",
    "body": "message",
    "attributes": f"if({_ATTEMPTED}, map('method', attempt[2]), CAST(map(), 'Map(String, String)'))",
}
_OTHERS: dict[str, str] = {
    "time": "time",
    "service_name": "program",
    "host_name": "host",
    "body": "head[4]",
}
