"""The dictionary answers as iptocc does, and is made once per version of its data."""

import random
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import iptocc
import pytest

from deepmoat.collect.enrich import country
from deepmoat.store.logs.database import Database

BLOCKS = ("1.0.0.0/8", "83.0.0.0/8", "2a00::/18", "2400::/20", "2001:678::/29")


def sampled(count: int) -> list[str]:
    """Random addresses in the blocks: the same ones every time."""
    dice = random.Random(11)
    networks = [ip_network(block) for block in BLOCKS]
    kind: dict[int, Callable[[int], IPv4Address | IPv6Address]] = {4: IPv4Address, 6: IPv6Address}
    chosen = [dice.choice(networks) for _ in range(count)]
    return [str(kind[n.version](int(n[0]) + dice.randrange(n.num_addresses))) for n in chosen]


@pytest.fixture(scope="module")
def installed(engine: Database, tmp_path_factory: pytest.TempPathFactory) -> Database:
    engine.command("DROP DICTIONARY IF EXISTS countries")
    engine.command("DROP TABLE IF EXISTS country_ranges")
    assert country.install(engine, tmp_path_factory.mktemp("ranges"), blocks=BLOCKS)
    return engine


def test_it_answers_as_iptocc_does(installed: Database) -> None:
    asked = sampled(20_000)
    place = "dictGetOrDefault('moat.countries', 'code', tuple(toIPv6(a)), '')"
    sql = f"SELECT a, {place} FROM (SELECT arrayJoin(splitByChar(' ', {{asked:String}})) AS a)"
    found = {}
    for start in range(0, len(asked), 4000):
        found |= dict(installed.query(sql, {"asked": " ".join(asked[start : start + 4000])}).rows)
    want = dict(zip(asked, iptocc.country_code(asked), strict=True))
    wrong = [a for a in asked if (want[a] or "") != found[a]]
    assert [a for a in wrong if ip_address(a).version == 4] == []
    assert len([a for a in wrong if want[a]]) <= len(asked) / 1000
    assert len(wrong) < len(asked) / 10  # addresses nobody was given
    assert len(set(found.values())) > 20


def test_private_and_unknown_addresses_have_none(installed: Database) -> None:
    for address in ("10.0.0.1", "127.0.0.1", "192.0.2.1", "::", "::1", "fe80::1"):
        place = "dictGetOrDefault('moat.countries', 'code', tuple(toIPv6({a:String})), '')"
        assert installed.query(f"SELECT {place}", {"a": address}).rows == [("",)]


def test_a_second_install_does_nothing(installed: Database, tmp_path: Path) -> None:
    assert country.install(installed, tmp_path / "nothing", blocks=BLOCKS) is False
    assert not (tmp_path / "nothing").exists()


def test_the_file_is_made_once_per_version(tmp_path: Path) -> None:
    first = country.cached(tmp_path, "1.0", ("1.0.0.0/16",))
    stamp = first.stat().st_mtime_ns
    assert country.cached(tmp_path, "1.0", ("83.0.0.0/8",)).stat().st_mtime_ns == stamp
    assert country.cached(tmp_path, "1.1", ("1.0.0.0/16",)) != first
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_neighbours_with_one_answer_are_one_range() -> None:
    def lookup(addresses: list[str]) -> list[str | None]:
        return ["AA" if n < 6 else None if n < 8 else "BB" for n in range(len(addresses))]

    assert list(country.prefixes(["192.0.0.0/20"], lookup)) == [
        ("192.0.0.0/22", "AA"),
        ("192.0.4.0/23", "AA"),
        ("192.0.8.0/21", "BB"),
    ]
