"""Keyed hash of an API key or a session: the same sixteen letters in every log, and never the key itself.

The secret can be changed: what is written from then on has hashes under the newest, and as long as older
secrets are kept, an order or a budget on an older hash is still found.
"""

import hmac
from collections.abc import Callable, Sequence
from functools import lru_cache

_SCHEMES = (b"bearer", b"basic", b"token")
_SESSION = b"session\0"
_MOST_REMEMBERED = 8192


class Hasher:
    """From a header's value to 16 hex digits of HMAC-SHA256 under the newest secret; "" has none."""

    __slots__ = ("_hash", "_hashes", "many")

    def __init__(self, secrets: Sequence[bytes], plain: Callable[[bytes], bytes]) -> None:
        """``secrets``, the newest first; ``plain`` takes from a value what is hashed of it."""
        if not secrets:
            raise ValueError("no secret to hash with")
        newest = secrets[0]

        @lru_cache(_MOST_REMEMBERED)
        def hash_one(value: bytes) -> str:
            return _digest(newest, plain(value))

        @lru_cache(_MOST_REMEMBERED)
        def hash_all(value: bytes) -> tuple[str, ...]:
            text = plain(value)
            return tuple(_digest(secret, text) for secret in secrets) if text else ()

        self._hash, self._hashes = hash_one, hash_all
        self.many = len(secrets) > 1

    def __call__(self, value: bytes) -> str:
        """The hash that is written down."""
        return self._hash(value)

    def hashes(self, value: bytes) -> tuple[str, ...]:
        """The hash under each secret that is kept, the newest first; () for an empty value."""
        return self._hashes(value)


def key_hasher(secrets: bytes | Sequence[bytes]) -> Hasher:
    """A hasher of API keys under ``secrets``, the newest first.

    The scheme before the key is left out, so that one key is one hash in any header.

    >>> hash_key = key_hasher([b"new", b"old"])
    >>> hash_key(b"Bearer sk-1") == hash_key(b"sk-1"), len(hash_key.hashes(b"sk-1"))
    (True, 2)
    """
    return Hasher(_several(secrets), _key)


def session_hasher(secrets: bytes | Sequence[bytes]) -> Hasher:
    """A hasher of sessions, from a cookie or a header; the same text as a key has another hash."""
    return Hasher(_several(secrets), _session)


def _several(secrets: bytes | Sequence[bytes]) -> tuple[bytes, ...]:
    return (secrets,) if isinstance(secrets, bytes) else tuple(secrets)


def _key(value: bytes) -> bytes:
    value = value.strip()
    scheme, _, key = value.partition(b" ")
    return key.strip() if scheme.lower() in _SCHEMES else value


def _session(value: bytes) -> bytes:
    value = value.strip()
    return _SESSION + value if value else b""


def _digest(secret: bytes, text: bytes) -> str:
    return hmac.digest(secret, text, "sha256").hex()[:16] if text else ""
