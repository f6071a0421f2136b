"""Backup from the command line: a running core makes it, else this process does."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from deepmoat import __version__
from deepmoat.app import local
from deepmoat.app.settings import Place
from deepmoat.kit.errors import ConfigError
from deepmoat.store.backup import MANIFEST, Manifest
from deepmoat.store.backup import backup as write
from deepmoat.store.logs.database import Database

_SECONDS = 3600.0


def backup(place: Place, directory: str) -> Manifest:
    """Write a backup of ``place`` into the new folder ``directory``; ConfigError when it is not empty."""
    target = Path(directory)
    if target.exists() and any(target.iterdir()):
        raise ConfigError("the folder is not empty", where=directory, hint="name a new folder")
    if local.file(place.data).exists():
        return _asked(place, target)
    database = Database(place.moat.store.logs, folder=place.data)
    try:
        return write(database, place.data, target, now=datetime.now(UTC), version=__version__)
    finally:
        database.close()


def _asked(place: Place, target: Path) -> Manifest:
    """Core makes it inside the data folder; it is moved from there."""
    answer = local.ask(local.find(place.data, None, None), "POST", "/api/backup", {}, timeout=_SECONDS)
    folder = Path(msgspec.json.decode(answer)["folder"])
    if target.exists():
        target.rmdir()
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, target)
    return msgspec.json.decode((target / MANIFEST).read_bytes(), type=Manifest)
