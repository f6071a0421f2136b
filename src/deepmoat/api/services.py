"""Services: what the API needs from the rest of deepmoat, filled by ``app``."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from deepmoat.api.settings import ApiSettings
from deepmoat.identity.audit import Commits
from deepmoat.identity.desk import Desk
from deepmoat.identity.identity import Identity
from deepmoat.kit.errors import PeerError
from deepmoat.kit.meters import Sample
from deepmoat.store.backup import Manifest
from deepmoat.store.state.actions import Actions
from deepmoat.store.state.incidents import Incidents


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

    def check(self, body: bytes, now: float, logstore: str = "app") -> Checked:
        """Sort good records from bad ones for ``logstore``; never raises on bad input."""


class Readers(Protocol):
    """Receivers and parsers by name (``collect.readers.Readers``)."""

    def get(self, name: str) -> Receives:
        """ConfigError, naming the known ones, where there is none."""


def _always_ready() -> Sequence[str]:
    return ()


def _no_backup() -> tuple[str, Manifest]:
    raise PeerError("this process keeps nothing to back up", status=501)


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything behind the API.

    ``now`` is the clock, in seconds since 1970. ``meters`` gives the samples of all processes, ``health``
    the reasons why this process is not ready (none: it is). Both are quick and called in a thread, as is
    ``backup``, which gives the new backup's folder and what is in it.
    """

    settings: ApiSettings = field(default_factory=ApiSettings)
    identity: Identity
    desk: Desk
    readers: Readers
    committer: Commits
    incidents: Incidents
    actions: Actions
    meters: Callable[[], Iterable[Sample]]
    now: Callable[[], float]
    health: Callable[[], Sequence[str]] = _always_ready
    backup: Callable[[], tuple[str, Manifest]] = _no_backup

    def moment(self) -> datetime:
        """The clock as a datetime in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)
