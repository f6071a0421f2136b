"""Token bucket: the clock is an argument, so a minute of traffic tests in a millisecond."""

import msgspec


class Bucket(msgspec.Struct, eq=False):
    """``level`` tokens are left at time ``at`` (seconds)."""

    level: float
    at: float

    def take(self, now: float, rate: float, burst: float) -> bool:
        """Spend one token at ``now``, when ``rate`` come back a second up to ``burst``; False without one.

        A clock that goes back gives nothing and takes nothing.
        """
        level = min(burst, self.level + max(0.0, now - self.at) * rate)
        self.at = now
        if level < 1.0:
            self.level = level
            return False
        self.level = level - 1.0
        return True
