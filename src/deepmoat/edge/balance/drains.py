"""Drains: the file that says which backends get no new requests. A verb writes it, the edge reads it."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from deepmoat.kit.errors import PeerError

MOST_BYTES = 1 << 20
"""A longer file is refused."""
_Address = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class _Drains(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    drained: Annotated[list[_Address], msgspec.Meta(max_length=10_000)]


_DECODER = msgspec.json.Decoder(_Drains)


def read_drains(data: bytes) -> frozenset[str]:
    """The drained addresses. Raises PeerError for anything that ``write_drains`` would not write.

    >>> sorted(read_drains(b'{"drained":["127.0.0.1:9001","127.0.0.1:9000"]}'))
    ['127.0.0.1:9000', '127.0.0.1:9001']
    """
    if len(data) > MOST_BYTES:
        raise PeerError("too long for a list of drained backends", where="drained backends")
    try:
        return frozenset(_DECODER.decode(data).drained)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise PeerError(str(exc), where="drained backends", hint="write it with `deepmoat backend`") from exc


def write_drains(addresses: Iterable[str]) -> bytes:
    """The file that says that these are drained.

    >>> write_drains({"127.0.0.1:9000"})
    b'{"drained":["127.0.0.1:9000"]}'
    """
    return msgspec.json.encode(_Drains(sorted(set(addresses))))
