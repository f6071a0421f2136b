import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from edge.wire.hellos import Extension, alpn, message, numbers, of_openssl, records, server_name
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.wire import ja4 as module
from deepmoat.edge.wire.client_hello import ClientHello, read_client_hello
from deepmoat.edge.wire.ja4 import GREASE, ja4, ja4_raw

CORPUS = Path(__file__).parent / "corpus"
PUBLISHED: list[dict[str, str]] = json.loads((CORPUS / "ja4.json").read_text())
CAPTURED = [line.split() for line in (CORPUS / "client_hellos.txt").read_text().splitlines()]
VERSIONS = {"13": 0x0304, "12": 0x0303, "11": 0x0302, "10": 0x0301}
PROTOCOLS = {"h2": (b"h2", b"http/1.1"), "h1": (b"http/1.1",), "00": ()}
PLAIN = ClientHello(0x0303, "", (), (0x1301,), (), (), ())


def listed(text: str) -> list[int]:
    return [int(number, 16) for number in text.split(",")] if text else []


def sent(entry: dict[str, str], grease: int = 0) -> bytes:
    """The records of a client with this fingerprint, with a GREASE value everywhere when there is one."""
    head = entry["ja4"]
    extra = [grease] if grease else []
    version = VERSIONS[head[1:3]]
    inside = {
        0: server_name(b"example.org"),
        13: (13, numbers(listed(entry["signatures"]) + extra)),
        16: alpn(*PROTOCOLS[head[8:10]]),
        43: (43, numbers([*extra, version, 0x0303], 1)),
    }
    kinds: list[Extension] = [inside.get(kind, (kind, b"")) for kind in listed(entry["sent_extensions"])]
    kinds += [(grease, b"\x00")] * len(extra)
    ciphers = extra + listed(entry["sent_ciphers"])
    return records(message(ciphers, kinds, version=min(version, 0x0303)))


def read(data: bytes) -> ClientHello:
    hello = read_client_hello(data)
    assert hello is not None
    return hello


@pytest.mark.parametrize("entry", PUBLISHED, ids=[e["source"] for e in PUBLISHED])
@pytest.mark.parametrize("grease", [0, 0x0A0A, 0xFAFA])
def test_published_fingerprints_come_out(entry: dict[str, str], grease: int) -> None:
    hello = read(sent(entry, grease))
    assert ja4(hello) == entry["ja4"]
    assert ja4_raw(hello) == entry["ja4_r"]


@pytest.mark.parametrize(("fingerprint", "captured"), CAPTURED)
def test_captured_hellos_have_their_published_fingerprints(fingerprint: str, captured: str) -> None:
    assert ja4(read(records(bytes.fromhex(captured)))) == fingerprint


def test_the_vectors_are_really_there_and_cover_what_they_should() -> None:
    assert (len(PUBLISHED), len(CAPTURED)) == (22, 2)
    assert {e["ja4"][1:3] for e in PUBLISHED} == {"10", "12", "13"}
    assert {e["ja4"][3] for e in PUBLISHED} == {"d", "i"}
    assert {e["ja4"][8:10] for e in PUBLISHED} == {"00", "h1", "h2"}
    assert len({e["ja4"] for e in PUBLISHED}) == 15


# From here on: examples of technical_details/JA4.md, cases of s2n-tls' s2n_fingerprint_ja4_test.c.


@pytest.mark.parametrize(
    ("protocol", "written"),
    [
        (b"h2", "h2"),
        (b"http/1.1", "h1"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"\x30\xab", "3b"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
        (b"x", "xx"),
        (b"", "00"),
        (b"h2-", "6d"),
        (b"\x7fa", "71"),
    ],
)
def test_the_first_protocol_is_written_in_two_characters(protocol: bytes, written: str) -> None:
    hello = ClientHello(0x0303, "", (protocol, b"h2"), (0x1301,), (16,), (), ())
    assert ja4(hello)[:10] == f"t12i0101{written}"


@pytest.mark.parametrize(
    ("many", "written"), [(6, "06"), (12, "12"), (50, "50"), (99, "99"), (100, "99"), (255, "99")]
)
def test_counts_stop_at_99(many: int, written: str) -> None:
    values = tuple(range(0x4000, 0x4000 + many))
    assert ja4(ClientHello(0x0303, "", (), values, (), (), ()))[4:6] == written
    assert ja4(ClientHello(0x0303, "", (), (1,), values, (), ()))[6:8] == written


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0x0304, "13"),
        (0x0303, "12"),
        (0x0302, "11"),
        (0x0301, "10"),
        (0x0300, "s3"),
        (0x0002, "s2"),
        (0xFEFF, "d1"),
        (0xFEFD, "d2"),
        (0xFEFC, "d3"),
        (0x0305, "00"),
        (0, "00"),
    ],
)
def test_the_version_is_the_highest_supported_else_the_legacy_one(number: int, written: str) -> None:
    assert ja4(ClientHello(number, "", (), (1,), (), (), ()))[1:3] == written
    assert ja4(ClientHello(0, "", (), (1,), (43,), (), (0x0A0A, number, 0xFAFA)))[1:3] == written


def test_lists_are_sorted_but_signature_algorithms_are_not() -> None:
    ciphers = (0x0A00, 0x000B, 0x0003, 0x0001, 0x0200, 0x0B00, 0x0100, 0x000A, 0x0C00, 0x000C, 0x0300, 0x0002)
    hello = ClientHello(0x0303, "", (), ciphers, (0xFF01, 13, 10), (0x0804, 0x0403), ())
    assert ja4_raw(hello) == (
        "t12i120300_0001,0002,0003,000a,000b,000c,0100,0200,0300,0a00,0b00,0c00_000a,000d,ff01_0804,0403"
    )


def test_without_signature_algorithms_the_list_ends_without_an_underscore() -> None:
    extensions = listed("001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015")
    hello = ClientHello(0x0303, "", (), (0x1301,), tuple(extensions), (), ())
    assert ja4(hello).endswith("_6d807ffa2a79")
    assert ja4_raw(hello).endswith("_0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01")


def test_nothing_is_written_as_zeros() -> None:
    assert (
        ja4(ClientHello(0x0303, "", (), (0x0A0A,), (0, 16, 0x2A2A), (), ()))
        == "t12d000200_000000000000_000000000000"
    )


@pytest.mark.parametrize("transport", ["t", "q", "d"])
def test_the_transport_comes_first(transport: str) -> None:
    assert ja4(PLAIN, transport)[0] == ja4_raw(PLAIN, transport)[0] == transport


def test_signaling_ciphers_count() -> None:
    assert ja4(ClientHello(0x0303, "", (), (0x00FF, 0x5600, 0xFE00), (), (), ()))[4:6] == "03"


# What clients do.


@pytest.mark.parametrize("name", [None, "example.org"])
@pytest.mark.parametrize(
    ("protocols", "written"), [([], "00"), (["h2", "http/1.1"], "h2"), (["http/1.1"], "h1")]
)
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_readable_part_agrees_with_what_openssl_was_told(
    name: str | None, protocols: list[str], written: str, newest: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = newest
    if protocols:
        context.set_alpn_protocols(protocols)
    hello = read(of_openssl(context, name))
    first = ja4(hello).split("_")[0]
    version = "13" if newest is ssl.TLSVersion.TLSv1_3 else "12"
    where = "d" if name else "i"
    assert first == f"t{version}{where}{len(hello.ciphers):02}{len(hello.extensions):02}{written}"
    named, nameless = read(of_openssl(context, "example.org")), read(of_openssl(context, None))
    assert ja4(named).split("_")[1] == ja4(nameless).split("_")[1]


NUMBER = st.integers(0, 0xFFFF)
HELLOS = st.builds(
    ClientHello,
    NUMBER,
    st.just(""),
    st.lists(st.binary(max_size=12), max_size=3).map(tuple),
    st.lists(NUMBER, max_size=130).map(tuple),
    st.lists(st.sampled_from([0, 13, 16, 43]) | NUMBER, max_size=130, unique=True).map(tuple),
    st.lists(NUMBER, max_size=20).map(tuple),
    st.lists(NUMBER, max_size=5).map(tuple),
)


@given(HELLOS, st.randoms(use_true_random=False), st.sampled_from(sorted(GREASE)))
def test_neither_order_nor_grease_changes_a_fingerprint(hello: ClientHello, random: Any, grease: int) -> None:
    ciphers, extensions = [*hello.ciphers, grease], [e for e in hello.extensions if e != grease] + [grease]
    random.shuffle(ciphers)
    random.shuffle(extensions)
    other = ClientHello(
        hello.version,
        "",
        hello.alpn,
        tuple(ciphers),
        tuple(extensions),
        (grease, *hello.signature_algorithms),
        (*hello.supported_versions, grease),
    )
    assert ja4(other) == ja4(hello)
    assert ja4_raw(other) == ja4_raw(hello)


@given(HELLOS)
def test_a_fingerprint_has_one_form(hello: ClientHello) -> None:
    first, ciphers, extensions = ja4(hello).split("_")
    assert len(first) == 10
    assert first.isalnum() and first.isascii()
    assert all(len(part) == 12 and int(part, 16) >= 0 for part in (ciphers, extensions))


def test_a_stranger_cannot_fill_the_memory() -> None:
    module._known_digest.cache_clear()
    for seed in range(50):
        values = tuple(range(seed, seed + 200))
        ja4(ClientHello(0x0303, "", (), values, values, (), ()))
    assert module._known_digest.cache_info().currsize == 0
