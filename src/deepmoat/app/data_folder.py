"""Where the data folder is, without reading the rest of the settings: verbs that only ask start at once."""

import tomllib
from pathlib import Path

from deepmoat.kit.errors import ConfigError

FILE = "moat.toml"
DATA = "moat-data"


def settings_text(file: str | None) -> tuple[Path, str] | None:
    """The settings file and what it says; None where none was named and there is none here.

    Raises ConfigError for one that is named and not there, or cannot be read.
    """
    path = Path(file or FILE)
    if not path.exists():
        if file:
            raise ConfigError("no such file", where=file, hint="without --settings the defaults are used")
        return None
    try:
        return path, path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot be read: {exc}", where=str(path)) from exc


def data_folder(file: str | None, data: str | None) -> Path:
    """``data`` where it is given, else what the settings say, else ``moat-data`` here."""
    found = settings_text(file)
    if found is None or data:
        return Path(data or DATA).absolute()
    path, text = found
    try:
        said = tomllib.loads(text).get("data", DATA)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(str(exc), where=str(path), hint="the file must be TOML") from exc
    if not isinstance(said, str):
        raise ConfigError("data must be text", where=str(path))
    return (path.parent / said).absolute()
