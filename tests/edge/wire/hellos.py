"""ClientHellos made for tests."""

import ssl
from collections.abc import Iterable, Sequence
from struct import pack

Extension = tuple[int, bytes]


def numbers(values: Sequence[int], width: int = 2) -> bytes:
    """A vector of 16-bit numbers behind its length."""
    return (2 * len(values)).to_bytes(width, "big") + b"".join(pack(">H", v) for v in values)


def server_name(name: bytes) -> Extension:
    return 0, pack(">HBH", len(name) + 3, 0, len(name)) + name


def alpn(*names: bytes) -> Extension:
    listed = b"".join(bytes((len(n),)) + n for n in names)
    return 16, pack(">H", len(listed)) + listed


def message(
    ciphers: Sequence[int] = (0x1301,),
    extensions: Iterable[Extension] | None = (),
    *,
    version: int = 0x0303,
    session: bytes = b"",
) -> bytes:
    """A handshake message; ``extensions`` None leaves their block out."""
    body = pack(">H", version) + bytes(range(32)) + bytes((len(session),)) + session
    body += numbers(ciphers) + b"\x01\x00"
    if extensions is not None:
        block = b"".join(pack(">HH", kind, len(inside)) + inside for kind, inside in extensions)
        body += pack(">H", len(block)) + block
    return b"\x01" + len(body).to_bytes(3, "big") + body


def records(handshake: bytes, fragment: int = 16_384) -> bytes:
    """``handshake`` in records of at most ``fragment`` bytes."""
    cut = [handshake[i : i + fragment] for i in range(0, len(handshake), fragment)]
    return b"".join(b"\x16\x03\x01" + pack(">H", len(part)) + part for part in cut)


def of_openssl(context: ssl.SSLContext, name: str | None = None) -> bytes:
    """What OpenSSL sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")
