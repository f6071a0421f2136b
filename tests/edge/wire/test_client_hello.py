import ssl
from struct import pack

import pytest
from edge.wire.hellos import alpn, message, numbers, of_openssl, records, server_name
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.wire.client_hello import (
    MOST_BYTES,
    MOST_HANDSHAKE,
    MOST_RECORDS,
    ClientHello,
    read_client_hello,
)
from deepmoat.kit.errors import PeerError

SIGNATURES = (13, numbers((0x0403, 0x0804)))
VERSIONS = (43, numbers((0x0A0A, 0x0304, 0x0303), 1))
FULL = message(
    (0x1A1A, 0x1301, 0xC02F),
    [
        (0x2A2A, b""),
        server_name(b"Api.Example.org"),
        VERSIONS,
        alpn(b"h2", b"http/1.1"),
        SIGNATURES,
        (21, bytes(9)),
    ],
    session=bytes(32),
)
READ = ClientHello(
    0x0303,
    "api.example.org",
    (b"h2", b"http/1.1"),
    (0x1A1A, 0x1301, 0xC02F),
    (0x2A2A, 0, 43, 16, 13, 21),
    (0x0403, 0x0804),
    (0x0A0A, 0x0304, 0x0303),
)


BARE = message(extensions=None)[4:]


def size(number: int) -> bytes:
    return number.to_bytes(3, "big")


REFUSED: dict[str, tuple[bytes, str]] = {
    "plain HTTP": (b"G", "not a TLS handshake"),
    "plain HTTP/2": (b"PRI * HTTP/2.0", "not a TLS handshake"),
    "an alert": (b"\x15\x03\x01\x00\x02\x02\x28", "not a TLS handshake"),
    "SSL 2.0": (b"\x80\x2e\x01\x00\x02", "not a TLS handshake"),
    "an unknown major version": (b"\x16\x04", "not a TLS handshake"),
    "an empty record": (b"\x16\x03\x01\x00\x00", "record of 0 bytes"),
    "a record above 16 KiB": (b"\x16\x03\x01\x40\x01", "record of 16385 bytes"),
    "a ServerHello": (records(b"\x02" + FULL[1:]), "message 2 where"),
    "a hello above 16 KiB": (records(b"\x01" + size(MOST_HANDSHAKE - 3) + bytes(16_000)), "of 16385 bytes"),
    "a hello of 16 MB": (records(b"\x01\xff\xff\xff" + bytes(100)), "of 16777219 bytes"),
    "no body": (records(b"\x01\x00\x00\x00"), "cut short"),
    "a body cut after the random bytes": (records(b"\x01" + size(34) + FULL[4:38]), "cut short"),
    "a body cut in the ciphers": (records(b"\x01" + size(70) + FULL[4:74]), "cut short"),
    "bytes after the hello in its record": (records(FULL + b"\x00"), "bytes after"),
    "too much in a second record": (records(FULL[:50]) + records(FULL[50:] + b"\x00")[:5], "badly cut"),
    "too many records": (records(message(range(100)), 3), "badly cut"),
    "a session id of 33 bytes": (records(message(session=bytes(33))), "a bad length"),
    "no cipher": (records(message(())), "a bad length"),
    "half a cipher": (
        records(b"\x01" + size(42) + FULL[4:38] + b"\x00\x00\x03\x13\x01\x13\x01\x00"),
        "a bad length",
    ),
    "no compression method": (
        records(b"\x01" + size(40) + FULL[4:38] + b"\x00\x00\x02\x13\x01\x00"),
        "a bad length",
    ),
    "an extension twice": (records(message(extensions=[(10, b""), (11, b""), (10, b"")])), "twice"),
    "an extension longer than its block": (
        records(b"\x01" + size(47) + BARE + b"\x00\x04\x00\x0a\x00\x01"),
        "extension with a bad length",
    ),
    "one byte of extensions": (records(b"\x01" + size(42) + BARE + b"\x00"), "extensions with a bad length"),
    "a block shorter than it says": (
        records(b"\x01" + size(43) + BARE + b"\x00\x04"),
        "extensions with a bad length",
    ),
}


def outcome(data: bytes) -> ClientHello | str | None:
    try:
        return read_client_hello(data)
    except PeerError:
        return "refused"


def test_every_field_is_read_and_the_name_is_in_lower_case() -> None:
    assert read_client_hello(records(FULL)) == READ


@pytest.mark.parametrize("fragment", [3, 4, 5, 7, 16, 100, 16_384])
def test_a_hello_may_come_in_many_records(fragment: int) -> None:
    data = records(FULL, fragment)
    assert outcome(data) == (READ if len(FULL) <= fragment * MOST_RECORDS else "refused")


@pytest.mark.parametrize("fragment", [4, 50, 16_384])
def test_each_beginning_of_a_hello_needs_more_bytes(fragment: int) -> None:
    data = records(FULL, fragment)
    assert [cut for cut in range(len(data)) if read_client_hello(data[:cut]) is not None] == []


def test_what_follows_the_hello_in_its_own_records_is_not_looked_at() -> None:
    early = b"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x10" + bytes(16)
    assert read_client_hello(records(FULL) + early) == READ


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_client_hello_is_refused(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(PeerError, match=reason) as caught:
        read_client_hello(data)
    assert caught.value.where == "tls"


def test_the_cases_are_really_there() -> None:
    assert len(REFUSED) == 24


def test_a_hello_of_before_extensions_is_read() -> None:
    hello = read_client_hello(records(message((0x0005, 0x000A), None, version=0x0301)))
    assert hello == ClientHello(0x0301, "", (), (5, 10), (), (), ())


@pytest.mark.parametrize(
    "inside",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\x05\x00\x00\x09ab",
        b"\x00\x05\x01\x00\x02ab",
        b"\x00\x06\x00\x00\x03a\x00b",
    ],
)
def test_a_server_name_that_is_none_reads_as_none_but_counts_as_an_extension(inside: bytes) -> None:
    hello = read_client_hello(records(message(extensions=[(0, inside)])))
    assert hello is not None
    assert (hello.server_name, hello.extensions) == ("", (0,))


@pytest.mark.parametrize("kind", [13, 16, 43])
@pytest.mark.parametrize(
    "inside", [b"", b"\x00", b"\x00\x09", b"\x00\x03ab", b"\x00\x03\x00\x01q", b"\x03\x03\x04\x03"]
)
def test_a_malformed_inside_reads_as_empty(kind: int, inside: bytes) -> None:
    hello = read_client_hello(records(message(extensions=[(kind, inside)])))
    assert hello is not None
    assert (hello.alpn, hello.signature_algorithms, hello.supported_versions) == ((), (), ())


def test_the_largest_hello_is_read_from_the_most_records() -> None:
    room = MOST_HANDSHAKE - len(message(extensions=[(21, b"")]))
    whole = message(extensions=[(21, bytes(room))])
    assert len(whole) == MOST_HANDSHAKE
    data = records(whole, MOST_HANDSHAKE // MOST_RECORDS)
    assert len(data) == MOST_BYTES == 16_704
    hello = read_client_hello(data)
    assert hello is not None
    assert hello.extensions == (21,)


@pytest.mark.parametrize("protocols", [[], ["h2"], ["h2", "http/1.1"], ["http/1.1"]])
@pytest.mark.parametrize("name", [None, "api.example.org", "API.example.ORG"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_openssl_was_told_is_read_from_what_it_sends(
    protocols: list[str], name: str | None, newest: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, newest
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384")
    if protocols:
        context.set_alpn_protocols(protocols)
    hello = read_client_hello(of_openssl(context, name))
    assert hello is not None
    assert hello.version == 0x0303
    assert hello.alpn == tuple(p.encode() for p in protocols)
    assert hello.server_name == (name or "").lower()
    assert (0 in hello.extensions) == (name is not None)
    assert {0xC02B, 0xC030} <= set(hello.ciphers)
    assert (0x1301 in hello.ciphers) == (newest is ssl.TLSVersion.TLSv1_3)
    assert hello.supported_versions == ((0x0304, 0x0303) if newest is ssl.TLSVersion.TLSv1_3 else ())


@pytest.mark.parametrize("fragment", [1, 2, 200, 255, 256, 300, 16_384])
def test_with_enough_bytes_it_is_always_decided(fragment: int) -> None:
    data = records(b"\x01" + size(MOST_HANDSHAKE - 4) + bytes(MOST_HANDSHAKE - 4), fragment)
    assert outcome((data + bytes(MOST_BYTES))[:MOST_BYTES]) is not None


LIST = st.lists(st.integers(0, 0xFFFF), max_size=40)
HELLO = st.builds(
    lambda ciphers, kinds, insides, session: message(
        ciphers, list(zip(dict.fromkeys(kinds), insides, strict=False)), session=session
    ),
    LIST.filter(bool),
    st.lists(st.sampled_from([0, 13, 16, 43, 10, 0x2A2A, 0xFF01]) | st.integers(0, 0xFFFF), max_size=12),
    st.lists(st.binary(max_size=30), min_size=12, max_size=12),
    st.binary(max_size=32),
)


@given(st.binary(max_size=120) | st.builds(lambda m, f: records(m, f), HELLO, st.integers(1, 400)), st.data())
def test_a_beginning_needs_more_or_gives_the_same(data: bytes, draw: st.DataObject) -> None:
    whole, part = outcome(data), outcome(data[: draw.draw(st.integers(0, len(data)))])
    assert part is None or part == whole


@given(HELLO, st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_a_damaged_hello_raises_nothing_but_peer_error(hello: bytes, at: int, damage: bytes) -> None:
    at %= len(hello)
    damaged = hello[:at] + damage + hello[at + len(damage) :]
    result = outcome(records(damaged))
    if isinstance(result, ClientHello):
        assert len(set(result.extensions)) == len(result.extensions)
        assert result.ciphers


@given(LIST.filter(bool), st.binary(max_size=32))
def test_ciphers_come_back_in_their_order(ciphers: list[int], session: bytes) -> None:
    hello = read_client_hello(records(message(ciphers, session=session)))
    assert hello is not None
    assert hello.ciphers == tuple(ciphers)


@given(st.binary(min_size=1, max_size=40))
def test_random_records_raise_nothing_but_peer_error(body: bytes) -> None:
    assert outcome(b"\x16\x03\x01" + pack(">H", len(body)) + body) in (None, "refused")
