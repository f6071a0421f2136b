"""Settings of ``[identity]``."""

from typing import Annotated

import msgspec

from deepmoat.kit.settings import Settings

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Some = Annotated[int, msgspec.Meta(ge=1)]


class IdentitySettings(Settings, frozen=True):
    """``[identity]``: all times in seconds.

    A session ends after ``session_idle`` without a request and ``session_absolute`` after sign-in.
    Failed sign-ins: one address may fail ``address_burst`` times at once and then once every
    ``address_seconds``; all addresses together ``total_burst`` times and ``total_rate`` times a second.
    """

    session_idle: _Seconds = 12 * 3600.0
    session_absolute: _Seconds = 7 * 86400.0
    link_seconds: _Seconds = 3600.0
    address_burst: _Some = 5
    address_seconds: _Seconds = 12.0
    total_burst: _Some = 100
    total_rate: Annotated[float, msgspec.Meta(gt=0)] = 10.0
