"""Rotation: round robin over the backends that are healthy."""

from collections.abc import Iterable

import msgspec

from deepmoat.edge.balance.health import Health


class Backend(msgspec.Struct, frozen=True, eq=False):
    """One place to send requests to. ``address`` is its name in the logs."""

    address: str
    host: str
    port: int
    probe: bytes
    health: Health


class Rotation:
    """Whose turn it is."""

    def __init__(self, backends: Iterable[Backend]) -> None:
        self.backends = tuple(backends)
        self._turn = 0

    def pick(self, avoid: Iterable[str] = ()) -> Backend | None:
        """The next healthy backend not in ``avoid``; None when there is none to try.

        When none is healthy all are tried: a probe may be wrong, and an error is what would be
        answered anyway.
        """
        left = [b for b in self.backends if b.address not in avoid] if avoid else self.backends
        if not left:
            return None
        self._turn += 1
        for step in range(len(left)):
            backend = left[(self._turn + step) % len(left)]
            if backend.health.healthy:
                return backend
        return left[self._turn % len(left)]
