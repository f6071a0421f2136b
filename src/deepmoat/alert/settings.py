"""``[alert]``: when an incident ends, and who is told."""

from datetime import timedelta
from typing import Annotated, Any

import msgspec

from deepmoat.alert.channel import Channel, channel
from deepmoat.alert.incidents import Rules
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings


class AlertSettings(Settings, frozen=True):
    """``[alert]``; each ``[[alert.channels]]`` table is read by the channel its ``kind`` names.

    An incident without findings for ``quiet_minutes`` is closed; one whose cause comes back within
    ``again_minutes`` is opened again, under the same id and without another page.
    ``maximum_subjects`` is how many clients an incident lists (it counts all). ``console_url`` is
    where people reach the console; messages then link to ``<console_url>/incidents/<id>``.
    ``queue`` is how many notices may wait for one channel.
    """

    channels: tuple[dict[str, Any], ...] = ()
    quiet_minutes: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    again_minutes: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    maximum_subjects: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    console_url: str = ""
    queue: Annotated[int, msgspec.Meta(ge=1)] = 200

    def __post_init__(self) -> None:
        """Refuse unknown channels and keys while the file is being read."""
        try:
            self.opened()
        except ConfigError as exc:
            raise ValueError(str(exc)) from exc

    def opened(self) -> list[Channel]:
        """The channels, each with its settings; ConfigError where two share a name."""
        channels = [channel(table) for table in self.channels]
        names = [c.name for c in channels]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(f"two channels are called {twice.pop()!r}", hint="give each a name of its own")
        return channels

    def rules(self) -> Rules:
        """The same for the fold."""
        return Rules(
            quiet=timedelta(minutes=self.quiet_minutes),
            again=timedelta(minutes=self.again_minutes),
            subjects=self.maximum_subjects,
        )

    def link(self, incident: str) -> str:
        """Where a person reads on about ``incident``; empty where the console's address is not known."""
        return f"{self.console_url.rstrip('/')}/incidents/{incident}" if self.console_url else ""
