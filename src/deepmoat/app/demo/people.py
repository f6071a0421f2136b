"""Who takes part in the demo. The addresses are only header text: nothing is ever sent to them.

They are real public addresses so that the countries are real; which is which means nothing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

_HONEST_NETWORKS = (
    "81.2.69",
    "90.119.24",
    "133.242.18",
    "175.45.10",
    "185.86.150",
    "2.125.160",
    "24.24.24",
    "58.96.40",
)
_ATTACK_NETWORKS = ("41.190.3", "45.5.116", "80.94.95", "103.27.238", "177.54.144")
BRUTE_ADDRESS = "196.251.80.12"
_BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Version/18.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "openai-python/2.8.1",
)


@dataclass(frozen=True)
class Person:
    """One client: the address it comes from and what it calls itself."""

    address: str
    agent: str

    def headers(self) -> dict[str, str]:
        """What its requests carry; the edge believes the address because the demo is a trusted forwarder."""
        return {"X-Forwarded-For": self.address, "User-Agent": self.agent, "Host": "chat.example"}


def honest(count: int, seed: int = 1) -> Sequence[Person]:
    """Ordinary people of several countries."""
    choose = random.Random(seed)
    networks = [_HONEST_NETWORKS[i % len(_HONEST_NETWORKS)] for i in range(count)]
    return [
        Person(f"{n}.{10 + i // len(_HONEST_NETWORKS)}", choose.choice(_BROWSERS))
        for i, n in enumerate(networks)
    ]


def attackers(count: int) -> Sequence[Person]:
    """A small botnet."""
    networks = [_ATTACK_NETWORKS[i % len(_ATTACK_NETWORKS)] for i in range(count)]
    return [
        Person(f"{n}.{20 + i // len(_ATTACK_NETWORKS)}", "python-requests/2.32")
        for i, n in enumerate(networks)
    ]
