"""``[collect]``: what is taken, up to which size and time, and what is redacted."""

from datetime import UTC, datetime

from deepmoat.kit.settings import Settings


class CollectSettings(Settings, frozen=True):
    """``[collect]``.

    ``login_paths``: a POST to one of them is a login; 401 and 403 are failures, 2xx and 3xx successes.
    ``max_body_bytes`` bounds a request's body after decompression, ``max_line_bytes`` one record of it.
    ``earliest`` and ``future_seconds`` bound the times taken; outside is a broken clock or a broken line.
    ``redact_secrets``: keys, tokens, passwords. ``redact_personal``: e-mail addresses and card numbers.
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
    max_body_bytes: int = 64 << 20
    max_line_bytes: int = 1 << 20
    earliest: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    future_seconds: float = 86_400.0
    redact_secrets: bool = True
    redact_personal: bool = True
    spool_bytes: int = 4 << 30
    seal_seconds: float = 0.5
    seal_bytes: int = 16 << 20

    def earliest_seconds(self) -> float:
        """``earliest`` as seconds since 1970."""
        return self.earliest.timestamp()
