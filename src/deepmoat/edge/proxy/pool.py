"""Pool: connections to backends that wait for their next request, the last used first."""

from collections import deque
from typing import TYPE_CHECKING

from deepmoat.edge.balance.backend import Backend

if TYPE_CHECKING:
    from deepmoat.edge.proxy.upstream import Upstream


class Pool:
    """LIFO: a few connections stay warm and the rest age out."""

    def __init__(self) -> None:
        self._idle: dict[Backend, deque[Upstream]] = {}

    def take(self, backend: Backend) -> "Upstream | None":
        """A living connection to ``backend``, None when there is none."""
        idle = self._idle.get(backend)
        while idle:
            upstream = idle.pop()
            if not upstream.closing():
                return upstream
        return None

    def give(self, upstream: "Upstream") -> None:
        """Keep ``upstream`` for the next request."""
        self._idle.setdefault(upstream.backend, deque()).append(upstream)

    def forget(self, upstream: "Upstream") -> None:
        """It has closed."""
        idle = self._idle.get(upstream.backend)
        if idle and upstream in idle:
            idle.remove(upstream)

    def close_unused(self, before: float) -> int:
        """Close connections not used since ``before`` (monotonic seconds); how many."""
        closed = 0
        for idle in self._idle.values():
            while idle and idle[0].idle_since <= before:
                idle.popleft().close()
                closed += 1
        return closed
