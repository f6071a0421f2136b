"""Backup from the command line: a running core makes it, else this process does."""

import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from deepmoat import __version__
from deepmoat.app import local
from deepmoat.app.cache import cache_folder
from deepmoat.app.intake import Intake
from deepmoat.app.secret import secret_key
from deepmoat.app.settings import Place
from deepmoat.collect.enrich import country
from deepmoat.collect.readers import Readers
from deepmoat.kit.errors import ConfigError, TransientError
from deepmoat.store.backup import MANIFEST, Manifest
from deepmoat.store.backup import backup as write
from deepmoat.store.logs.database import Database
from deepmoat.store.logs.loader import Loader

_SECONDS = 3600.0


def backup(place: Place, directory: str) -> Manifest:
    """Write a backup of ``place`` into the new folder ``directory``; ConfigError when it is not empty."""
    target = Path(directory)
    if target.exists() and any(target.iterdir()):
        raise ConfigError("the folder is not empty", where=directory, hint="name a new folder")
    if local.file(place.data).exists():
        with suppress(TransientError):  # a core that was killed left its address
            return _asked(place, target)
    return _alone(place, target)


def _alone(place: Place, target: Path) -> Manifest:
    """Load what a core had acknowledged, then copy. TransientError when one runs after all."""
    database = Database(place.moat.store.logs, folder=place.data)
    try:
        country.install(database, cache_folder())
        readers = Readers(place.moat.collect, secret_key(place.data))
        spools = place.data / "spool"
        spools.mkdir(exist_ok=True, mode=0o700)
        now = datetime.now(UTC)
        loader = Loader(database, readers.get, place.data / "scratch")
        Intake(loader, readers, spools).drain(now.timestamp(), _SECONDS)
        return write(database, place.data, target, now=now, version=__version__)
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
