"""The settings file: one section a package, each read by its own struct.

Without a file the defaults hold, and all of them listen on loopback.
"""

from pathlib import Path

import msgspec

from deepmoat.alert.settings import AlertSettings
from deepmoat.api.settings import ApiSettings
from deepmoat.collect.settings import CollectSettings
from deepmoat.console.settings import ConsoleSettings
from deepmoat.detect.settings import DetectSettings
from deepmoat.edge.settings import EdgeSettings
from deepmoat.identity.settings import IdentitySettings
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings, load
from deepmoat.respond.settings import RespondSettings
from deepmoat.store.logs.database import LogSettings
from deepmoat.store.logs.retention import RetentionSettings
from deepmoat.store.state.database import StateSettings

FILE = "moat.toml"


class StoreSettings(Settings, frozen=True):
    """``[store]``: where logs and state are kept, and how long."""

    logs: LogSettings = msgspec.field(default_factory=LogSettings)
    state: StateSettings = msgspec.field(default_factory=StateSettings)
    retention: RetentionSettings = msgspec.field(default_factory=RetentionSettings)


class Moat(Settings, frozen=True):
    """The whole file. ``data`` is the folder for everything kept, relative to the settings file."""

    data: str = "moat-data"
    edge: EdgeSettings = msgspec.field(default_factory=EdgeSettings)
    store: StoreSettings = msgspec.field(default_factory=StoreSettings)
    collect: CollectSettings = msgspec.field(default_factory=CollectSettings)
    detect: DetectSettings = msgspec.field(default_factory=DetectSettings)
    alert: AlertSettings = msgspec.field(default_factory=AlertSettings)
    respond: RespondSettings = msgspec.field(default_factory=RespondSettings)
    identity: IdentitySettings = msgspec.field(default_factory=IdentitySettings)
    api: ApiSettings = msgspec.field(default_factory=ApiSettings)
    console: ConsoleSettings = msgspec.field(default_factory=ConsoleSettings)


class Place(msgspec.Struct, frozen=True):
    """Settings, and where they came from. ``file`` is None for the defaults."""

    moat: Moat
    data: Path
    file: Path | None = None


def read(file: str | None, data: str | None = None) -> Place:
    """The settings of ``file``, of ``moat.toml`` here, or the defaults; ``data`` overrides the folder.

    Raises ConfigError naming file, section and key.
    """
    path = Path(file) if file else Path(FILE)
    if not path.exists():
        if file:
            raise ConfigError("no such file", where=file, hint="without --settings the defaults are used")
        return Place(Moat(), Path(data or Moat().data).absolute())
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot be read: {exc}", where=str(path)) from exc
    moat = load(Moat, text, where=str(path))
    return Place(moat, Path(data or path.parent / moat.data).absolute(), path)
