"""Secrets: made once, shown once, stored as their SHA-256.

A secret is ``moat<kind>_<prefix>_<256 random bits>``. The prefix is public: it names the secret in
lists and finds its row, so that no search ever compares secrets byte by byte; what is left is one
comparison in constant time. A fast hash is right here: 256 random bits cannot be guessed from it.
"""

import hashlib
import hmac
import re
import secrets
from typing import Literal

import msgspec

Kind = Literal["key", "link", "session", "form"]

_SHAPE = re.compile(r"moat(key|link|session|form)_([0-9a-f]{12})_[0-9a-f]{64}")


class Secret(msgspec.Struct, frozen=True):
    """A fresh secret: ``text`` for its owner, ``prefix`` and ``hash`` (SHA-256, hex) for the store."""

    text: str
    prefix: str
    hash: str


def mint(kind: Kind) -> Secret:
    """A new secret of ``kind``."""
    prefix = secrets.token_hex(6)
    text = f"moat{kind}_{prefix}_{secrets.token_hex(32)}"
    return Secret(text, prefix, digest(text))


def prefix_of(kind: Kind, text: str) -> str | None:
    """The public part of ``text``; None where it is no secret of this kind.

    >>> prefix_of("key", "moatkey_0123456789ab_" + "0" * 64), prefix_of("key", "hello")
    ('0123456789ab', None)
    """
    match = _SHAPE.fullmatch(text)
    return match[2] if match and match[1] == kind else None


def digest(text: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def matches(text: str, stored: str) -> bool:
    """Is ``stored`` the digest of ``text``? In constant time."""
    return hmac.compare_digest(digest(text), stored)


def form_token(session: str) -> str:
    """What a form of the session's own pages carries: no other site can know it."""
    return digest(f"form of {session}")[:32]


def same(one: str, other: str) -> bool:
    """Are both equal, and not empty? In constant time."""
    return bool(one) and hmac.compare_digest(one.encode(), other.encode())
