"""Settings of ``[api]``."""

from ipaddress import ip_network
from typing import Annotated

import msgspec

from deepmoat.kit.settings import Settings

_Some = Annotated[int, msgspec.Meta(ge=1)]


class ApiSettings(Settings, frozen=True):
    """``[api]``: ``listen`` is where the API and the console are, the rest what one sender may send.

    ``body_bytes`` bounds a request's body as sent, ``inflated_bytes`` after gzip, ``lines`` how many lines
    it has, ``in_flight_bytes`` all bodies together; ``body_seconds`` is how long a body may take to arrive.
    ``queries`` is how many queries one user or key runs at once. ``forwarders`` are the addresses of
    proxies in front whose X-Forwarded-For and X-Forwarded-Proto are believed.
    """

    listen: str = "127.0.0.1:8600"
    body_bytes: _Some = 16 * 1024 * 1024
    inflated_bytes: _Some = 64 * 1024 * 1024
    lines: _Some = 250_000
    in_flight_bytes: _Some = 512 * 1024 * 1024
    body_seconds: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    queries: _Some = 4
    forwarders: tuple[str, ...] = ("127.0.0.1", "::1")

    def __post_init__(self) -> None:
        """Refuse what is no address or network while the file is being read."""
        for forwarder in self.forwarders:
            try:
                ip_network(forwarder, strict=False)
            except ValueError as exc:
                raise ValueError(f"api.forwarders: {exc}") from exc
