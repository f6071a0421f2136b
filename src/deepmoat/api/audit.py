"""Audit: what users do here is written to the ``audit`` logstore, before they get their answer."""

import msgspec

from deepmoat.api.services import Services
from deepmoat.kit.errors import TransientError
from deepmoat.kit.meters import drop
from deepmoat.kit.spool import Stream

_STREAM = Stream("records", "audit", "core")


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the audit log; field names are the logstore's columns. ``time`` is set on writing."""

    user_name: str
    event_action: str
    client_address: str = "::"
    event_outcome: str = "success"
    incident: str = ""
    body: str = ""
    attributes: dict[str, str] = {}


async def write(services: Services, entry: Entry) -> None:
    """Write ``entry``; a full disk loses it, counted, and does not stop the user."""
    line = msgspec.json.encode({"time": services.now(), **msgspec.to_builtins(entry)}) + b"\n"
    try:
        await services.committer.commit(_STREAM, line)
    except TransientError:
        drop("audit", "disk")
