"""IP addresses and networks as text and as look-ups."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from deepmoat.kit.errors import ConfigError


def canonical(text: str) -> str | None:
    """One spelling for an address; IPv4-mapped IPv6 becomes IPv4. None for what is none, or has a zone.

    >>> canonical("::ffff:192.0.2.1"), canonical("2001:DB8::0:1"), canonical("no")
    ('192.0.2.1', '2001:db8::1', None)
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if "%" in text:  # a zone means something on one machine only, and no set of the kernel's takes it
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


class Networks:
    """A set of networks: ``address in networks``."""

    def __init__(self, networks: Iterable[str], *, where: str = "") -> None:
        """Raises ConfigError, naming ``where``, for text that is no network."""
        try:
            self._networks: list[IPv4Network | IPv6Network] = [ip_network(n, strict=False) for n in networks]
        except ValueError as exc:
            raise ConfigError(str(exc), where=where, hint="write 192.0.2.0/24 or 2001:db8::/32") from exc

    def __contains__(self, address: str) -> bool:
        text = canonical(address)
        if text is None:
            return False
        value = ip_address(text)
        return any(value in network for network in self._networks)
