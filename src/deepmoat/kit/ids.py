"""Ids that sort by time: 48 bits of milliseconds and 80 random bits, as 26 characters (ULID).

Source: https://github.com/ulid/spec
"""

import secrets

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id(now: float) -> str:
    """A fresh id at ``now`` (seconds since 1970).

    >>> len(new_id(1.7e9)), new_id(1.7e9)[:10]
    (26, '01HF7YAT00')
    """
    number = (int(now * 1000) << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
