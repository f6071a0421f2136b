"""Country of an address: iptocc's data as one ClickHouse dictionary, ``moat.countries``.

iptocc answers one address at a time and has no list of ranges. So it is asked once per version of its
data: for every /24 of IPv4 that registries hand out and every /32 of their IPv6 blocks, where neighbours
with one answer become one range. The ranges are kept as a file named by the version; a database that has
that version already is left alone.

For IPv4 that is exact but for a handful of addresses (one of 200,000 sampled). For IPv6 a /32 stands for all
inside it, which is how registries allocate; where they hand out /48s to end users (``FINE``) those are asked
for too. An address nobody was given may get its neighbours' country.
"""

import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network, summarize_address_range
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from deepmoat.collect.enrich.redact import literal
from deepmoat.kit.files import write_atomically

Lookup = Callable[[list[str]], list[str | None]]

# First octets never seen as a client's on the internet: this network, private, loopback, multicast, reserved.
_NEVER = {0, 10, 127, *range(224, 256)}
IPV4 = tuple(f"{octet}.0.0.0/8" for octet in range(256) if octet not in _NEVER)
# What IANA gave to the registries: https://www.iana.org/assignments/ipv6-unicast-address-assignments
IPV6 = (
    *("2001::/16", "2003::/18", "2400::/12", "2410::/12", "2600::/12", "2610::/23", "2620::/23", "2630::/12"),
    *("2800::/12", "2a00::/12", "2a10::/12", "2c00::/12"),
)
BLOCKS = (*IPV4, *IPV6)
# Where neighbours in one /32 may be in different countries.
FINE = (IPv6Network("2001::/16"), IPv6Network("2801::/24"))
_STEP = {4: 8, 6: 96}  # host bits of one question: /24 and /32
_FINE_STEP, _PROBES = 80, 32  # /48, asked for where 32 addresses of a /32 do not agree

_CREATE = (
    "CREATE TABLE IF NOT EXISTS country_ranges (prefix String, code LowCardinality(String), version String) "
    "ENGINE = MergeTree ORDER BY prefix",
    "CREATE DICTIONARY IF NOT EXISTS countries (prefix String, code String DEFAULT '') PRIMARY KEY prefix "
    "SOURCE(CLICKHOUSE(DB 'moat' TABLE 'country_ranges')) LAYOUT(IP_TRIE) LIFETIME(0)",
)


class Commands(Protocol):
    """The part of ``store.logs.Database`` used here."""

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> object:
        """Run one statement."""

    def scalar(self, sql: str) -> int:
        """The one number a query gives."""


def install(database: Commands, folder: Path, *, blocks: Iterable[str] = BLOCKS) -> bool:
    """Make ``moat.countries`` answer with the installed iptocc's data; True when it had to be loaded.

    ``folder`` keeps the file of ranges; making it takes about ten seconds, once per version. A second call
    with the same version does nothing.
    """
    name = version("iptocc")
    for statement in _CREATE:
        database.command(statement)
    if database.scalar(f"SELECT count() FROM country_ranges WHERE version = '{_word(name)}'"):  # noqa: S608
        return False
    path = cached(folder, name, blocks)
    database.command("TRUNCATE TABLE country_ranges")
    place = f"file({literal(str(path))}, 'TSV', 'prefix String, code String')"
    database.command(f"INSERT INTO country_ranges SELECT prefix, code, '{_word(name)}' FROM {place}")  # noqa: S608
    database.command("SYSTEM RELOAD DICTIONARY countries")
    return True


def cached(folder: Path, name: str, blocks: Iterable[str] = BLOCKS) -> Path:
    """The file of ranges of iptocc's version ``name`` in ``folder``, made when it is not there yet."""
    import iptocc  # noqa: PLC0415  (seconds of work follow; the import belongs to them)

    path = folder / f"countries-{_word(name)}.tsv.gz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = (f"{prefix}\t{code}\n" for prefix, code in prefixes(blocks, iptocc.country_code))
        write_atomically(path, gzip.compress("".join(lines).encode(), 6, mtime=0))
    return path


def prefixes(blocks: Iterable[str], lookup: Lookup) -> Iterator[tuple[str, str]]:
    """(prefix, country) of every known range in ``blocks``, by ``lookup`` of many addresses at once.

    >>> list(prefixes(["192.0.2.0/23"], lambda addresses: ["ZZ"] * len(addresses)))
    [('192.0.2.0/23', 'ZZ')]
    """
    for block in blocks:
        network = ip_network(block)
        yield from _ranges(network, 1 << _STEP[network.version], lookup)
        if isinstance(network, IPv6Network) and any(network.subnet_of(fine) for fine in FINE):
            for mixed in _mixed(network, lookup):
                yield from _ranges(mixed, 1 << _FINE_STEP, lookup)


def _ranges(network: IPv4Network | IPv6Network, step: int, lookup: Lookup) -> Iterator[tuple[str, str]]:
    starts = range(int(network.network_address), int(network.broadcast_address) + 1, step)
    found = lookup(_texts4(starts) if network.version == 4 else _texts6(starts))
    for code, places in groupby(range(len(starts)), found.__getitem__):
        run = list(places)
        if code:
            yield from _cidrs(starts[run[0]], starts[run[-1]] + step - 1, network.version, code)


def _mixed(network: IPv6Network, lookup: Lookup) -> Iterator[IPv6Network]:
    """The /32s of ``network`` whose probes disagree."""
    probes = range(int(network[0]), int(network[-1]) + 1, (1 << _STEP[6]) // _PROBES)
    found = lookup(_texts6(probes))
    for place in range(0, len(found), _PROBES):
        if len(set(found[place : place + _PROBES])) > 1:
            yield IPv6Network((probes[place], 128 - _STEP[6]))


def _texts6(starts: range) -> list[str]:
    return [f"{n >> 112:x}:{n >> 96 & 65535:x}:{n >> 80 & 65535:x}::1" for n in starts]


def _texts4(starts: range) -> list[str]:
    tails = [f"{n}.1" for n in range(256)]
    heads = (f"{start >> 24}.{start >> 16 & 255}." for start in starts[::256])
    return [head + tail for head in heads for tail in tails][: len(starts)]


def _cidrs(first: int, last: int, family: int, code: str) -> Iterator[tuple[str, str]]:
    kind = IPv4Address if family == 4 else IPv6Address
    for network in summarize_address_range(kind(first), kind(last)):
        yield str(network), code


def _word(text: str) -> str:
    """A version as it may stand in a file name and a statement."""
    return "".join(c for c in text if c.isalnum() or c in ".-+")
