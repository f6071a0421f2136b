"""Which parser reads a file? Told by the first lines: the format that most of them match."""

import re

_ACCESS = (
    rb"^\S+ \S+ .*\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] \"[^\n]*?\" (?:\d{1,9}|-) (?:\d+|-)"
)
_SYSLOG = rb"^(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*) \S+ "
# The first that fits a line counts for it.
FORMATS: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("ndjson", re.compile(rb"^\s*\{.*\}\s*$")),
    ("combined", re.compile(_ACCESS + rb" \".*\"")),
    ("common", re.compile(_ACCESS)),
    ("sshd", re.compile(_SYSLOG + rb"sshd(?:-session|-auth)?(?:\[\d+\])?: ")),
)
_LINES = 200


def sniff(sample: bytes) -> str:
    """The parser of a file that begins with ``sample``; ``plain`` where no format fits a tenth of its lines.

    >>> sniff(b'192.0.2.1 - - [01/Jan/2025:10:00:00 +0100] "GET / HTTP/1.0" 200 -\\n')
    'common'
    """
    lines = [line for line in sample[: 1 << 20].split(b"\n")[:_LINES] if line.strip()]
    scores = dict.fromkeys((name for name, _ in FORMATS), 0)
    for line in lines:
        name = next((name for name, pattern in FORMATS if pattern.match(line[:65_536])), None)
        if name:
            scores[name] += 1
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] * 10 >= len(lines) > 0 else "plain"


LOGSTORE = {"ndjson": "app", "combined": "access", "common": "access", "sshd": "security", "plain": "app"}
"""The logstore that a file of each format goes to unless told otherwise."""
