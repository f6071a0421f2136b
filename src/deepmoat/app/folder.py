"""The data folder: made for its owner alone, and used by one `deepmoat up` at a time."""

from pathlib import Path

from deepmoat.kit.errors import ConfigError
from deepmoat.kit.spool import lock


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
