"""Memory shared by the processes of one machine: a file, mapped by all of them.

There is no lock: whoever maps it divides it into regions that only one process writes. What a dead process
wrote stays. Kept in a folder that outlives a restart, so do the numbers; the kernel writes them to disk
when it pleases, ``flush`` of the map sooner.
"""

import fcntl
import mmap
import os
from pathlib import Path

from deepmoat.kit.errors import TransientError


def open_shared(path: Path, size: int) -> mmap.mmap:
    """Map ``size`` bytes of the file ``path``, made of zeros where it is new or has another size.

    A file of another size is replaced, so that processes which still map it keep what they have.
    Raises TransientError when it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        with os.fdopen(os.open(path.with_suffix(".lock"), flags, 0o600)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or path.stat().st_size != size:
                _make(path, size)
            with path.open("r+b") as file:
                return mmap.mmap(file.fileno(), size)
    except OSError as exc:
        raise TransientError(f"cannot share memory: {exc.strerror}", where=str(path)) from exc


def _make(path: Path, size: int) -> None:
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
    fresh.rename(path)
