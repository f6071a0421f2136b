"""What lowering knows besides the tree: the clock it is given, the zone, and how much it may still write."""

from datetime import datetime
from itertools import count
from zoneinfo import ZoneInfo

from deepmoat.kit.errors import QueryError

NODES = 20_000


class Context:
    """Of one compilation. ``now`` is the reader's clock; ``zone`` an IANA time zone."""

    def __init__(self, now: datetime, zone: str) -> None:
        """Raises QueryError for a zone nobody knows."""
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, KeyError) as exc:
            raise QueryError(f"no such time zone: {zone[:80]!r}", hint="such as Asia/Shanghai") from exc
        self.now, self.zone = now, zone
        self._tables, self._columns = count(), count()
        self._left = NODES

    def table(self) -> str:
        """A name for a source, used once."""
        return f"t{next(self._tables)}"

    def column(self) -> str:
        """A name for a projection, used once."""
        return f"c{next(self._columns)}"

    def spend(self, nodes: int = 1) -> None:
        """Account for what is written: CTEs that use CTEs must not double without end."""
        self._left -= nodes
        if self._left < 0:
            raise QueryError("the query is too large", hint=f"at most {NODES} expressions")
