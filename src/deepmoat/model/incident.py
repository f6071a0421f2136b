"""Incident: findings of one cause, told to a person once."""

from datetime import datetime
from typing import Literal

import msgspec

from deepmoat.model.finding import Severity
from deepmoat.model.query import Query


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One attack, one id, from packet to prompt.

    ``first`` and ``last`` are times of the attack's records, ``opened`` is when we knew.
    ``subjects`` are (field, value) pairs in the order met, at most as many as the fold keeps;
    ``subject_count`` counts them all. ``timeline`` is (time, what happened).
    """

    id: str
    cause: str
    detector: str
    title: str
    severity: Severity
    first: datetime
    last: datetime
    opened: datetime
    status: Literal["open", "closed"] = "open"
    count: int = 0
    subjects: tuple[tuple[str, str], ...] = ()
    subject_count: int = 0
    countries: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    evidence: tuple[Query, ...] = ()
    timeline: tuple[tuple[datetime, str], ...] = ()
