"""Finding: one thing a detector claims, with its evidence."""

from datetime import datetime
from enum import IntEnum

import msgspec

from deepmoat.model.query import Query


class Severity(IntEnum):
    """How soon a person must look. The numbers are those of SLS alerts."""

    REPORT = 2
    LOW = 4
    MEDIUM = 6
    HIGH = 8
    CRITICAL = 10


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What ``detector`` claims about ``subject`` between ``first`` and ``last``.

    ``cause`` groups findings into incidents: two findings with one cause are one attack.
    ``subject`` is (field, value), such as ("client_address", "192.0.2.1"); ``evidence`` is a
    query that shows the records behind the claim; ``count`` is how many records that were.
    ``techniques`` are MITRE ATT&CK ids.
    """

    detector: str
    cause: str
    subject: tuple[str, str]
    severity: Severity
    first: datetime
    last: datetime
    count: int
    summary: str
    evidence: Query
    country: str = ""
    techniques: tuple[str, ...] = ()
