"""Keyed hash of an API key: the same key is the same sixteen letters in every log, and never itself."""

import hmac
from collections.abc import Callable
from functools import lru_cache

_SCHEMES = ("bearer ", "basic ", "token ")


def key_hasher(secret: bytes) -> Callable[[bytes], str]:
    """A function from a header's value to the first 16 hex digits of HMAC-SHA256 under ``secret``.

    The scheme before the key is left out, so that one key is one hash in any header. "" has none.
    """

    @lru_cache(8192)
    def hash_key(value: bytes) -> str:
        key = value.strip()
        for scheme in _SCHEMES:
            if key[: len(scheme)].lower() == scheme.encode():
                key = key[len(scheme) :].lstrip()
        return hmac.digest(secret, key, "sha256").hex()[:16] if key else ""

    return hash_key
