"""The secret key of one data folder: 32 random bytes, made at the first start, readable by its owner only."""

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
        write_atomically(path, secrets.token_bytes(LENGTH))
    key = path.read_bytes()
    if len(key) != LENGTH:
        raise ConfigError(
            f"want {LENGTH} bytes, found {len(key)}", where=str(path), hint="restore it from a backup"
        )
    if path.stat().st_mode & 0o077:
        raise ConfigError("others may read it", where=str(path), hint=f"chmod 600 {path}")
    return key
