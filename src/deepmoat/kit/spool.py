"""Spool: a folder of segment files that one process writes and core loads.

A segment is the unit of ingestion: checked bodies of one stream appended to one file. It is
``NAME.open`` while it grows and ``NAME.seg`` once sealed; ``NAME`` is
``<sequence>~<receiver>~<logstore>~<source>`` and, with the folder's name, the deduplication token
of its load, so it is never used twice. An append is promised only after ``sync``: bytes and folder
entry are then on disk. What a dead process left open is cut back to its last whole record and
sealed by ``recover``.

One process owns a spool (an advisory lock on ``lock`` tells). The files are 0600: for the second
or so until they are loaded they hold what was sent, before redaction.
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from deepmoat.kit.errors import ConfigError, TransientError

_EVER = float("inf")
_LONGEST = 3600.0
_LARGEST = 32 << 20
Whole = Callable[[bytes], int]
"""Given a segment's bytes, the length of its leading run of whole records."""


class Stream(msgspec.Struct, frozen=True):
    """What a segment holds: which receiver reads it, into which logstore, from whom."""

    receiver: str
    logstore: str
    source: str = ""


class Segment(msgspec.Struct, frozen=True):
    """One sealed file. ``token`` makes its load happen once."""

    path: Path
    stream: Stream

    @property
    def token(self) -> str:
        """The deduplication token: unique over all spools of one data folder."""
        return f"{self.path.parent.name}/{self.path.stem}"

    @property
    def born(self) -> float:
        """When its first record was appended, in seconds since 1970: the same on every reading of it."""
        return int(self.path.name.split("~", 1)[0].split("-")[0]) / 1e9


def parse_name(path: Path) -> Segment:
    """The segment behind a file name; ValueError where it is none."""
    _, receiver, logstore, source = path.stem.split("~", 3)
    segment = Segment(path, Stream(receiver, logstore, unquote(source)))
    if segment.born < 0:
        raise ValueError(path.name)
    return segment


class _Open:
    """One growing file: how much is written, how much is known to be on disk."""

    __slots__ = ("born", "descriptor", "path", "size", "synced")

    def __init__(self, path: Path, born: float) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.path, self.born = path, born
        self.descriptor = os.open(path, flags, 0o600)
        self.size = self.synced = 0

    def durable(self) -> bool:
        """Is all that was written known to be on disk?"""
        return self.synced == self.size


class Spool:
    """Append, sync, seal. Not thread-safe: one caller at a time."""

    def __init__(self, folder: Path, *, whole: Callable[[str], Whole]) -> None:
        """Own ``folder``; recover what an earlier owner left. ``whole`` finds records by receiver name.

        Raises TransientError when another living process owns it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self._lock = lock(folder)
        recover(folder, whole)
        self._open: dict[Stream, _Open] = {}
        self._fresh = False
        self._last = 0
        self._asked = 0.0

    def append(self, stream: Stream, data: bytes, now: float) -> None:
        """Write whole records; not yet durable. Raises TransientError (507) when the disk is full."""
        segment = self._open.get(stream) or self._create(stream, now)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(segment.descriptor, view) :]
        except OSError as exc:
            self._cut(stream, segment, segment.size)
            raise disk_trouble(exc, self.folder) from exc
        segment.size += len(data)

    def sync(self) -> None:
        """Make every append so far durable.

        Raises TransientError (507) when the disk does not take it; all appends since the last sync are then
        taken back, so that their senders may send them again.
        """
        before = [(s, segment, segment.synced) for s, segment in self._open.items() if not segment.durable()]
        try:
            for _, segment, _ in before:
                os.fdatasync(segment.descriptor)
                segment.synced = segment.size
            if self._fresh:
                sync_folder(self.folder)
                self._fresh = False
        except OSError as exc:
            for stream, segment, size in before:
                self._cut(stream, segment, size)
            raise disk_trouble(exc, self.folder) from exc

    def growing(self) -> int:
        """How many segments are not sealed yet."""
        return len(self._open)

    def seal(self, *, older_than: float = _EVER, larger_than: int = 0) -> int:
        """Close segments born before ``older_than`` or larger than ``larger_than`` bytes; how many.

        While an older segment of the same stream still waits to be loaded, age alone closes none: a core
        that is behind gets fewer and larger segments, which it loads at less cost. An hour is the end of any,
        because times are judged by when their segment was begun, and so are 32 MiB, because a segment is
        loaded as one. When the clock was set back nobody knows how old a segment is: all are closed.

        Raises TransientError (507) when the disk does not take it; what is not closed then stays open.
        """
        everything = older_than == _EVER or older_than < self._asked
        self._asked = self._asked if older_than == _EVER else older_than
        waiting = set() if everything else {_stream_part(path) for path in self.folder.glob("*.seg")}
        most = min(larger_than or _LARGEST, _LARGEST)
        due = [
            (stream, segment)
            for stream, segment in self._open.items()
            if segment.size
            and (
                everything
                or segment.size >= most
                or segment.born <= older_than - _LONGEST
                or (segment.born <= older_than and _stream_part(segment.path) not in waiting)
            )
        ]
        if due:
            self.sync()
        for stream, segment in due:
            self._end(stream, segment)
        return len(due)

    def size(self) -> int:
        """Bytes waiting here, sealed or not."""
        return sum(_size(p) for p in self.folder.iterdir())

    def close(self) -> None:
        """Seal all and give the folder up."""
        self.seal()
        for segment in self._open.values():
            os.close(segment.descriptor)
            segment.path.unlink()
        self._open.clear()
        os.close(self._lock)

    def _end(self, stream: Stream, segment: _Open) -> None:
        try:
            segment.path.rename(segment.path.with_suffix(".seg"))
        except OSError as exc:
            raise disk_trouble(exc, self.folder) from exc
        del self._open[stream]
        os.close(segment.descriptor)

    def _cut(self, stream: Stream, segment: _Open, size: int) -> None:
        """Forget what was written after the first ``size`` bytes; an empty segment is none."""
        if not size:
            del self._open[stream]
            os.close(segment.descriptor)
            segment.path.unlink()
            return
        os.ftruncate(segment.descriptor, size)
        os.lseek(segment.descriptor, size, os.SEEK_SET)
        segment.size, segment.synced = size, min(segment.synced, size)

    def _create(self, stream: Stream, now: float) -> _Open:
        self._last = max(self._last + 1, int(now * 1e9))
        source = quote(stream.source.encode(errors="replace")[:64], safe="").replace("~", "%7E")
        # The random part keeps a name, and so its token, from coming twice when the clock is set back.
        name = f"{self._last:020d}-{secrets.token_hex(4)}~{stream.receiver}~{stream.logstore}~{source}.open"
        try:
            segment = self._open[stream] = _Open(self.folder / name, now)
        except OSError as exc:
            raise disk_trouble(exc, self.folder) from exc
        self._fresh = True
        return segment


def sealed(folder: Path) -> Iterator[Segment]:
    """Segments ready to load, oldest first."""
    for path in sorted(folder.glob("*.seg")):
        yield parse_name(path)


def unloaded(folder: Path) -> Iterator[Segment]:
    """Every segment of ``folder``, sealed or still growing."""
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".seg", ".open")):
        yield parse_name(path)


def recover(folder: Path, whole: Callable[[str], Whole]) -> int:
    """Seal what a dead process left open, cut back to its last whole record; how many segments.

    One whose records nobody here can tell apart is sealed as it is: its loader sets it aside.
    """
    left = sorted(folder.glob("*.open"))
    for path in left:
        keep = _kept(path, whole)
        if not keep:
            path.unlink()
            continue
        with path.open("r+b") as file:
            file.truncate(keep)
            os.fsync(file.fileno())
        path.rename(path.with_suffix(".seg"))
    if left:
        sync_folder(folder)
    return len(left)


def _kept(path: Path, whole: Callable[[str], Whole]) -> int:
    """How many of an open segment's bytes are whole records, as far as that can be known."""
    try:
        find = whole(parse_name(path).stream.receiver)
    except (ValueError, ConfigError):
        return path.stat().st_size
    return find(path.read_bytes())


def whole_lines(data: bytes) -> int:
    """``Whole`` for records that end with a newline.

    >>> whole_lines(b"one\\ntw")
    4
    """
    return data.rfind(b"\n") + 1


def lock(folder: Path) -> int:
    """Take the folder's lock until the descriptor is closed; TransientError when it is taken."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        raise TransientError(
            "another process uses this folder",
            where=str(folder),
            hint="is deepmoat already running? stop it, or give this one another data folder",
        ) from exc
    return descriptor


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_trouble(exc: OSError, folder: Path) -> TransientError:
    """The error a sender is told when the disk does not take more."""
    return TransientError(
        f"cannot write: {exc.strerror}", status=507, where=str(folder), hint="free some disk space"
    )


def _stream_part(path: Path) -> str:
    """What the names of one stream's segments share."""
    return path.stem.partition("~")[2]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
