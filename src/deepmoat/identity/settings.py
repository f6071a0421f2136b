"""Settings of ``[identity]``."""

from deepmoat.kit.settings import Settings


class IdentitySettings(Settings, frozen=True):
    """``[identity]``: all times in seconds.

    A session ends after ``session_idle`` without a request and ``session_absolute`` after sign-in.
    Failed sign-ins: one address may fail ``address_burst`` times at once and then once every
    ``address_seconds``; all addresses together ``total_burst`` times and ``total_rate`` times a second.
    """

    session_idle: float = 12 * 3600.0
    session_absolute: float = 7 * 86400.0
    link_seconds: float = 3600.0
    address_burst: int = 5
    address_seconds: float = 12.0
    total_burst: int = 100
    total_rate: float = 10.0
