"""Event: a whole answer of a model API, or one event of its stream, as far as it is read.

One struct for all of them: what an API does not have costs nothing, and its decoder skips what is not named
here. Numbers and words may be of any type, so that one odd value does not hide the others. Nothing here can
refer to itself, so the garbage collector need not know of it (``gc=False``).
Sources: API references of OpenAI (chat, completions, responses), Anthropic (messages), Ollama, DeepSeek;
vLLM.
"""

from typing import Any

import msgspec

from deepmoat.edge.llm.mend import mended


class Details(msgspec.Struct, gc=False):
    """OpenAI's details of input or output tokens."""

    cached_tokens: Any = None
    cache_write_tokens: Any = None
    reasoning_tokens: Any = None


class Tokens(msgspec.Struct, gc=False):
    """``usage`` of OpenAI chat (first three), of responses and Anthropic (next two), and of DeepSeek."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    prompt_cache_hit_tokens: Any = None


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """``usageMetadata`` of Gemini, which counts what it thought apart from what it said."""

    prompt_token_count: Any = None
    candidates_token_count: Any = None
    thoughts_token_count: Any = None
    cached_content_token_count: Any = None


class Function(msgspec.Struct, gc=False):
    """What a tool call calls. ``arguments`` is a text in OpenAI's API, an object in Ollama's."""

    name: Any = None
    arguments: Any = None


class ToolCall(msgspec.Struct, gc=False):
    """A tool call of OpenAI chat or Ollama."""

    function: Function | None = None


class Block(msgspec.Struct, gc=False):
    """A piece of content of Anthropic, or an output item of OpenAI's responses."""

    type: Any = None
    text: Any = None
    refusal: Any = None
    thinking: Any = None
    name: Any = None
    arguments: Any = None
    content: "list[Block] | None" = None


class Said(msgspec.Struct, gc=False):
    """A message or a piece of one; also the first object of Anthropic's stream and the last of responses'."""

    content: str | list[Block] | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    refusal: Any = None
    tool_calls: list[ToolCall] | None = None
    text: Any = None
    partial_json: Any = None
    id: Any = None
    model: Any = None
    usage: Tokens | None = None
    stop_reason: Any = None
    status: Any = None


class Choice(msgspec.Struct, gc=False):
    """A choice of OpenAI: ``delta`` in a stream, ``message`` in a whole answer, ``text`` in completions."""

    index: Any = None
    delta: Said | None = None
    message: Said | None = None
    text: Any = None
    finish_reason: Any = None


class Event(msgspec.Struct, gc=False):
    """``response`` is an object in OpenAI's responses and a text in Ollama's, ``delta`` likewise."""

    id: Any = None
    model: Any = None
    choices: list[Choice] | None = None
    usage: Tokens | None = None
    type: Any = None
    delta: str | Said | None = None
    response: str | Said | None = None
    message: str | Said | None = None
    content: str | list[Block] | None = None
    output: list[Block] | None = None
    content_block: Block | None = None
    item: Block | None = None
    thinking: Any = None
    stop_reason: Any = None
    status: Any = None
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: Any = None
    metadata: Metadata | None = msgspec.field(default=None, name="usageMetadata")


EVENT = msgspec.json.Decoder(Event)
_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FIELDS = {f.encode_name: (f.name, msgspec.json.Decoder(f.type)) for f in msgspec.structs.fields(Event)}
_TOKENS = {f.encode_name: (f.name, msgspec.json.Decoder(f.type)) for f in msgspec.structs.fields(Tokens)}
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decoded(line: bytes) -> Event | None:
    """The event in ``line``; None for what is no JSON object. Fields of a surprising type are left out."""
    try:
        return EVENT.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _without_surprises(mended(line) or line)
    except RecursionError:
        return None


def _without_surprises(line: bytes) -> Event | None:
    try:
        raw = _MAP.decode(line)
    except _UNREADABLE:
        return None
    fields = _readable(raw, _FIELDS)
    if "usage" in raw and "usage" not in fields:
        fields["usage"] = _tokens(raw["usage"])
    return Event(**fields)


def _tokens(raw: msgspec.Raw) -> Tokens | None:
    try:
        return Tokens(**_readable(_MAP.decode(raw), _TOKENS))
    except _UNREADABLE:
        return None


def _readable(raw: dict[str, msgspec.Raw], decoders: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key in raw.keys() & decoders.keys():
        name, decoder = decoders[key]
        try:
            fields[name] = decoder.decode(raw[key])
        except _UNREADABLE:
            continue
    return fields
