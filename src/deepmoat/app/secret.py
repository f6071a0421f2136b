"""The secret key of one data folder: 32 random bytes, made at the first start, readable by its owner only.

All keyed hashes in logs are made with it. ``rotate`` puts a new one in its place; the one before is kept
beside it, so that what the old logs say of a key can still be found.
"""

import secrets
from pathlib import Path

from deepmoat.kit.errors import ConfigError
from deepmoat.kit.files import write_atomically

LENGTH = 32


def secret_key(data: Path) -> bytes:
    """Read ``secret.key``, or make it. ConfigError when it is damaged or others can read it."""
    path = data / "secret.key"
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _make(path)
    return _read(path)


def secret_keys(data: Path) -> tuple[bytes, ...]:
    """The key that is in use, and the one before it where there was one."""
    before = data / "secret.key.old"
    return (secret_key(data), *([_read(before)] if before.exists() else []))


def rotate(data: Path) -> None:
    """Put a new key in place of the one in use, which processes take when they start."""
    write_atomically(data / "secret.key.old", secret_key(data))
    write_atomically(data / "secret.key", secrets.token_bytes(LENGTH))


def _make(path: Path) -> None:
    """Make the key once, though several workers start on a new folder at the same moment."""
    mine = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    write_atomically(mine, secrets.token_bytes(LENGTH))
    try:
        path.hardlink_to(mine)
    except FileExistsError:
        return  # another process was first
    finally:
        mine.unlink()


def _read(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != LENGTH:
        raise ConfigError(
            f"want {LENGTH} bytes, found {len(key)}", where=str(path), hint="restore it from a backup"
        )
    if path.stat().st_mode & 0o077:
        raise ConfigError("others may read it", where=str(path), hint=f"chmod 600 {path}")
    return key
