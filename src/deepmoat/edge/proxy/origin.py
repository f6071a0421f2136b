"""Origin: where a connection comes from, and what its TLS handshake said."""

from typing import Any

import msgspec


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The peer of one client connection. ``trusted`` peers may name the client they speak for.

    Texts of TLS are "" on a plain connection.
    """

    address: str
    port: int = 0
    trusted: bool = False
    scheme: str = "http"
    ja4: str = ""
    tls_version: str = ""
    tls_cipher: str = ""


def secured(origin: Origin, transport: Any) -> Origin:
    """``origin`` with what the handshake on ``transport`` agreed on: "1.3", and the name of the cipher."""
    name, version, _ = transport.get_extra_info("cipher") or ("", "", 0)
    return msgspec.structs.replace(origin, tls_version=version.removeprefix("TLSv"), tls_cipher=name)
