"""Settings of ``[console]``."""

from typing import Annotated

import msgspec

from deepmoat.kit.settings import Settings


class ConsoleSettings(Settings, frozen=True):
    """``[console]``: ``enabled`` shows it. ``url`` is where people reach it, such as
    ``https://moat.example.com`` behind a proxy; empty for the API's own address. ``refresh`` is the
    seconds between two looks of the overview.
    """

    enabled: bool = True
    url: str = ""
    refresh: Annotated[float, msgspec.Meta(ge=0.5)] = 2.0
