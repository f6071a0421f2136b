"""Settings of model calls: section ``[edge.llm]`` of moat.toml."""

from typing import Annotated, Literal

from msgspec import Meta

from deepmoat.kit.settings import Settings


class AssetSettings(Settings, frozen=True):
    """A model behind an API of its own: which requests call it, and where their texts stand.

    ``hosts`` are names as clients ask for them, ``*.example.com`` stands for all names below; empty is any.
    ``path`` is the whole path, or its beginning when it ends with ``*``. ``prompt``, ``answer`` and ``model``
    are JSONPath (RFC 9535) into the body of the request, of the answer or of one event of it, and of the
    request. ``stream`` is the kind of stream that it answers with: ``sse``, ``ndjson``, or "" for none.
    """

    name: str
    path: str
    hosts: tuple[str, ...] = ()
    method: str = "POST"
    prompt: str = ""
    answer: str = ""
    model: str = "$.model"
    operation: str = "chat"
    provider: str = "custom"
    stream: Literal["sse", "ndjson", ""] = ""


class LlmSettings(Settings, frozen=True):
    """What is read of model calls, and what of it is written down.

    ``prices`` is a TOML file of your own; its patterns come before the built-in ones. ``record_prompts``
    and ``record_answers`` keep texts, each of at most ``text_chars`` characters; tokens are counted either
    way. ``add_usage`` asks OpenAI-like backends for the tokens of a streamed answer when the client did
    not, and takes that event out of the stream again.
    """

    assets: tuple[AssetSettings, ...] = ()
    prices: str = ""
    record_prompts: bool = True
    record_answers: bool = True
    text_chars: Annotated[int, Meta(ge=0, le=100_000)] = 4000
    add_usage: bool = True
