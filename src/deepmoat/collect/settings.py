"""``[collect]``: what is taken, up to which size and time, and what is redacted."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import available_timezones

import msgspec

from deepmoat.kit.settings import Settings


class CollectSettings(Settings, frozen=True):
    """``[collect]``.

    ``login_paths``: a POST to one of them is a login; 401 and 403 are failures, 2xx and 3xx successes.
    ``max_line_bytes`` bounds one record.
    ``earliest`` and ``future_seconds`` bound the times taken; outside is a broken clock or a broken line.
    ``zone`` is the time zone of lines that name none (an IANA name).
    ``redact_secrets``: keys, tokens, passwords. ``redact_personal``: e-mail addresses and card numbers.
    ``live_days``: a running server takes nothing older; each day is a partition of its own, and a sender of
    thousands of days would hold up everybody's records. ``deepmoat scan`` reads any age.
    ``spool_bytes``: how much may wait for the store before senders are told to wait (507).
    ``seal_seconds`` and ``seal_bytes`` end a segment, so that it is loaded.
    """

    login_paths: tuple[str, ...] = (
        "/login",
        "/signin",
        "/sign-in",
        "/api/login",
        "/api/signin",
        "/api/auth/login",
        "/api/v1/login",
        "/auth/login",
        "/user/login",
        "/users/sign_in",
        "/oauth/token",
        "/wp-login.php",
    )
    max_line_bytes: int = 1 << 20
    earliest: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    future_seconds: float = 86_400.0
    zone: str = "UTC"
    redact_secrets: bool = True
    redact_personal: bool = True
    live_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 400
    spool_bytes: int = 4 << 30
    seal_seconds: float = 0.5
    seal_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        """ValueError, which names the key, for values that cannot work."""
        if self.zone not in available_timezones():
            raise ValueError(f"zone {self.zone!r} is not an IANA time zone")
        for name in ("max_line_bytes", "spool_bytes", "seal_seconds", "seal_bytes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0")

    def live(self, now: datetime) -> "CollectSettings":
        """The same for a server that starts at ``now``."""
        oldest = now - timedelta(days=self.live_days)
        return msgspec.structs.replace(self, earliest=max(self.earliest, oldest))

    def earliest_seconds(self) -> float:
        """``earliest`` as seconds since 1970."""
        return self.earliest.timestamp()
