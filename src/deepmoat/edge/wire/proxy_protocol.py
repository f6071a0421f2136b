"""The PROXY header by which a load balancer says, before the first byte of a connection, who the client is.

Source: "The PROXY protocol, versions 1 & 2", https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.
Only a trusted forwarder may send one; whether a peer is that is the caller's question. A peer that has to
send one and does not is refused: the specification forbids to guess.
"""

import re
from collections.abc import Iterator
from struct import Struct

import msgspec

from deepmoat.kit.addresses import canonical
from deepmoat.kit.errors import PeerError

MOST_LINE = 107
"""Bytes of a version 1 header with its CRLF."""

MOST_LENGTH = 4096
"""Bytes that may follow the 16 of a version 2 header (the format: 65,535). A client's certificate fits."""

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_START = b"PROXY "
_ADDRESS, _PORT = rb"([\dA-Fa-f:.]+)", rb"(0|[1-9]\d{0,4})"
_KNOWN = rb"TCP([46]) " + b" ".join((_ADDRESS, _ADDRESS, _PORT, _PORT))
_LINE = re.compile(rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|" + _KNOWN + rb")\r\n")
_HOST_NAME = re.compile(rb"[A-Za-z0-9._-]{1,255}")
_FIXED = Struct(">12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_INTERNET = {1: Struct(">4s4sHH"), 2: Struct(">16s16sHH")}  # by address family
_TLV = Struct(">BH")
_ALPN, _AUTHORITY, _CRC32C, _TLS = 0x01, 0x02, 0x03, 0x20
_CLIENT_USED_TLS = 0x01


class Proxied(msgspec.Struct, frozen=True, gc=False):
    """What the header said. Its ``size`` bytes are not part of what the client sent.

    ``client`` and ``server`` are canonical addresses; "" with port 0 when the forwarder speaks for itself
    (LOCAL, a health check) or knows none (UNKNOWN, a UNIX socket): then the peer of the connection is the
    client. ``tls`` says that the client came to the forwarder over TLS, with ``alpn`` and ``authority`` (its
    SNI) as the forwarder saw them, b"" and "" when it did not say.
    """

    size: int
    client: str = ""
    client_port: int = 0
    server: str = ""
    server_port: int = 0
    tls: bool = False
    alpn: bytes = b""
    authority: str = ""


def read_proxy_header(data: bytes) -> Proxied | None:
    """The header at the beginning of ``data``; None when more bytes are needed.

    Raises PeerError when no further byte can make it one.

    >>> read_proxy_header(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\\r\\nGET").client
    '192.0.2.7'
    """
    if data.startswith(_SIGNATURE):
        return _version_2(data)
    if data.startswith(_START):
        return _version_1(data)
    if _SIGNATURE.startswith(data) or _START.startswith(data):
        return None
    raise PeerError("no PROXY header", where="proxy_protocol")


def _version_1(data: bytes) -> Proxied | None:
    end = data.find(b"\n", 0, MOST_LINE) + 1
    if not end:
        if len(data) >= MOST_LINE:
            raise PeerError("PROXY line too long", where="proxy_protocol")
        return None
    match = _LINE.fullmatch(data, 0, end)
    if not match:
        raise PeerError("malformed PROXY line", where="proxy_protocol")
    family, client, server, client_port, server_port = match.groups()
    if family is None:
        return Proxied(end)
    return Proxied(
        end, _written(client, family), _port(client_port), _written(server, family), _port(server_port)
    )


def _written(address: bytes, family: bytes) -> str:
    text = canonical(address.decode("ascii"))
    if text is None or (b":" in address) != (family == b"6"):
        raise PeerError("PROXY line with a bad address", where="proxy_protocol")
    return text


def _port(digits: bytes) -> int:
    port = int(digits)
    if port > 65_535:
        raise PeerError("PROXY line with a bad port", where="proxy_protocol")
    return port


def _version_2(data: bytes) -> Proxied | None:
    if len(data) < _FIXED.size:
        return None
    _, command, family, length = _FIXED.unpack_from(data)
    if command != _LOCAL and (command != _PROXY or family >> 4 > 3 or family & 15 > 2):
        raise PeerError("PROXY header with an unknown command or family", where="proxy_protocol")
    if length > MOST_LENGTH:
        raise PeerError(f"PROXY header of {length} bytes", where="proxy_protocol")
    size = _FIXED.size + length
    if len(data) < size:
        return None
    layout = _INTERNET.get(family >> 4)
    if command == _LOCAL or layout is None or not family & 15:
        return Proxied(size)
    return _addressed(data[:size], layout)


def _addressed(header: bytes, layout: Struct) -> Proxied:
    """A version 2 header with addresses. Datagrams are as good as streams: a QUIC client is a client."""
    begin = _FIXED.size + layout.size
    if len(header) < begin:
        raise PeerError("PROXY header without room for its addresses", where="proxy_protocol")
    client, server, client_port, server_port = layout.unpack_from(header, _FIXED.size)
    extras = _extras(header, begin) if len(header) > begin else {}
    tls, authority = extras.get(_TLS, b""), extras.get(_AUTHORITY, b"")
    return Proxied(
        len(header),
        _packed(client),
        client_port,
        _packed(server),
        server_port,
        bool(tls) and bool(tls[0] & _CLIENT_USED_TLS),
        extras.get(_ALPN, b""),
        authority.decode("ascii").lower() if _HOST_NAME.fullmatch(authority) else "",
    )


def _packed(address: bytes) -> str:
    if len(address) == 4:
        return ".".join(map(str, address))
    return canonical(":".join([address[i : i + 2].hex() for i in range(0, 16, 2)])) or ""


def _extras(header: bytes, begin: int) -> dict[int, bytes]:
    """The last value of each type of TLV. Its checksum, when there is one, is checked."""
    extras: dict[int, bytes] = {}
    for kind, at, end in _tlvs(header, begin):
        value = header[at:end]
        if kind == _CRC32C:
            blank = header[:at] + bytes(end - at) + header[end:]
            if kind in extras or len(value) != 4 or int.from_bytes(value, "big") != crc32c(blank):
                raise PeerError("PROXY header with a bad checksum", where="proxy_protocol")
        extras[kind] = value
    return extras


def _tlvs(header: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Type, begin and end of the value of each."""
    while at < len(header):
        if at + _TLV.size > len(header):
            raise PeerError("PROXY header with a cut TLV", where="proxy_protocol")
        kind, length = _TLV.unpack_from(header, at)
        at += _TLV.size
        if at + length > len(header):
            raise PeerError("PROXY header with a cut TLV", where="proxy_protocol")
        yield kind, at, at + length
        at += length


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as RFC 4960, appendix B, has it. A header with TLVs is read once a connection.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[crc & 0xFF ^ byte]
    return crc ^ 0xFFFFFFFF
