import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.proxy.forwarders import MOST_HOPS, Forwarders
from deepmoat.kit.addresses import canonical
from deepmoat.kit.errors import ConfigError

OURS = Forwarders(("10.0.0.0/8", "2001:db8:f::/48"))
PEER = "10.0.0.1"

# X-Forwarded-For → the client behind PEER.
LISTED: dict[bytes, str] = {
    b"": PEER,
    b"192.0.2.7": "192.0.2.7",
    b"192.0.2.7, 10.0.0.2": "192.0.2.7",
    b"6.6.6.6, 192.0.2.7": "192.0.2.7",
    b"6.6.6.6,192.0.2.7,10.0.0.2,10.0.0.3": "192.0.2.7",
    b"10.0.0.9, 10.0.0.2": "10.0.0.9",
    b" 192.0.2.7\t": "192.0.2.7",
    b"192.0.2.7:4711": "192.0.2.7",
    b"[2001:db8::7]:4711": "2001:db8::7",
    b"[2001:DB8::7]": "2001:db8::7",
    b"2001:db8::7": "2001:db8::7",
    b"192.0.2.7, 2001:db8:f::1": "192.0.2.7",
    b"::ffff:192.0.2.7": "192.0.2.7",
    b"[::ffff:10.0.0.2]": "10.0.0.2",
    b"192.0.2.7, ::ffff:10.0.0.2": "192.0.2.7",
    # An entry that is no address ends the walk.
    b"192.0.2.7, unknown": PEER,
    b"192.0.2.7, unknown, 10.0.0.2": "10.0.0.2",
    b"192.0.2.7,": PEER,
    b"192.0.2.7,,10.0.0.2": "10.0.0.2",
    b"192.0.2.256": PEER,
    b"fe80::1%eth0": PEER,
    b"[fe80::1%eth0]": PEER,
    b"[2001:db8::7": PEER,
    b"[2001:db8::7]x": PEER,
    b"[192.0.2.7]]": PEER,
    b"192.0.2.7:": PEER,
    b"192.0.2.7:port": PEER,
    b"192.0.2.7 192.0.2.8": PEER,
    b"\xff\xfe": PEER,
    b"localhost": PEER,
}

# Forwarded → client and scheme.
FORWARDED: dict[bytes, tuple[str, str]] = {
    b"": (PEER, ""),
    # The examples of RFC 7239, sections 4, 6.3 and 7.1, and what they mean here.
    b'for="_gazonk"': (PEER, ""),
    b'For="[2001:db8:cafe::17]:4711"': ("2001:db8:cafe::17", ""),
    b"for=192.0.2.60;proto=http;by=203.0.113.43": ("192.0.2.60", "http"),
    b"for=192.0.2.43, for=198.51.100.17": ("198.51.100.17", ""),
    b"for=_hidden, for=_SEVKISEK": (PEER, ""),
    b'for="192.0.2.43:47011"': ("192.0.2.43", ""),
    b'for=192.0.2.43, for="[2001:db8:cafe::17]"': ("2001:db8:cafe::17", ""),
    b"for=unknown": (PEER, ""),
    b'for="unknown:4711"': (PEER, ""),
    b'for="192.0.2.43:_port"': ("192.0.2.43", ""),
    # The rightmost that is not ours.
    b"for=6.6.6.6, for=192.0.2.7;proto=https, for=10.0.0.2;proto=http": ("192.0.2.7", "https"),
    b"for=192.0.2.7;proto=https,for=10.0.0.2": ("192.0.2.7", "https"),
    b"for=6.6.6.6;proto=https, for=192.0.2.7": ("192.0.2.7", ""),
    b"for=192.0.2.7, for=unknown, for=10.0.0.2;proto=https": ("10.0.0.2", "https"),
    b"for=192.0.2.7, proto=https": (PEER, ""),
    b"for=10.0.0.9, for=10.0.0.2": ("10.0.0.9", ""),
    # Spelling.
    b"FOR=192.0.2.7;PROTO=HTTPS": ("192.0.2.7", "https"),
    b" for=192.0.2.7 ; proto=https ": ("192.0.2.7", "https"),
    b"for=192.0.2.7;": ("192.0.2.7", ""),
    b"for=[2001:db8::7];proto=https": ("2001:db8::7", "https"),
    b"for=192.0.2.7:80": ("192.0.2.7", ""),
    b'for="192\\.0.2.7"': ("192.0.2.7", ""),
    b'host="a, for=6.6.6.6";for=192.0.2.7': ("192.0.2.7", ""),
    b'for=192.0.2.7;host="a, b, c"': ("192.0.2.7", ""),
    b'for=192.0.2.7;host="a\\", for=6.6.6.6;x="': ("192.0.2.7", ""),
    b"for=192.0.2.7;proto=ws": ("192.0.2.7", ""),
    b"for=192.0.2.7;secret=a;ext=b": ("192.0.2.7", ""),
    # Malformed, at the end: nothing is believed.
    b"192.0.2.7": (PEER, ""),
    b"for=192.0.2.7, ": (PEER, ""),
    b"for=192.0.2.7;for=6.6.6.6": (PEER, ""),
    b"for=192.0.2.7 proto=https": (PEER, ""),
    b"for=192.0.2.7;proto": (PEER, ""),
    b"for =192.0.2.7": (PEER, ""),
    b'for="192.0.2.7': (PEER, ""),
    b'for=192.0.2.7"': (PEER, ""),
    b'for="192.0.2.7"x': (PEER, ""),
    b"for=": (PEER, ""),
    b"\x00for=192.0.2.7": (PEER, ""),
    b'for=192.0.2.7;host="' + b"a" * 300 + b'"': (PEER, ""),
    b'for=192.0.2.7;host="a,b,c,d,e,f"': (PEER, ""),
    # Malformed further left, where a stranger may write: what our own forwarder wrote counts.
    b'for=", for=192.0.2.7': ("192.0.2.7", ""),
    b'for="\\, for="[2001:db8::7]";proto=https': ("2001:db8::7", "https"),
    b"=;=,,\xff, for=192.0.2.7, for=10.0.0.2": ("192.0.2.7", ""),
    b'x="' + b"a" * 40_000 + b", for=192.0.2.7": ("192.0.2.7", ""),
    b"," * 40_000 + b"for=192.0.2.7": ("192.0.2.7", ""),
}

PROTO: dict[bytes, str] = {
    b"": "",
    b"https": "https",
    b"http": "http",
    b"HTTPS": "https",
    b" https ": "https",
    b"https, http": "http",
    b"http,https": "https",
    b"https,": "",
    b"wss": "",
    b"https\x00": "",
    b"x" * 40_000 + b",https": "https",
    b"," * 40_000: "",
}


@pytest.mark.parametrize("header", LISTED)
def test_the_client_is_the_rightmost_address_that_is_not_ours(header: bytes) -> None:
    assert OURS.client(PEER, header) == LISTED[header]


@pytest.mark.parametrize("header", FORWARDED)
def test_forwarded_names_client_and_scheme(header: bytes) -> None:
    client, scheme = FORWARDED[header]
    assert OURS.client(PEER, b"", header) == client
    assert OURS.scheme(b"", header) == scheme


@pytest.mark.parametrize("header", PROTO)
def test_the_last_scheme_counts(header: bytes) -> None:
    assert OURS.scheme(header) == PROTO[header]


def test_the_cases_are_really_there() -> None:
    assert (len(LISTED), len(FORWARDED), len(PROTO)) == (30, 46, 12)


def test_of_both_headers_x_forwarded_counts() -> None:
    assert OURS.client(PEER, b"192.0.2.7", b"for=6.6.6.6") == "192.0.2.7"
    assert OURS.client(PEER, b"nobody", b"for=6.6.6.6") == PEER
    assert OURS.scheme(b"http", b"for=6.6.6.6;proto=https") == "http"
    assert OURS.scheme(b"gopher", b"for=6.6.6.6;proto=https") == ""
    assert OURS.scheme(b"", b"for=6.6.6.6;proto=https", b"192.0.2.7") == ""


def test_lines_of_one_name_joined_by_a_comma_read_as_one_list() -> None:
    lines = [b"for=6.6.6.6", b'for="192.0.2.7:1";proto=https', b"for=10.0.0.2, for=10.0.0.3"]
    assert OURS.client(PEER, b"", b", ".join(lines)) == "192.0.2.7"


def test_only_so_many_hops_are_looked_at() -> None:
    hops = [f"10.0.1.{n}".encode() for n in range(MOST_HOPS)]
    assert OURS.client(PEER, b",".join([b"192.0.2.7", *hops[1:]])) == "192.0.2.7"
    assert OURS.client(PEER, b",".join([b"192.0.2.7", *hops])) == "10.0.1.0"
    elements = [b"for=" + hop for hop in hops]
    assert OURS.client(PEER, b"", b",".join([b"for=192.0.2.7", *elements[1:]])) == "192.0.2.7"
    assert OURS.client(PEER, b"", b",".join([b"for=192.0.2.7", *elements])) == "10.0.1.0"


def test_trust_is_by_network_and_bad_networks_are_the_operators_fault() -> None:
    assert OURS.trusts("10.1.2.3") and OURS.trusts("2001:db8:f::9")
    assert not OURS.trusts("192.0.2.7") and not OURS.trusts("")
    with pytest.raises(ConfigError, match="edge.trusted_forwarders"):
        Forwarders(("everyone",))


HEADERS = (
    st.binary(max_size=120)
    | st.text('for=proto,;" \\[]:.0123456789abcdefhttps_', max_size=120).map(str.encode)
    | st.lists(st.sampled_from(list(FORWARDED) + list(LISTED)), max_size=4).map(b", ".join)
)


@given(HEADERS, HEADERS, HEADERS)
def test_whatever_comes_the_client_is_an_address_and_the_scheme_one_of_three(
    listed: bytes, forwarded: bytes, proto: bytes
) -> None:
    client = OURS.client(PEER, listed, forwarded)
    assert canonical(client) == client
    assert OURS.scheme(proto, forwarded) in ("", "http", "https")


ADDRESSES = st.ip_addresses().map(str).filter(lambda text: not OURS.trusts(text)).filter(canonical)


@given(HEADERS, ADDRESSES, st.sampled_from(["http", "https"]), st.sampled_from([b",", b", "]))
def test_nothing_a_stranger_wrote_changes_what_our_forwarder_appended(
    stranger: bytes, client: str, scheme: str, comma: bytes
) -> None:
    node = f'"[{client}]:4711"' if ":" in client else client
    appended = f"for={node};proto={scheme}".encode()
    assert OURS.client(PEER, b"", stranger + comma + appended) == canonical(client)
    assert OURS.scheme(b"", stranger + comma + appended) == scheme
    assert OURS.client(PEER, stranger + comma + client.encode(), appended) == canonical(client)


@given(st.lists(ADDRESSES, min_size=1, max_size=5), st.integers(0, 4))
def test_both_headers_say_the_same(addresses: list[str], ours: int) -> None:
    hops = [*addresses, *[f"10.0.0.{n}" for n in range(ours)]]
    listed = ", ".join(hops).encode()
    forwarded = ", ".join(f'for="[{h}]"' if ":" in h else f"for={h}" for h in hops).encode()
    assert OURS.client(PEER, listed) == OURS.client(PEER, b"", forwarded) == canonical(addresses[-1])
