"""Endpoint: which path is a model call, of whose API and of what kind.

Sources: the API references of OpenAI, Anthropic and Ollama. Names of operations and providers are
those of the OpenTelemetry GenAI semantic conventions.
"""

from functools import lru_cache

import msgspec


class Endpoint(msgspec.Struct, frozen=True):
    """``provider`` whose API is spoken, and the ``operation`` asked for."""

    provider: str
    operation: str


_ENDINGS: dict[str, Endpoint] = {
    "/chat/completions": Endpoint("openai", "chat"),
    "/completions": Endpoint("openai", "text_completion"),
    "/embeddings": Endpoint("openai", "embeddings"),
    "/responses": Endpoint("openai", "chat"),
    "/v1/messages": Endpoint("anthropic", "chat"),
    "/api/chat": Endpoint("ollama", "chat"),
    "/api/generate": Endpoint("ollama", "text_completion"),
    "/api/embed": Endpoint("ollama", "embeddings"),
    "/api/embeddings": Endpoint("ollama", "embeddings"),
}
_LONGEST_FIRST = sorted(_ENDINGS.items(), key=lambda pair: -len(pair[0]))
_LAST_WORDS = tuple({ending.rpartition("/")[2] for ending in _ENDINGS})


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
