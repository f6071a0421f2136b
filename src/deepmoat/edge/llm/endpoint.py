"""Endpoint: which request is a model call, of whose API and of what kind.

Sources: the API references of OpenAI, Anthropic and Ollama. Names of operations and providers are
those of the OpenTelemetry GenAI semantic conventions.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import msgspec

from deepmoat.edge.llm.position import Position
from deepmoat.edge.llm.settings import AssetSettings, LlmSettings
from deepmoat.kit.errors import ConfigError

Api = Literal["chat", "responses", "completions", "embeddings", "messages", "ollama", "asset"]


class Asset(msgspec.Struct, frozen=True):
    """An API of the operator's own: where its texts stand, None where that is not said."""

    name: str
    prompt: Position | None = None
    answer: Position | None = None
    model: Position | None = None
    stream: str = ""


class Endpoint(msgspec.Struct, frozen=True):
    """``provider`` whose API is spoken, the ``operation`` asked for, and the shape of the bodies."""

    provider: str
    operation: str
    api: Api = "chat"
    asset: Asset | None = None


_ENDINGS: dict[str, Endpoint] = {
    "/chat/completions": Endpoint("openai", "chat"),
    "/completions": Endpoint("openai", "text_completion", "completions"),
    "/embeddings": Endpoint("openai", "embeddings", "embeddings"),
    "/responses": Endpoint("openai", "chat", "responses"),
    "/v1/messages": Endpoint("anthropic", "chat", "messages"),
    "/api/chat": Endpoint("ollama", "chat", "ollama"),
    "/api/generate": Endpoint("ollama", "text_completion", "ollama"),
    "/api/embed": Endpoint("ollama", "embeddings", "ollama"),
    "/api/embeddings": Endpoint("ollama", "embeddings", "ollama"),
}
_LONGEST_FIRST = sorted(_ENDINGS.items(), key=lambda pair: -len(pair[0]))
_LAST_WORDS = tuple({ending.rpartition("/")[2] for ending in _ENDINGS})
Find = Callable[[str, str, str], Endpoint | None]


def find_endpoint(method: str, path: str) -> Endpoint | None:
    """The model endpoint behind ``path``, whatever prefix it is mounted under; None where there is none.

    >>> find_endpoint("POST", "/openai/v1/chat/completions").operation
    'chat'
    >>> find_endpoint("GET", "/v1/chat/completions")
    """
    if method != "POST" or not path.endswith(_LAST_WORDS):
        return None
    return _by_ending(path)


@lru_cache(1024)
def _by_ending(path: str) -> Endpoint | None:
    return next((endpoint for ending, endpoint in _LONGEST_FIRST if path.endswith(ending)), None)


class Endpoints:
    """All endpoints of an edge: the operator's assets first, then those of the known APIs.

    ``find(method, host, path)`` takes the host as asked for, in lower case and without its port, and the
    normalised path without its query. Of several assets that fit the first one counts.
    """

    def __init__(self, settings: LlmSettings, *, where: str = "edge.llm") -> None:
        """Raises ConfigError, naming the asset, for a JSONPath, a path or a host that cannot be used."""
        self._rules = [_rule(asset, f"{where}.assets[{n}]") for n, asset in enumerate(settings.assets)]
        self._paths = frozenset(r.path for r in self._rules if not r.beginning)
        self._beginnings = tuple(r.path for r in self._rules if r.beginning)
        self.find: Find = self._find if self._rules else _find_known

    def _find(self, method: str, host: str, path: str) -> Endpoint | None:
        if path in self._paths or (self._beginnings and path.startswith(self._beginnings)):
            for rule in self._rules:
                if rule.fits(method, host, path):
                    return rule.endpoint
        return find_endpoint(method, path)


class _Rule(msgspec.Struct, frozen=True):
    method: str
    names: frozenset[str]
    domains: tuple[str, ...]
    path: str
    beginning: bool
    endpoint: Endpoint

    def fits(self, method: str, host: str, path: str) -> bool:
        if method != self.method or not (path.startswith(self.path) if self.beginning else path == self.path):
            return False
        return not (self.names or self.domains) or host in self.names or host.endswith(self.domains)


def _find_known(method: str, host: str, path: str) -> Endpoint | None:  # noqa: ARG001 - assets have hosts
    if method != "POST" or not path.endswith(_LAST_WORDS):
        return None
    return _by_ending(path)


def _rule(asset: AssetSettings, where: str) -> _Rule:
    if not asset.path.startswith("/"):
        raise ConfigError(f"not a path: {asset.path!r}", where=f"{where}.path", hint='begin it with "/"')
    hosts = [host.lower() for host in asset.hosts]
    for host in hosts:
        if not host or "*" in host.removeprefix("*.") or ":" in host or "/" in host:
            raise ConfigError(
                f"not a host: {host!r}",
                where=f"{where}.hosts",
                hint='like "ai.example.com" or "*.example.com"',
            )
    compiled = Asset(
        asset.name,
        _position(asset.prompt, f"{where}.prompt"),
        _position(asset.answer, f"{where}.answer"),
        _position(asset.model, f"{where}.model"),
        asset.stream,
    )
    return _Rule(
        asset.method.upper(),
        frozenset(h for h in hosts if not h.startswith("*")),
        tuple(h[1:] for h in hosts if h.startswith("*")),
        asset.path.removesuffix("*"),
        asset.path.endswith("*"),
        Endpoint(asset.provider, asset.operation, "asset", compiled),
    )


def _position(path: str, where: str) -> Position | None:
    return Position(path, where=where) if path else None
