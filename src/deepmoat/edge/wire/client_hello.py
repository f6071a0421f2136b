"""The TLS ClientHello in the first bytes of a connection (RFC 8446, section 4.1.2; RFC 5246, 7.4.1.2).

It is only looked at: the TLS library behind reads the same bytes again and decides about them. What cannot
be cut into its fields is refused here; an extension whose inside is malformed counts as present and empty.
"""

import re
from struct import Struct, unpack_from

import msgspec

from deepmoat.kit.errors import PeerError

MOST_HANDSHAKE = 16_384
"""Bytes of one ClientHello. A post-quantum key share makes about 1,800."""

MOST_RECORDS = 64
"""Records that one ClientHello may be spread over."""

MOST_BYTES = MOST_HANDSHAKE + 5 * MOST_RECORDS
"""Whoever has that many bytes never hears that more are needed."""

_MOST_FRAGMENT = 16_384  # RFC 8446, section 5.1
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _SIGNATURE_ALGORITHMS, _ALPN, _SUPPORTED_VERSIONS = 0, 13, 16, 43
_LOOKED_AT = frozenset({_SERVER_NAME, _SIGNATURE_ALGORITHMS, _ALPN, _SUPPORTED_VERSIONS})
_HOST_NAME = re.compile(rb"[A-Za-z0-9._-]{1,255}")
_EXTENSION = Struct(">HH")


class ClientHello(msgspec.Struct, frozen=True, gc=False):
    """What a client offers. All numbers as on the wire and in its order, GREASE (RFC 8701) included.

    ``version`` is the legacy version field. ``server_name`` is in lower case and "" when there is none or
    it is no host name; whether the extension came is in ``extensions`` (type 0).
    """

    version: int
    server_name: str
    alpn: tuple[bytes, ...]
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...]
    signature_algorithms: tuple[int, ...]
    supported_versions: tuple[int, ...]


def read_client_hello(data: bytes) -> ClientHello | None:
    """The ClientHello at the beginning of ``data``, one or more TLS records; None when more bytes are
    needed.

    Raises PeerError when no further byte can make it one. Reading a growing ``data`` again costs next to
    nothing until it is whole: only the headers of at most MOST_RECORDS records are looked at.
    """
    message = _message(data)
    return _hello(message) if message is not None else None


def _message(data: bytes) -> bytes | None:
    """The body of the handshake message, put together from its records."""
    fragments: list[bytes] = []
    at = have = 0
    size = -1  # of the whole message with its own header of four bytes
    while size < 0 or have < size:
        length = _record(data, at)
        if length < 0:
            return None
        have += length
        if len(fragments) == MOST_RECORDS or 0 <= size < have:
            raise PeerError("ClientHello badly cut into records", where="tls")
        at += 5 + length
        if at > len(data):
            return None
        fragments.append(data[at - length : at])
        if size < 0:
            size = _size(fragments[0] if len(fragments) == 1 else b"".join(fragments))
    if have > size:
        raise PeerError("bytes after the ClientHello in its record", where="tls")
    return b"".join(fragments)[4:]


def _record(data: bytes, at: int) -> int:
    """Length of what the record at ``at`` carries, -1 when its header is not all there."""
    header = data[at : at + 5]
    if header[:1] not in (b"", b"\x16") or header[1:2] not in (b"", b"\x03"):
        raise PeerError("not a TLS handshake", where="tls")
    if len(header) < 5:
        return -1
    length = header[3] << 8 | header[4]
    if not 0 < length <= _MOST_FRAGMENT:
        raise PeerError(f"TLS record of {length} bytes", where="tls")
    return length


def _size(head: bytes) -> int:
    """Size of the message that begins with ``head``, -1 when that is too short to say."""
    if head[0] != _CLIENT_HELLO:
        raise PeerError(f"handshake message {head[0]} where a ClientHello belongs", where="tls")
    if len(head) < 4:
        return -1
    size = int.from_bytes(head[1:4], "big") + 4
    if size > MOST_HANDSHAKE:
        raise PeerError(f"ClientHello of {size} bytes", where="tls")
    return size


def _hello(body: bytes) -> ClientHello:
    try:
        version, ciphers, rest = _fixed(body)
    except IndexError as exc:
        raise PeerError("ClientHello cut short", where="tls") from exc
    types, inside = _extensions(rest)
    return ClientHello(
        version,
        _server_name(inside.get(_SERVER_NAME, b"")),
        _alpn(inside.get(_ALPN, b"")),
        ciphers,
        types,
        _numbers(inside.get(_SIGNATURE_ALGORITHMS, b""), 2),
        _numbers(inside.get(_SUPPORTED_VERSIONS, b""), 1),
    )


def _fixed(body: bytes) -> tuple[int, tuple[int, ...], bytes]:
    """Version, ciphers, and what follows the compression methods. Raises IndexError for a short one."""
    at = 35 + body[34]  # version, 32 random bytes, session id
    many = body[at] << 8 | body[at + 1]
    end = at + 2 + many
    after = end + 1 + body[end]
    if body[34] > 32 or many < 2 or many & 1 or not body[end] or after > len(body):
        raise PeerError("ClientHello with a bad length", where="tls")
    return body[0] << 8 | body[1], unpack_from(f">{many // 2}H", body, at + 2), body[after:]


def _extensions(block: bytes) -> tuple[tuple[int, ...], dict[int, bytes]]:
    """The types in order, and the insides of those that are looked at."""
    if not block:  # before TLS 1.3 a hello may end without them
        return (), {}
    last = len(block)
    if last < 2 or block[0] << 8 | block[1] != last - 2:
        raise PeerError("extensions with a bad length", where="tls")
    types: list[int] = []
    inside: dict[int, bytes] = {}
    at = 2
    while at + 4 <= last:
        kind, length = _EXTENSION.unpack_from(block, at)
        at += 4 + length
        types.append(kind)
        if kind in _LOOKED_AT:
            inside[kind] = block[at - length : at]
    if at != last:
        raise PeerError("extension with a bad length", where="tls")
    if len(set(types)) != len(types):  # RFC 8446, section 4.2
        raise PeerError("an extension twice", where="tls")
    return tuple(types), inside


def _server_name(inside: bytes) -> str:
    """The host name of RFC 6066, section 3: one entry of type 0."""
    if len(inside) < 5 or inside[2] or int.from_bytes(inside[:2], "big") != len(inside) - 2:
        return ""
    name = inside[5:]
    if int.from_bytes(inside[3:5], "big") != len(name) or not _HOST_NAME.fullmatch(name):
        return ""
    return name.decode("ascii").lower()


def _alpn(inside: bytes) -> tuple[bytes, ...]:
    """Protocol names of RFC 7301, section 3.1."""
    if len(inside) < 2 or int.from_bytes(inside[:2], "big") != len(inside) - 2:
        return ()
    names: list[bytes] = []
    at = 2
    while at < len(inside):
        end = at + 1 + inside[at]
        if end > len(inside) or end == at + 1:
            return ()
        names.append(inside[at + 1 : end])
        at = end
    return tuple(names)


def _numbers(inside: bytes, width: int) -> tuple[int, ...]:
    """A vector of 16-bit numbers behind a length of ``width`` bytes."""
    many = len(inside) - width
    if many < 0 or many & 1 or int.from_bytes(inside[:width], "big") != many:
        return ()
    return unpack_from(f">{many // 2}H", inside, width)
