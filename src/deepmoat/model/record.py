"""Record: one log line, whatever wrote it."""

import msgspec


class Record(msgspec.Struct, frozen=True):
    """One line of one logstore.

    ``fields`` holds the logstore's columns by name, with ``time`` in seconds since 1970 (UTC);
    a name that is no column goes to the logstore's ``attributes`` map.
    """

    logstore: str
    fields: dict[str, object]
