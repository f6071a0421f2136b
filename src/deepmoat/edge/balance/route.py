"""Route: which requests a pool is for, by host, path and model."""

from deepmoat.edge.balance.settings import PoolSettings
from deepmoat.kit.errors import ConfigError


class Selector:
    """What one pool takes. Matching takes time in proportion to the text, whatever the patterns."""

    def __init__(self, settings: PoolSettings) -> None:
        """Raises ConfigError for a pattern that could match nothing or that means something else."""
        where = f"pool {settings.name!r}"
        self._hosts = frozenset(_host(text, where) for text in settings.hosts if not text.startswith("*"))
        self._domains = tuple(
            "." + _host(text[2:], where) for text in settings.hosts if text.startswith("*.")
        )
        if any(text.startswith("*") and not text.startswith("*.") for text in settings.hosts):
            raise ConfigError("a host begins with * alone", where=where, hint='write "*.example.com"')
        self._paths = tuple(_path(text, where) for text in settings.paths)
        self._models = tuple(_parts(text, where) for text in settings.models)
        self.takes_all = not (settings.hosts or settings.paths or settings.models)
        self.by_model = bool(settings.models)

    def matches(self, host: str, path: str, model: str) -> bool:
        """Is the request for this pool? ``host`` as from ``host_name``."""
        return self._takes_host(host) and self._takes_path(path) and self._takes_model(model)

    def _takes_host(self, host: str) -> bool:
        if not self._hosts and not self._domains:
            return True
        return host in self._hosts or host.endswith(self._domains)

    def _takes_path(self, path: str) -> bool:
        if not self._paths:
            return True
        return any(path.startswith(p) and path[len(p) : len(p) + 1] in ("", "/") for p in self._paths)

    def _takes_model(self, model: str) -> bool:
        return not self._models or (model != "" and any(_alike(model, parts) for parts in self._models))


def host_name(host: str) -> str:
    """The name in a Host header, without its port.

    >>> host_name("API.example.com:8443"), host_name("[::1]:80"), host_name("example.com.")
    ('api.example.com', '[::1]', 'example.com')
    """
    if host.startswith("["):
        return host[: host.find("]") + 1].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _host(text: str, where: str) -> str:
    name = host_name(text)
    if not name or "*" in name or "/" in text:
        raise ConfigError(
            f"not a host: {text!r}", where=where, hint='write "api.example.com" or "*.example.com"'
        )
    return name


def _path(text: str, where: str) -> str:
    if not text.startswith("/"):
        raise ConfigError(f"a path begins with /: {text!r}", where=where)
    return text.rstrip("/")


def _parts(text: str, where: str) -> tuple[str, ...]:
    if not text:
        raise ConfigError("a model has a name", where=where, hint='"*" is any model')
    return tuple(text.split("*"))


def _alike(text: str, parts: tuple[str, ...]) -> bool:
    """Does ``text`` match the pattern that ``*`` was cut into ``parts``?

    >>> _alike("gpt-4o-mini", ("gpt-", "")), _alike("gpt-4o", ("", "4o", "mini"))
    (True, False)
    """
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return text == first
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in parts[1:-1]:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
