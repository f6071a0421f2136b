"""Services: what the API needs from the rest of deepmoat, filled by ``app``."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from deepmoat.api.settings import ApiSettings
from deepmoat.identity.identity import Identity
from deepmoat.kit.meters import Sample
from deepmoat.kit.spool import Stream
from deepmoat.model import Action, Incident, Query, Result


class Asks(Protocol):
    """The one door to the logs (``query.door.Door``)."""

    def ask(self, query: Query, now: datetime) -> Result:
        """Compile, check and run; QueryError says what is wrong with the text."""


class Refused(Protocol):
    """One record that cannot be taken (``collect.receiver.Refusal``)."""

    @property
    def position(self) -> int:
        """Which record or line, from 1."""

    @property
    def reason(self) -> str:
        """Why, in words for its sender."""


class Checked(Protocol):
    """What a check found (``collect.receiver.Checked``)."""

    @property
    def good(self) -> bytes:
        """The records to keep, as they will be stored in the segment."""

    @property
    def records(self) -> int:
        """How many records that is."""

    @property
    def refused(self) -> Sequence[Refused]:
        """The others."""


class Receives(Protocol):
    """A receiver or parser (``collect.receiver.Receiver``)."""

    def check(self, body: bytes, now: float) -> Checked:
        """Sort good records from bad ones; never raises on bad input."""


class Readers(Protocol):
    """Receivers and parsers by name (``collect.readers.Readers``)."""

    def get(self, name: str) -> Receives:
        """ConfigError, naming the known ones, where there is none."""


class Commits(Protocol):
    """The durable way in (``collect.serve.Committer``)."""

    async def commit(self, stream: Stream, data: bytes) -> None:
        """Returns once ``data`` would survive a power cut; TransientError 507 on a full disk."""


class Incidents(Protocol):
    """Incidents as they are kept (``store.state.incidents``)."""

    def get(self, id: str) -> Incident | None:
        """One incident."""

    def recent(self, limit: int) -> list[Incident]:
        """The newest first."""


class Orders(Protocol):
    """Actions: what is in force, and how a person changes it (wired by ``app`` from ``respond``)."""

    def in_force(self, now: datetime) -> Sequence[Action]:
        """All actions that hold at ``now``. Quick: from memory."""

    def recent(self, limit: int) -> Sequence[Action]:
        """The newest first, ended ones too. Called in a thread."""

    async def block(
        self, addresses: Sequence[str], who: str, reason: str, minutes: float, now: datetime
    ) -> Action:
        """Put a person's order in force. QueryError for an allow-listed address, or what is none."""

    async def end(self, id: str, who: str, now: datetime) -> bool:
        """End an action now; False when it is not in force."""


def _always_ready() -> Sequence[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything behind the API.

    ``now`` is the clock, in seconds since 1970. ``meters`` gives the samples of all processes, ``health``
    the reasons why this process is not ready (none: it is). Both are quick and called in a thread.
    """

    settings: ApiSettings = field(default_factory=ApiSettings)
    door: Asks
    readers: Readers
    committer: Commits
    identity: Identity
    incidents: Incidents
    orders: Orders
    meters: Callable[[], Iterable[Sample]]
    now: Callable[[], float]
    health: Callable[[], Sequence[str]] = _always_ready

    def moment(self) -> datetime:
        """The clock as a datetime in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)
