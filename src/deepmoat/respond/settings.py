"""``[respond]``: what deepmoat may do by itself, and what it must never touch."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

import msgspec

from deepmoat.kit.addresses import Networks, canonical
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.settings import Settings

NEVER = ("0.0.0.0/32", "::/128", "224.0.0.0/4", "ff00::/8", "255.255.255.255/32")
"""What is no client's address: unspecified (what a record without an address holds), multicast, broadcast."""

LOOPBACK = ("127.0.0.0/8", "::1/128")


class RespondSettings(Settings, frozen=True):
    """``[respond]``.

    ``automatic`` false: deepmoat only proposes, a person orders. Addresses in ``allow`` (networks or
    single addresses) are never blocked, by hand neither. ``detectors`` names those whose findings may
    block by themselves, from severity high on. A block ends ``block_minutes`` after the last sign of
    the attack. Targets that together made more than ``impact_limit`` good requests in the day before
    are left to a person. One action has at most ``maximum_targets`` targets.
    """

    automatic: bool = True
    allow: tuple[str, ...] = LOOPBACK
    block_minutes: Annotated[float, msgspec.Meta(gt=0, le=10_080)] = 10.0
    impact_limit: Annotated[int, msgspec.Meta(ge=0)] = 1_000
    maximum_targets: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    detectors: tuple[str, ...] = ("request_burst", "login_bruteforce", "scanner", "injection")

    def __post_init__(self) -> None:
        """Refuse what is no network while the file is being read."""
        try:
            Allowed(self.allow)
        except ConfigError as exc:
            raise ValueError(str(exc)) from exc

    def block(self) -> timedelta:
        """How long a block goes on after the last sign of the attack."""
        return timedelta(minutes=self.block_minutes)


class Allowed:
    """Addresses that are never acted on: ``address in allowed``, however it is spelled."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        """``networks`` besides what is no client's address; ConfigError for text that is none."""
        texts = [*map(_unmapped, networks), *NEVER]
        self._networks = Networks(texts, where="respond.allow")
        self._each = tuple(ip_network(text, strict=False) for text in texts)

    def __contains__(self, address: str) -> bool:
        return address in self._networks

    def within(self, network: IPv4Network | IPv6Network) -> str | None:
        """One of the allowed networks that shares an address with ``network``; None where none does."""
        return next(
            (str(n) for n in self._each if n.version == network.version and n.overlaps(network)), None
        )


def single(text: str) -> str | None:
    """The canonical form of one client's address; None for a network, a zone or anything else.

    >>> single("::ffff:192.0.2.1"), single("192.0.2.0/24"), single("fe80::1%eth0")
    ('192.0.2.1', None, None)
    """
    return None if "%" in text else canonical(text)


def _unmapped(text: str) -> str:
    """A network of IPv4-mapped addresses as the IPv4 network it is."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return text
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return f"{mapped}/{network.prefixlen - 96}" if mapped and network.prefixlen >= 96 else text
