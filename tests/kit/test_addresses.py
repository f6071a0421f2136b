from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.kit.addresses import Networks, canonical
from deepmoat.kit.errors import ConfigError


@given(st.ip_addresses())
def test_every_address_has_one_spelling(address: object) -> None:
    text = canonical(str(address))
    assert text is not None and canonical(text) == text


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_the_same_client(address: object) -> None:
    assert canonical(f"::ffff:{address}") == str(address)
    assert f"::ffff:{address}" in Networks([f"{address}/32"])


def test_an_address_with_a_zone_is_none() -> None:
    assert canonical("fe80::1%eth0") is None


@given(st.text())
def test_any_other_text_is_no_address(text: str) -> None:
    try:
        ip_address(text)
    except ValueError:
        assert canonical(text) is None
        assert text not in Networks(["0.0.0.0/0", "::/0"])


def test_a_wrong_network_is_named() -> None:
    with pytest.raises(ConfigError, match="edge.trusted_forwarders.*hint"):
        Networks(["10.0.0.0/33"], where="edge.trusted_forwarders")
