"""Backup and restore: a folder that holds everything deepmoat knows, and how to read it back.

``BACKUP DATABASE`` for the logs, SQLite's own online backup for the state, the secret key (without it
old hashes would mean nothing), and a manifest. The folder is complete when the manifest is there. What is
acknowledged but not yet loaded is loaded first, so nothing acknowledged before the call is missing.
"""

import shutil
import sqlite3
from datetime import datetime
from pathlib import Path

import msgspec

from deepmoat.kit.errors import ConfigError
from deepmoat.kit.files import write_atomically
from deepmoat.store.logs.database import NAME, Database, LogSettings

MANIFEST = "deepmoat-backup.json"


class Manifest(msgspec.Struct, frozen=True):
    """What a backup is: when it was made, by which version, with how many records of what (or more:
    loads go on meanwhile).
    """

    made: datetime
    version: str
    records: dict[str, int]


def backup(database: Database, data: Path, target: Path, *, now: datetime, version: str) -> Manifest:
    """Write a backup of the data folder ``data`` into the new folder ``target``.

    Raises ConfigError when ``target`` is not empty.
    """
    if target.exists() and any(target.iterdir()):
        raise ConfigError("the folder is not empty", where=str(target), hint="name a new folder")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    stage = database.backups / new_stage(now)
    records = database.counts()
    database.apart(f"BACKUP DATABASE {NAME} TO File({{place:String}})", {"place": str(stage)})
    shutil.move(stage, target / "logs")
    _copy_state(data / "state.db", target / "state.db")
    if (data / "secret.key").exists():
        shutil.copy2(data / "secret.key", target / "secret.key")
    manifest = Manifest(now, version, records)
    write_atomically(target / MANIFEST, msgspec.json.encode(manifest))
    return manifest


def restore(source: Path, data: Path, settings: LogSettings) -> Manifest:
    """Fill the empty data folder ``data`` from a backup. ConfigError when either is not what it should be."""
    if not (source / MANIFEST).exists():
        raise ConfigError(
            f"no complete backup here: {MANIFEST} is missing",
            where=str(source),
            hint="name the backup's folder",
        )
    if data.exists() and any(data.iterdir()):
        raise ConfigError(
            "the data folder is not empty",
            where=str(data),
            hint="restore into a new one (--data), or move it away",
        )
    manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings, folder=data, known=[])
    try:
        stage = database.backups / new_stage(manifest.made)
        shutil.copytree(source / "logs", stage)
        database.command(
            f"RESTORE DATABASE {NAME} FROM File({{place:String}}) SETTINGS allow_non_empty_tables = 1",
            {"place": str(stage)},
        )
        shutil.rmtree(stage)
    finally:
        database.close()
    for name in ("state.db", "secret.key"):
        if (source / name).exists():
            shutil.copy2(source / name, data / name)
    return manifest


def new_stage(now: datetime) -> str:
    """A folder name for one backup in the making."""
    return f"backup-{now:%Y%m%dT%H%M%S%f}"


def _copy_state(source: Path, target: Path) -> None:
    if not source.exists():
        return
    target.touch(mode=0o600)
    reader, writer = sqlite3.connect(source), sqlite3.connect(target)
    try:
        reader.backup(writer)
    finally:
        reader.close()
        writer.close()
