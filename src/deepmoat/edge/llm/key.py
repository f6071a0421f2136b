"""Keyed hash of an API key: the same key is the same sixteen letters in every log, and never itself."""

import hmac
from collections.abc import Callable
from functools import lru_cache

_SCHEMES = (b"bearer", b"basic", b"token")


def key_hasher(secret: bytes) -> Callable[[bytes], str]:
    """A function from a header's value to the first 16 hex digits of HMAC-SHA256 under ``secret``.

    The scheme before the key is left out, so that one key is one hash in any header. "" has none.
    """

    @lru_cache(8192)
    def hash_key(value: bytes) -> str:
        scheme, _, key = value.strip().partition(b" ")
        key = key.strip() if scheme.lower() in _SCHEMES else value.strip()
        return hmac.digest(secret, key, "sha256").hex()[:16] if key else ""

    return hash_key
