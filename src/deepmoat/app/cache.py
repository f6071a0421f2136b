"""Where things are kept that can be made again: one folder for all data folders of a user.

Source: XDG Base Directory Specification, https://specifications.freedesktop.org/basedir-spec/latest/
"""

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/deepmoat``, by default ``~/.cache/deepmoat``."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return base / "deepmoat"
