"""Where the lines of a file go: a format has its logstore, and JSON lines have that of what they tell."""

import msgspec

from deepmoat.collect.sniff import LOGSTORE
from deepmoat.kit.errors import ConfigError
from deepmoat.model import LOGSTORES

_LINES = 50
_REQUEST = frozenset({"client_address", "http_response_status_code"})
_COLUMNS = {c.name: c.name for c in LOGSTORES["access"].columns} | dict(LOGSTORES["access"].aliases)


def known(parser: str | None) -> None:
    """ConfigError for a parser that reads no files."""
    if parser is not None and parser not in LOGSTORE:
        raise ConfigError(
            f"no such parser: {parser[:60]!r}", where="--parser", hint="known: " + ", ".join(LOGSTORE)
        )


def logstore(parser: str, sample: bytes) -> str:
    """The logstore of a file that begins with ``sample``: JSON lines that say who got which status are
    requests when most of them do.

    >>> logstore("ndjson", b'{"client_ip": "192.0.2.1", "status": 404}\\n')
    'access'
    >>> logstore("ndjson", b'{"message": "started"}\\n')
    'app'
    """
    if parser != "ndjson":
        return LOGSTORE[parser]
    lines = [line for line in sample.split(b"\n")[:_LINES] if line.strip()]
    requests = sum(map(_tells_a_request, lines))
    return "access" if requests * 2 > len(lines) else LOGSTORE[parser]


def _tells_a_request(line: bytes) -> bool:
    try:
        keys = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return {_COLUMNS.get(key.lower().replace(".", "_")) for key in keys} >= _REQUEST
