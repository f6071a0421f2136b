"""The data folder: where it is, made for its owner alone, and used by one `deepmoat up` at a time.

Finding it reads one key of the settings and nothing else, so that verbs that only ask start at once.
"""

import tomllib
from pathlib import Path

from deepmoat.kit.errors import ConfigError
from deepmoat.kit.spool import lock

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


def made(data: Path) -> Path:
    """``data``, made if need be; ConfigError when it cannot be."""
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        hint = "name another with --data, or `data` in the settings file"
        raise ConfigError(
            f"the data folder cannot be made: {exc.strerror}", where=str(data), hint=hint
        ) from exc
    return data


def claim(data: Path) -> None:
    """Make ``data`` this supervisor's, for as long as the process lives.

    TransientError when another supervises it: children would wait for that one's to go, as those of a
    supervisor that was killed must. ConfigError when the folder cannot be written.
    """
    try:
        lock(made(data))
    except OSError as exc:
        raise ConfigError(f"the data folder cannot be used: {exc.strerror}", where=str(data)) from exc
