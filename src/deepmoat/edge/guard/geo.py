"""Where a client's address is: its country and its autonomous system, looked up only when somebody asks.

Countries are the regional registries' delegations, from the package iptocc; systems come from an MMDB file of
the operator's (format: https://maxmind.github.io/MaxMind-DB/), such as GeoLite2-ASN or IPinfo's.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import iptocc
import maxminddb

from deepmoat.kit.errors import ConfigError

_REMEMBERED = 16_384
_NUMBERS = ("autonomous_system_number", "asn", "as_number")
Lookup = Callable[[str], str]
"""From an address in canonical text to a text, "" where nothing is known."""


@lru_cache(_REMEMBERED)
def country(address: str) -> str:
    """ISO 3166-1 alpha-2 code of the country ``address`` is registered in; "" for none, or no address.

    >>> country("192.0.2.1"), country("nonsense")
    ('', '')
    """
    try:
        return iptocc.country_code(address) or ""
    except ValueError:
        return ""


def asn_lookup(file: str) -> Lookup | None:
    """Reader of the MMDB ``file``: an address to its system's number, "13335"; None for "".

    Raises ConfigError when the file cannot be read.
    """
    if not file:
        return None
    try:
        reader = maxminddb.open_database(file, maxminddb.MODE_MMAP)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as exc:
        raise ConfigError(f"no MMDB file: {exc}", where="edge.geo.asn_file") from exc

    @lru_cache(_REMEMBERED)
    def asn(address: str) -> str:
        try:
            return number_of(reader.get(address))
        except (ValueError, maxminddb.InvalidDatabaseError):
            return ""

    return asn


def number_of(entry: Any) -> str:
    """The number in one entry of an MMDB file, whoever made it; "" where there is none.

    >>> number_of({"autonomous_system_number": 64496}), number_of({"asn": "AS64496"}), number_of(None)
    ('64496', '64496', '')
    """
    if not isinstance(entry, dict):
        return ""
    found = next((entry[name] for name in _NUMBERS if name in entry), "")
    text = str(found).upper().removeprefix("AS")
    return text if text.isascii() and text.isdigit() else ""
