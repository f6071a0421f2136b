"""Log files as chunks of whole lines, plain or gzip, with how far the reading is."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from deepmoat.kit.errors import PeerError

_MAGIC = b"\x1f\x8b"
_READ = 1 << 20
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Chunk(msgspec.Struct, frozen=True):
    """Whole lines of a file. ``read`` is how many of the file's own bytes they took so far.

    ``problem`` says, in the last chunk, why the file ended early; what came before it is good.
    """

    data: bytes
    read: int
    problem: str = ""


def chunks(path: Path, size: int = 8 << 20, longest: int = 1 << 20) -> Iterator[Chunk]:
    """Chunks of about ``size`` bytes; a last line without an end gets one.

    A line longer than ``longest`` comes as its first ``longest`` + 1 bytes, which a parser's check refuses.
    Raises PeerError when the file cannot be read at all, or is UTF-16.
    """
    try:
        with path.open("rb") as file:
            yield from _cut(_content(file, path), size, longest)
    except OSError as exc:
        raise PeerError(f"cannot read: {exc.strerror}", where=str(path)) from exc


def _content(file: BinaryIO, path: Path) -> Iterator[Chunk]:
    """Pieces of the file's text, of any length."""
    head = file.read(3)
    file.seek(0)
    if head.startswith(_MAGIC):
        yield from _unpacked(file)
        return
    if head[:2] in _UTF16:
        raise PeerError(
            "the file is UTF-16", where=str(path), hint="iconv -f UTF-16 -t UTF-8 makes it readable"
        )
    file.seek(3 if head == b"\xef\xbb\xbf" else 0)
    while piece := file.read(_READ):
        yield Chunk(piece, file.tell())


def _unpacked(file: BinaryIO) -> Iterator[Chunk]:
    """The text of a gzip file; one that is cut short or damaged gives what comes before the damage."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while packed := file.read(_READ // 8):
        while packed:
            if unpacker.eof:
                packed = packed.lstrip(b"\0")
                unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16) if packed else unpacker
                if not packed:
                    break
            try:
                piece = unpacker.decompress(packed, _READ)
            except zlib.error as exc:
                yield Chunk(b"", file.tell(), f"damaged gzip: {exc}")
                return
            packed = unpacker.unconsumed_tail or unpacker.unused_data
            yield Chunk(piece, file.tell())
    if not unpacker.eof:
        yield Chunk(b"", file.tell(), "the gzip file is cut short")


def _cut(pieces: Iterator[Chunk], size: int, longest: int) -> Iterator[Chunk]:
    """Pieces as chunks that end with a line's end."""
    waiting, read, problem = bytearray(), 0, ""
    long = False  # the line in ``waiting``'s tail is over the limit: the rest of it is not kept
    for piece in pieces:
        read, problem = piece.read, piece.problem
        data = piece.data
        if long:
            _, newline, data = data.partition(b"\n")
            if not newline:
                continue
            waiting += b"\n"
            long = False
        waiting += data
        start = waiting.rfind(b"\n") + 1
        if len(waiting) - start > longest:
            del waiting[start + longest + 1 :]
            long = True
        if start >= size:
            yield Chunk(bytes(waiting[:start]), read)
            del waiting[:start]
    if waiting and not waiting.endswith(b"\n"):
        waiting += b"\n"
    if waiting or problem:
        yield Chunk(bytes(waiting), read, problem)
