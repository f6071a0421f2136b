"""Settings of ``[api]``."""

from deepmoat.kit.settings import Settings


class ApiSettings(Settings, frozen=True):
    """``[api]``: ``listen`` is where the API and the console are, the rest what one sender may send.

    ``body_bytes`` bounds a request's body as sent, ``inflated_bytes`` after gzip, ``in_flight_bytes`` all
    bodies together; ``body_seconds`` is how long a body may take to arrive. ``queries`` is how many
    queries one user or key runs at once. ``forwarders`` are the addresses of proxies in front whose
    X-Forwarded-For and X-Forwarded-Proto are believed.
    """

    listen: str = "127.0.0.1:8600"
    body_bytes: int = 16 * 1024 * 1024
    inflated_bytes: int = 64 * 1024 * 1024
    in_flight_bytes: int = 512 * 1024 * 1024
    body_seconds: float = 60.0
    queries: int = 4
    forwarders: tuple[str, ...] = ("127.0.0.1", "::1")
