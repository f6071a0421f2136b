"""Channel: how a notice reaches a person. It says what to send; ``send.py`` sends it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from deepmoat.alert.incidents import Event, Notice
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.family import Family
from deepmoat.kit.settings import Settings
from deepmoat.model import Action, Incident, Severity

Outcome = Literal["sent", "again", "refused"]


class ChannelSettings(Settings, frozen=True, kw_only=True):
    """What every ``[[alert.channels]]`` table may hold. ``kind`` names the channel.

    ``name`` tells two channels of a kind apart in logs and meters. ``minimum_severity`` is the least
    severity told here; ``closed`` asks for a message when an incident ends, too.
    ``timeout_seconds`` is for one attempt; ``attempts`` are made before a notice is given up, the
    first pause ``backoff_seconds`` long and each further one twice the last, at most 60 seconds.
    """

    kind: str
    name: str = ""
    minimum_severity: Literal["report", "low", "medium", "high", "critical"] = "medium"
    closed: bool = False
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0
    attempts: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 12
    backoff_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0

    def wants(self, event: Event, severity: Severity) -> bool:
        """Is this told here?"""
        if event == "test":
            return True
        if event == "closed" and not self.closed:
            return False
        return severity >= Severity[self.minimum_severity.upper()]


class Post(msgspec.Struct, frozen=True):
    """One HTTP POST."""

    url: str
    body: bytes
    headers: dict[str, str]


class Push(msgspec.Struct, frozen=True):
    """One message through apprise; ``url`` is an apprise URL and holds its secrets."""

    url: str
    title: str
    body: str


class Message(msgspec.Struct, frozen=True):
    """What all channels tell: a notice, the actions in force for it, and where to read on."""

    notice: Notice
    actions: tuple[Action, ...] = ()
    link: str = ""
    held: str = ""


class Channel(ABC):
    """Says what to send. ``call`` is pure, never fails on what a log holds, and never sends.

    The constructor raises ConfigError for settings it cannot use, without showing secrets.
    """

    SETTINGS: ClassVar[type[ChannelSettings]]

    def __init__(self, settings: Any) -> None:
        """``settings`` are of the class's own ``SETTINGS``."""
        self.settings = settings

    @property
    def name(self) -> str:
        """What meters and logs call it."""
        return str(self.settings.name or self.settings.kind)

    @abstractmethod
    def call(self, message: Message, now: datetime) -> Post | Push:
        """The one call that tells ``message``."""

    def outcome(self, status: int, answer: bytes) -> Outcome:
        """What an HTTP answer means: told, worth another try, or refused for good."""
        if 200 <= status < 300:
            return "sent"
        return "again" if status in {408, 425, 429} or status >= 500 else "refused"


CHANNELS: Family[Channel] = Family("deepmoat.alert.channels", Channel)  # type: ignore[type-abstract]


def channel(table: dict[str, Any]) -> Channel:
    """The channel one ``[[alert.channels]]`` table describes; ConfigError names the key."""
    kind = table.get("kind")
    if not isinstance(kind, str):
        raise ConfigError("a channel needs a kind", hint="known: " + ", ".join(CHANNELS.names()))
    cls = CHANNELS.get(kind)
    try:
        settings = msgspec.convert(table, cls.SETTINGS)
    except msgspec.ValidationError as exc:
        known = ", ".join(f.encode_name for f in msgspec.structs.fields(cls.SETTINGS))
        what = str(exc).replace("Object contains unknown field", "it has no key")
        raise ConfigError(f"channel {kind!r}: {what}", hint=f"known keys: {known}") from exc
    return cls(settings)


def plain(text: str, limit: int = 400) -> str:
    """Text out of a log for a person's eyes: one line, no control or direction marks, no live link.

    >>> plain("GET http://evil.example/\\n\\u202e@all")
    'GET http[:]//evil.example/ @all'
    """
    kept = (" " if c.isspace() else c for c in text[: 4 * limit] if c.isspace() or c.isprintable())
    line = " ".join("".join(kept).replace("://", "[:]//").split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def headline(message: Message) -> str:
    """One line that says it all."""
    incident, event = message.notice.incident, message.notice.event
    first = {"opened": "", "raised": "worse: ", "closed": "over: ", "test": "test: "}[event]
    others = f" (and {incident.subject_count - 1} more)" if incident.subject_count > 1 else ""
    return f"[{incident.severity.name}] {first}{plain(incident.title, 200)}{others}"


def text(message: Message) -> str:
    """The whole message as plain lines."""
    incident = message.notice.incident
    return "\n".join(
        [
            headline(message),
            f"{incident.subject_count} {_kinds(incident)}, {incident.count} records, "
            f"{_moment(incident.first)} to {_moment(incident.last)} UTC",
            *_countries(incident),
            *_subjects(incident),
            *_actions(message),
            *([f"Evidence: {plain(incident.evidence[0].text)}"] if incident.evidence else []),
            f"Incident {incident.id}" + (f": {message.link}" if message.link else ""),
        ]
    )


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S}"


def _kinds(incident: Incident) -> str:
    kinds = dict.fromkeys(field for field, _ in incident.subjects)
    return plain(" / ".join(kinds)).replace("_", " ") or "subjects"


def _countries(incident: Incident) -> Sequence[str]:
    return [f"Countries: {plain(', '.join(incident.countries[:20]))}"] if incident.countries else []


def _subjects(incident: Incident) -> Sequence[str]:
    if not incident.subjects:
        return []
    shown = ", ".join(plain(value, 60) for _, value in incident.subjects[:5])
    more = incident.subject_count - min(5, len(incident.subjects))
    return [f"Who: {shown}" + (f" and {more} more" if more > 0 else "")]


def _actions(message: Message) -> Sequence[str]:
    if message.held:
        return [f"Not blocked: {plain(message.held)}"]
    if not message.actions:
        return ["No action was taken."]
    return [
        f"{'Blocked' if a.kind == 'block' else 'Limited'}: {len(a.targets)} targets until "
        f"{_moment(a.end)} UTC; they made {a.impact} good requests in the day before"
        for a in message.actions
    ]
