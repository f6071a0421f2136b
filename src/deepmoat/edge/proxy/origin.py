"""Origin: where a connection comes from, and what its TLS handshake said."""

from typing import Any

import msgspec


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The peer of one client connection. ``trusted`` peers may name the client they speak for.

    Texts of TLS are "" on a plain connection. ``forwarding`` is what a backend is told of it, ready to be
    sent: header lines up to the value of X-Request-Id.
    """

    address: str
    port: int = 0
    trusted: bool = False
    scheme: str = "http"
    ja4: str = ""
    tls_version: str = ""
    tls_cipher: str = ""
    forwarding: bytes = b""


def forwarding(address: str, scheme: str) -> bytes:
    """The lines that tell a backend of a client that speaks for itself.

    >>> forwarding("192.0.2.1", "https")
    b'X-Forwarded-For: 192.0.2.1\\r\\nX-Forwarded-Proto: https\\r\\nX-Request-Id: '
    """
    text = f"X-Forwarded-For: {address}\r\nX-Forwarded-Proto: {scheme}\r\nX-Request-Id: "
    return text.encode()


def secured(origin: Origin, transport: Any) -> Origin:
    """``origin`` with what the handshake on ``transport`` agreed on: "1.3", and the name of the cipher."""
    name, version, _ = transport.get_extra_info("cipher") or ("", "", 0)
    return msgspec.structs.replace(origin, tls_version=version.removeprefix("TLSv"), tls_cipher=name)
