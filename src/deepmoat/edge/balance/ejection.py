"""Ejection: a backend that fails request after request is left out for a while, and comes back slowly.

Health checks ask one path every few seconds; this watches what becomes of the requests themselves. The idea
is Envoy's outlier detection (consecutive failures, a growing time, a share that stays) and the slow start of
nginx and HAProxy. What depends on time happens in ``tick``: between two ticks nothing has to be
worked out.
"""

from collections.abc import Collection, Iterable

from deepmoat.edge.balance.backend import WHOLE, Backend
from deepmoat.edge.balance.settings import EjectionSettings
from deepmoat.kit.meters import count

_MOST_DOUBLINGS = 30


class Ejection:
    """The keeper of all backends of a worker. ``number`` grows when whom to ask must be worked out anew.

    It outlives reloads, which replace ``settings``.
    """

    def __init__(self, settings: EjectionSettings) -> None:
        self.settings = settings
        self.number = 1

    def changed(self) -> None:
        """Whom to ask must be worked out anew."""
        self.number += 1

    def returned(self, backend: Backend, now: float) -> None:
        """``backend`` may be asked again: it begins with a tenth of its share."""
        backend.back_at, backend.streak = now, 0
        backend.share = 1 if self.settings.slow_start else WHOLE
        self.number += 1

    def failed(self, backend: Backend, now: float) -> None:
        """A request at ``backend`` failed, by its fault."""
        settings = self.settings
        backend.streak += 1
        enough = settings.failures and backend.streak >= settings.failures
        if not enough or not settings.seconds or not backend.usable:
            return
        if not all(self._may(backend, pool) for pool in backend.peers):
            return
        if now - backend.back_at > max(settings.longest, settings.seconds):
            backend.ejections = 0
        seconds = settings.seconds * 2.0 ** min(backend.ejections, _MOST_DOUBLINGS)
        backend.ejected_until = now + min(seconds, max(settings.longest, settings.seconds))
        backend.ejections += 1
        count("deepmoat_edge_backend_ejections_total", backend=backend.address)
        backend.settle(now)

    def tick(self, backends: Iterable[Backend], now: float) -> None:
        """End ejections whose time is over, and let shares grow."""
        for backend in backends:
            if 0 < backend.ejected_until <= now:
                backend.ejected_until = 0.0
            backend.settle(now)
            if backend.share < WHOLE:
                self._grow(backend, now)

    def _grow(self, backend: Backend, now: float) -> None:
        whole = self.settings.slow_start
        part = (now - backend.back_at) / whole if whole else 1.0
        share = min(WHOLE, max(backend.share, 1 + int((WHOLE - 1) * part)))
        if share != backend.share:
            backend.share = share
            self.number += 1

    def _may(self, backend: Backend, pool: Collection[Backend]) -> bool:
        """Does ``pool`` keep enough without ``backend``?"""
        there = [other for other in pool if not other.drained]
        out = sum(other.ejected_until > 0 for other in there)
        others = any(other.usable for other in there if other is not backend)
        return others and out + 1 <= self.settings.most * len(there) + 1e-9
