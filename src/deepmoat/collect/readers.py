"""Readers: every receiver and parser by its name, made once with what they share."""

import hashlib
import hmac

from deepmoat.collect.receiver import Context, Receiver
from deepmoat.collect.settings import CollectSettings
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.family import Family

RECEIVERS = Family("deepmoat.collect.receivers", Receiver)  # type: ignore[type-abstract]
PARSERS = Family("deepmoat.collect.parsers", Receiver)  # type: ignore[type-abstract]


class Readers:
    """Both families behind one ``get``. Thread-safe: what it makes never changes."""

    def __init__(self, settings: CollectSettings, secret: bytes, *, year: int = 0) -> None:
        """``secret`` is the installation's key; ``year`` is that of lines which name none (0: the latest)."""
        key = hmac.new(secret, b"collect: redaction", hashlib.sha256).hexdigest()
        self._context = Context(settings, key, year)
        self._made: dict[str, Receiver] = {}

    @staticmethod
    def names() -> list[str]:
        """All names, of protocols and of formats."""
        return sorted({*RECEIVERS.names(), *PARSERS.names()})

    def get(self, name: str) -> Receiver:
        """The receiver or parser called ``name``; ConfigError with the known names where there is none."""
        if name not in self._made:
            self._made[name] = _family(name).get(name)(self._context)
        return self._made[name]


def _family(name: str) -> Family[Receiver]:
    if name in RECEIVERS.names():
        return RECEIVERS
    if name in PARSERS.names():
        return PARSERS
    known = ", ".join(Readers.names())
    raise ConfigError(f"no such receiver or parser: {name!r}", where="collect", hint=f"known: {known}")
