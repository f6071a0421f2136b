"""The settings file: one section a package, each read by its own struct.

Without a file the defaults hold, and all of them listen on loopback.
"""

from pathlib import Path

import msgspec

from deepmoat.alert.settings import AlertSettings
from deepmoat.api.settings import ApiSettings
from deepmoat.app.folder import DATA, data_folder, settings_text
from deepmoat.collect.settings import CollectSettings
from deepmoat.console.settings import ConsoleSettings
from deepmoat.detect.settings import DetectSettings
from deepmoat.edge.settings import EdgeSettings
from deepmoat.identity.settings import IdentitySettings
from deepmoat.kit.settings import Settings, load
from deepmoat.respond.settings import RespondSettings
from deepmoat.store.logs.database import LogSettings
from deepmoat.store.logs.retention import RetentionSettings
from deepmoat.store.state.database import StateSettings


class StoreSettings(Settings, frozen=True):
    """``[store]``: where logs and state are kept, and how long."""

    logs: LogSettings = msgspec.field(default_factory=LogSettings)
    state: StateSettings = msgspec.field(default_factory=StateSettings)
    retention: RetentionSettings = msgspec.field(default_factory=RetentionSettings)


class Moat(Settings, frozen=True):
    """The whole file. ``data`` is the folder for everything kept, relative to the settings file."""

    data: str = DATA
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
    found = settings_text(file)
    if found is None:
        return Place(Moat(), data_folder(file, data))
    path, text = found
    return Place(load(Moat, text, where=str(path)), data_folder(file, data), path)
