from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.wire.proxy_protocol import (
    MOST_LENGTH,
    MOST_LINE,
    Proxied,
    crc32c,
    read_proxy_header,
)
from deepmoat.kit.addresses import canonical
from deepmoat.kit.errors import PeerError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + pack(">HH", 4711, 443)
V6 = bytes.fromhex("20010db8000000000000000000000007" + "20010db8000000000000000000000001") + pack(
    ">HH", 1, 65535
)
FROM_V4 = ("192.0.2.7", 4711, "198.51.100.1", 443)
FROM_V6 = ("2001:db8::7", 1, "2001:db8::1", 65535)


def second(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + pack(">H", len(block)) + block


def tlv(kind: int, value: bytes) -> bytes:
    return pack(">BH", kind, len(value)) + value


def checked(block: bytes, after: bytes = b"") -> bytes:
    """A header with a right checksum between ``block`` and ``after``."""
    blank = second(0x21, 0x11, block + tlv(3, bytes(4)) + after)
    at = 16 + len(block) + 3
    return blank[:at] + pack(">I", crc32c(blank)) + blank[at + 4 :]


READ: dict[bytes, Proxied] = {
    # The example and the longest lines of the specification, section 2.1.
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n": Proxied(
        47, "192.168.0.1", 56324, "192.168.0.11", 443
    ),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": Proxied(
        56, "255.255.255.255", 65535, "255.255.255.255", 65535
    ),
    b"PROXY TCP6 %b %b 65535 65535\r\n" % ((b":".join([b"ffff"] * 8),) * 2): Proxied(
        104, ":".join(["ffff"] * 8), 65535, ":".join(["ffff"] * 8), 65535
    ),
    b"PROXY UNKNOWN\r\n": Proxied(15),
    b"PROXY UNKNOWN %b %b 65535 65535\r\n" % ((b":".join([b"ffff"] * 8),) * 2): Proxied(107),
    b"PROXY UNKNOWN anything at all\r\n": Proxied(31),
    b"PROXY TCP6 2001:DB8::7 ::1 0 0\r\n": Proxied(32, "2001:db8::7", 0, "::1", 0),
    b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 1 2\r\n": Proxied(49, "192.0.2.7", 1, "10.0.0.1", 2),
    second(0x21, 0x11, V4): Proxied(28, *FROM_V4),
    second(0x21, 0x12, V4): Proxied(28, *FROM_V4),
    second(0x21, 0x21, V6): Proxied(52, *FROM_V6),
    second(0x21, 0x22, V6): Proxied(52, *FROM_V6),
    second(0x21, 0x21, bytes.fromhex("00000000000000000000ffffc0000207" * 2) + bytes(4)): Proxied(
        52, "192.0.2.7", 0, "192.0.2.7", 0
    ),
    # No address: the peer is the client.
    second(0x20, 0x00, b""): Proxied(16),
    second(0x20, 0x11, V4): Proxied(28),
    second(0x20, 0xFF, b"junk"): Proxied(20),
    second(0x21, 0x00, b"junk"): Proxied(20),
    second(0x21, 0x10, V4): Proxied(28),
    second(0x21, 0x31, bytes(216)): Proxied(232),
    # TLVs.
    second(0x21, 0x11, V4 + tlv(4, bytes(40)) + tlv(0x30, b"blue")): Proxied(78, *FROM_V4),
    second(0x21, 0x11, V4 + tlv(1, b"h2") + tlv(2, b"Api.Example.org")): Proxied(
        51, *FROM_V4, False, b"h2", "api.example.org"
    ),
    second(0x21, 0x11, V4 + tlv(2, "münchen.example".encode())): Proxied(47, *FROM_V4),
    second(0x21, 0x11, V4 + tlv(0x20, b"\x01\x00\x00\x00\x00" + tlv(0x21, b"TLSv1.3"))): Proxied(
        46, *FROM_V4, True
    ),
    second(0x21, 0x11, V4 + tlv(0x20, b"\x00\x00\x00\x00\x00")): Proxied(36, *FROM_V4),
    second(0x21, 0x11, V4 + tlv(0x20, b"")): Proxied(31, *FROM_V4),
    second(0x21, 0x11, V4 + bytes(3) * 1361): Proxied(28 + 4083, *FROM_V4),
    checked(V4): Proxied(35, *FROM_V4),
    checked(V4 + tlv(1, b"h2"), tlv(4, b"")): Proxied(43, *FROM_V4, False, b"h2"),
}

REFUSED: dict[bytes, str] = {
    b"GET / HTTP/1.1\r\n": "no PROXY header",
    b"\x16\x03\x01": "no PROXY header",
    b"PROXYTCP4": "no PROXY header",
    b"proxy tcp4": "no PROXY header",
    b"\r\n\r\n\x00\r\nQUIT\r": "no PROXY header",
    b"PROXY \r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\n": "malformed",
    b"PROXY UNKNOWN\n": "malformed",
    b"PROXY UNKNOWN a\rb\r\n": "malformed",
    b"PROXY UNKNOWNS\r\n": "malformed",
    b"PROXY TCP5 192.0.2.7 192.0.2.8 1 2\r\n": "malformed",
    b"PROXY UDP4 192.0.2.7 192.0.2.8 1 2\r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1\r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2 \r\n": "malformed",
    b"PROXY TCP4  192.0.2.7 192.0.2.8 1 2\r\n": "malformed",
    b"PROXY TCP4\t192.0.2.7 192.0.2.8 1 2\r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 01 2\r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 -1 2\r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1 +2\r\n": "malformed",
    b"PROXY TCP4 evil 192.0.2.8 1 2\r\n": "malformed",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n": "malformed",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 1 65536\r\n": "bad port",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 99999 1\r\n": "bad port",
    b"PROXY TCP4 192.0.2.256 192.0.2.8 1 2\r\n": "bad address",
    b"PROXY TCP4 192.0.2.07 192.0.2.8 1 2\r\n": "bad address",
    b"PROXY TCP4 ::1 ::1 1 2\r\n": "bad address",
    b"PROXY TCP6 192.0.2.7 192.0.2.8 1 2\r\n": "bad address",
    b"PROXY TCP6 ::1 192.0.2.8 1 2\r\n": "bad address",
    b"PROXY UNKNOWN " + b"a" * (MOST_LINE - 14): "too long",
    b"PROXY UNKNOWN " + b"a" * (MOST_LINE - 15) + b"\r\n": "too long",
    second(0x11, 0x11, V4): "unknown command",
    second(0x31, 0x11, V4): "unknown command",
    second(0x22, 0x11, V4): "unknown command",
    second(0x21, 0x41, V4): "unknown command or family",
    second(0x21, 0x13, V4): "unknown command or family",
    second(0x21, 0x11, V4[:11]): "without room",
    second(0x21, 0x21, V4): "without room",
    second(0x21, 0x11, V4 + b"\x01"): "cut TLV",
    second(0x21, 0x11, V4 + b"\x01\x00\x03h2"): "cut TLV",
    second(0x21, 0x11, V4 + tlv(3, bytes(4))): "checksum",
    second(0x21, 0x11, V4 + tlv(3, bytes(3))): "checksum",
    checked(V4)[:-1] + b"\x00": "checksum",
    checked(checked(V4)[16:]): "checksum",
    SIGNATURE + b"\x21\x11" + pack(">H", MOST_LENGTH + 1): "of 4097 bytes",
    SIGNATURE + b"\x20\x00\xff\xff": "of 65535 bytes",
}


def outcome(data: bytes) -> Proxied | str | None:
    try:
        return read_proxy_header(data)
    except PeerError:
        return "refused"


@pytest.mark.parametrize("data", READ)
def test_a_header_is_read_and_nothing_behind_it(data: bytes) -> None:
    wanted = READ[data]
    assert read_proxy_header(data) == wanted
    assert wanted.size == len(data)
    for after in (b"GET / HTTP/1.1\r\n", b"\n", b"\x00", data):
        assert read_proxy_header(data + after) == wanted


@pytest.mark.parametrize("data", READ)
def test_each_beginning_of_a_header_needs_more_bytes(data: bytes) -> None:
    assert [cut for cut in range(len(data)) if read_proxy_header(data[:cut]) is not None] == []


@pytest.mark.parametrize("data", REFUSED)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError, match=REFUSED[data]) as caught:
        read_proxy_header(data)
    assert caught.value.where == "proxy_protocol"


def test_the_cases_are_really_there() -> None:
    assert (len(READ), len(REFUSED)) == (28, 45)


def test_the_checksum_is_castagnolis() -> None:
    # RFC 3720, appendix B.4: 32 bytes of zeros, of ones, and counting up.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


STARTS = st.sampled_from(
    [b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", SIGNATURE, SIGNATURE + b"\x21\x11\x00"]
)
TAILS = st.binary(max_size=150) | st.text("PROXYTCP46 .:0123456789abcdef\r\n", max_size=150).map(str.encode)


@given(st.builds(bytes.__add__, STARTS, TAILS) | st.sampled_from(list(READ)), st.data())
def test_a_beginning_needs_more_or_gives_the_same(data: bytes, draw: st.DataObject) -> None:
    whole, part = outcome(data), outcome(data[: draw.draw(st.integers(0, len(data)))])
    assert part is None or part == whole
    if isinstance(whole, Proxied):
        assert 15 <= whole.size <= len(data)
        assert not whole.client or canonical(whole.client) == whole.client


@given(st.sampled_from(list(READ)), st.integers(0, 5000), st.binary(min_size=1, max_size=4))
def test_a_damaged_header_raises_nothing_but_peer_error(data: bytes, at: int, damage: bytes) -> None:
    at %= len(data)
    result = outcome(data[:at] + damage + data[at + len(damage) :])
    assert result is None or result == "refused" or isinstance(result, Proxied)


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535))
def test_both_versions_say_the_same(client: object, server: object, port: int, other: int) -> None:
    pair = (client, server)
    if len({a.version for a in pair}) == 2:  # type: ignore[attr-defined]
        return
    four = pair[0].version == 4  # type: ignore[attr-defined]
    line = f"PROXY TCP{'4' if four else '6'} {client} {server} {port} {other}\r\n".encode()
    block = client.packed + server.packed + pack(">HH", port, other)  # type: ignore[attr-defined]
    one, two = read_proxy_header(line), read_proxy_header(second(0x21, 0x11 if four else 0x21, block))
    assert one is not None and two is not None
    assert (one.client, one.client_port) == (two.client, two.client_port) == (canonical(str(client)), port)
    assert (one.server, one.server_port) == (two.server, two.server_port) == (canonical(str(server)), other)
