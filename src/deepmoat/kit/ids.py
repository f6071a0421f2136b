"""Ids that sort by time: 48 bits of milliseconds and 80 random bits, as 26 characters (ULID).

Source: https://github.com/ulid/spec
"""

import secrets
from hashlib import sha256

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id(now: float) -> str:
    """A fresh id at ``now`` (seconds since 1970).

    >>> len(new_id(1.7e9)), new_id(1.7e9)[:10]
    (26, '01HF7YAT00')
    """
    return _spelled(now, secrets.randbits(80))


def stable_id(now: float, *parts: str) -> str:
    """The same for one thing at one moment, in the form of ``new_id``: whoever knows ``parts`` finds it.

    >>> stable_id(1.7e9, "a") == stable_id(1.7e9, "a") != stable_id(1.7e9, "b")
    True
    """
    digest = sha256("\0".join(parts).encode("utf-8", "replace")).digest()
    return _spelled(now, int.from_bytes(digest[:10], "big"))


def _spelled(now: float, low: int) -> str:
    number = (int(now * 1000) << 80) | low
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
