"""Services: what the console needs from the rest of deepmoat, filled by ``app``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from deepmoat.console.settings import ConsoleSettings
from deepmoat.identity.desk import Desk
from deepmoat.identity.identity import Identity
from deepmoat.store.state.actions import Actions
from deepmoat.store.state.incidents import Incidents


@dataclass(frozen=True, kw_only=True)
class ConsoleServices:
    """Everything behind the console. ``now`` is the clock, in seconds since 1970."""

    settings: ConsoleSettings = field(default_factory=ConsoleSettings)
    identity: Identity
    desk: Desk
    incidents: Incidents
    actions: Actions
    now: Callable[[], float]

    def moment(self) -> datetime:
        """The clock as a datetime in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)
