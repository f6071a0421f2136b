"""Audit: what users do is written to the ``audit`` logstore, before they get their answer."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from deepmoat.kit.errors import TransientError
from deepmoat.kit.meters import drop
from deepmoat.kit.spool import Stream

_STREAM = Stream("records", "audit", "core")


class Commits(Protocol):
    """The durable way in (``collect.serve.Committer``)."""

    async def commit(self, stream: Stream, data: bytes) -> None:
        """Returns once ``data`` would survive a power cut; TransientError 507 on a full disk."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the audit log, but for its time; field names are the logstore's columns."""

    user_name: str
    event_action: str
    client_address: str = ""
    event_outcome: str = "success"
    incident: str = ""
    body: str = ""
    attributes: dict[str, str] = {}


class Audit:
    """Writes entries."""

    def __init__(self, committer: Commits, now: Callable[[], float]) -> None:
        """``now`` is the clock, in seconds since 1970."""
        self._committer, self._now = committer, now

    async def write(self, entry: Entry) -> None:
        """Write ``entry``; a full disk loses it, counted, and does not stop the user."""
        fields = {"time": self._now(), "event_outcome": entry.event_outcome, **msgspec.to_builtins(entry)}
        try:
            await self._committer.commit(_STREAM, msgspec.json.encode(fields) + b"\n")
        except TransientError:
            drop("audit", "not_written")
