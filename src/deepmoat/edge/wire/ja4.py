"""JA4: a fingerprint of the program that opened a TLS connection, by what its ClientHello offers.

Source: JA4 by FoxIO, https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md. JA4 (the TLS
client method, this one) is BSD-3-Clause; the other methods of JA4+ are not, and none of them is here.

Clients send one of few hellos over and over, apart from GREASE and (Chrome) the order of extensions, so
what is hashed is remembered.
"""

from functools import lru_cache
from hashlib import sha256

from deepmoat.edge.wire.client_hello import ClientHello

GREASE = frozenset(0x0A0A + 0x1010 * n for n in range(16))
"""The values of RFC 8701 that stand for nothing."""

_SERVER_NAME, _ALPN = 0x0000, 0x0010
_NOTHING = "0" * 12
_VERSIONS = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
    0xFEFF: "d1",
    0xFEFD: "d2",
    0xFEFC: "d3",
}
_ALPHANUMERIC = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_REMEMBERED = 99  # numbers; longer lists are hashed each time, so that strangers cannot fill the memory


def ja4(hello: ClientHello, transport: str = "t") -> str:
    """The fingerprint of ``hello``. ``transport`` is t for TCP, q for QUIC, d for DTLS.

    >>> ja4(ClientHello(0x0303, "", (), (0x0A0A, 0x1301, 0x1302, 0x1303), (), (), ()))
    't12i030000_55b375c5d22e_000000000000'
    """
    first, ciphers, extensions, signatures = _parts(hello, transport)
    return f"{first}_{_hashed(ciphers, ())}_{_hashed(extensions, signatures)}"


def ja4_raw(hello: ClientHello, transport: str = "t") -> str:
    """The same with the lists instead of their hashes (JA4_r).

    >>> ja4_raw(ClientHello(0x0303, "", (b"h2",), (0x1302, 0x1301), (13, 0, 16), (0x0403,), ()))
    't12d0203h2_1301,1302_000d_0403'
    """
    first, ciphers, extensions, signatures = _parts(hello, transport)
    return f"{first}_{_written(ciphers, ())}_{_written(extensions, signatures)}"


def _parts(
    hello: ClientHello, transport: str
) -> tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    ciphers = sorted([c for c in hello.ciphers if c not in GREASE])
    extensions = sorted([e for e in hello.extensions if e not in GREASE])
    signatures = tuple([s for s in hello.signature_algorithms if s not in GREASE])
    many, where = len(extensions), "i"
    if extensions[:1] == [_SERVER_NAME]:  # sorted: it can only be the first
        where = "d"
        del extensions[0]
    if _ALPN in extensions:
        extensions.remove(_ALPN)
    version = max((v for v in hello.supported_versions if v not in GREASE), default=hello.version)
    first = (
        f"{transport}{_VERSIONS.get(version, '00')}{where}{min(len(ciphers), 99):02}{min(many, 99):02}"
        f"{_protocol(hello.alpn[0] if hello.alpn else b'')}"
    )
    return first, tuple(ciphers), tuple(extensions), signatures


def _protocol(name: bytes) -> str:
    """First and last character of ``name``; of its hex digits when one of the two is not alphanumeric.

    So the document has it. FoxIO's own tools write 9 for a character that is not ASCII.
    """
    if not name:
        return "00"
    if name[0] in _ALPHANUMERIC and name[-1] in _ALPHANUMERIC:
        return chr(name[0]) + chr(name[-1])
    return f"{name[0]:02x}"[0] + f"{name[-1]:02x}"[1]


def _hashed(numbers: tuple[int, ...], signatures: tuple[int, ...]) -> str:
    if len(numbers) + len(signatures) > _REMEMBERED:
        return _digest(numbers, signatures)
    return _known_digest(numbers, signatures)


def _digest(numbers: tuple[int, ...], signatures: tuple[int, ...]) -> str:
    if not numbers:
        return _NOTHING
    return sha256(_written(numbers, signatures).encode()).hexdigest()[:12]


_known_digest = lru_cache(2048)(_digest)


def _written(numbers: tuple[int, ...], signatures: tuple[int, ...]) -> str:
    """Four hex digits each, joined by commas; then an underscore and the signature algorithms, if any."""
    text = ",".join([f"{n:04x}" for n in numbers])
    return f"{text}_{','.join([f'{s:04x}' for s in signatures])}" if signatures else text
