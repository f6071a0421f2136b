"""Call: what the body of a model request says; its texts are read only when they are wanted."""

import re
from typing import Any

import msgspec

from deepmoat.edge.llm.endpoint import Endpoint
from deepmoat.edge.llm.estimate import tokens_in_body
from deepmoat.edge.llm.inflate import inflate
from deepmoat.edge.llm.mend import mended
from deepmoat.edge.llm.position import Position, texts
from deepmoat.edge.llm.prompt import Texts, clipped, read_texts

_WORD = 200
_MOST_TOKENS = 2**40
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_MARK = b"\xef\xbb\xbf"
_USAGE_APIS = frozenset({"chat", "completions"})
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Call(msgspec.Struct, frozen=True, gc=False):
    """One model call as asked for. Absent texts are "", absent numbers 0.

    ``user`` is who the client says it is. ``readable`` False says that the body is not what the endpoint
    takes, or only its beginning; ``reason`` why: not_json, not_utf8, too_deep, too_large, compressed,
    compressed_broken, compressed_too_large. ``prompt`` is the system prompt and the last turn as lines
    ``role: text``, ``system`` the system prompt alone; both are read only on demand. ``max_tokens`` is the
    most the client wants to get, ``estimated_input`` (tokens) what it sent. ``wants_usage`` says that it
    asked for the tokens of a stream itself, ``lacks_usage`` that it could have asked and did not.
    """

    endpoint: Endpoint
    model: str = ""
    streamed: bool = False
    conversation: str = ""
    user: str = ""
    readable: bool = True
    prompt: str = ""
    system: str = ""
    wants_usage: bool = False
    lacks_usage: bool = False
    max_tokens: int = 0
    reason: str = ""
    estimated_input: int = 0


class _Body(msgspec.Struct):
    """The few fields we want: the decoder skips the rest, the messages among them, without building it."""

    model: Any = None
    stream: Any = None
    stream_options: Any = None
    conversation: Any = None
    conversation_id: Any = None
    session_id: Any = None
    previous_response_id: Any = None
    user: Any = None
    safety_identifier: Any = None
    metadata: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    options: Any = None


class _BodyWithTexts(_Body):
    """The texts too, as the bytes they are."""

    messages: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    images: msgspec.Raw = msgspec.Raw()


_NAMES = frozenset(_Body.__struct_fields__)
_TEXTS = frozenset(_BodyWithTexts.__struct_fields__) - _NAMES
_ANY = msgspec.json.Decoder()
_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DECODER = msgspec.json.Decoder(_Body)
_DECODER_WITH_TEXTS = msgspec.json.Decoder(_BodyWithTexts)


def read_request(
    endpoint: Endpoint,
    body: bytes | bytearray,
    *,
    whole: bool = True,
    encoding: bytes = b"",
    most: int = 1 << 20,
    text_chars: int = 0,
    size: int = 0,
) -> Call:
    """What ``body`` asks for; ``whole`` False says that it is only the beginning of ``size`` bytes (0:
    unknown).

    A body in a Content-Encoding is opened, up to ``most`` bytes of it. Texts are read when ``text_chars``
    is not 0, and are at most that long. Never raises: a body that is not what the endpoint takes gives a
    Call with ``readable`` False. In a cut body the model is found by its key: within JSON strings a quote
    is escaped, so no prompt can pretend to be one.
    """
    if encoding:
        opened = inflate(encoding, bytes(body), most, whole=whole)
        if isinstance(opened, str):
            return Call(endpoint, readable=False, reason=opened, estimated_input=max(size, len(body)) // 4)
        body, size = opened, 0
    if body[:3] == _MARK:
        body = body[3:]
    tokens = tokens_in_body(body, size)
    if not whole:
        return _beginning(endpoint, body, tokens)
    return _whole(endpoint, body, tokens, text_chars)


def _whole(endpoint: Endpoint, body: bytes | bytearray, tokens: int, text_chars: int) -> Call:
    try:
        if text_chars:
            fields = _fields(_BodyWithTexts, _DECODER_WITH_TEXTS, body)
        else:
            fields = _fields(_Body, _DECODER, body)
    except _UNREADABLE as exc:
        return Call(endpoint, readable=False, reason=_reason(exc, body), estimated_input=tokens)
    if endpoint.asset is not None:
        return _from_asset(endpoint, bytes(body), fields, tokens, text_chars)
    prompt = system = ""
    if isinstance(fields, _BodyWithTexts):
        f = fields
        held = Texts(f.messages, f.system, f.input, f.instructions, f.prompt, f.images)
        prompt, system = read_texts(held, text_chars)
    streamed = _streamed(endpoint, fields)
    return _from_fields(endpoint, fields, _word(fields.model), streamed, tokens, prompt, system)


def _fields(kind: type[_Body], decoder: Any, body: bytes | bytearray) -> _Body:
    """The fields of ``body``; raises one of _UNREADABLE when not even a lenient reader takes it."""
    try:
        return decoder.decode(body)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _without_surprises(kind, mended(body) or body)


def _without_surprises(kind: type[_Body], body: bytes | bytearray) -> _Body:
    """Each field by itself: a number out of range in one does not hide the others."""
    fields: dict[str, Any] = {}
    for name, raw in _MAP.decode(body).items():
        if name in _TEXTS and kind is _BodyWithTexts:
            fields[name] = raw
        elif name in _NAMES:
            try:
                fields[name] = _ANY.decode(raw)
            except _UNREADABLE:
                continue
    return kind(**fields)


def _beginning(endpoint: Endpoint, body: bytes | bytearray, tokens: int) -> Call:
    match = _MODEL.search(body)
    model = match[1].decode("utf-8", "replace") if match else ""
    streamed = (endpoint.provider == "ollama") or bool(_STREAM.search(body))
    return Call(endpoint, model, streamed, readable=False, reason="too_large", estimated_input=tokens)


def _from_asset(endpoint: Endpoint, body: bytes, fields: _Body, tokens: int, text_chars: int) -> Call:
    asset = endpoint.asset
    assert asset is not None  # noqa: S101 - asked before
    prompt = clipped(texts(asset.prompt.find(body), "\n"), text_chars) if asset.prompt and text_chars else ""
    model = _word(next(iter(asset.model.find(body)), "")) if isinstance(asset.model, Position) else ""
    streamed = bool(asset.stream) and fields.stream is not False
    return _from_fields(endpoint, fields, model, streamed, tokens, prompt, "")


def _from_fields(
    endpoint: Endpoint,
    body: _Body,
    model: str,
    streamed: bool,
    tokens: int,
    prompt: str,
    system: str,  # noqa: FBT001
) -> Call:
    options = body.stream_options
    wants = isinstance(options, dict) and options.get("include_usage") is True
    return Call(
        endpoint,
        model,
        streamed,
        _word(_talk(body)),
        _word(_user(body)),
        True,
        prompt,
        system,
        wants,
        streamed and not wants and endpoint.api in _USAGE_APIS,
        _most_tokens(body),
        "",
        tokens,
    )


def _streamed(endpoint: Endpoint, body: _Body) -> bool:
    """Ollama streams unless told not to."""
    return body.stream is True or (body.stream is None and endpoint.provider == "ollama")


def _talk(body: _Body) -> Any:
    talk = body.conversation.get("id") if isinstance(body.conversation, dict) else body.conversation
    talk = talk or body.conversation_id or body.session_id
    if not talk and isinstance(body.metadata, dict):
        talk = body.metadata.get("conversation_id") or body.metadata.get("session_id")
    return talk or body.previous_response_id


def _user(body: _Body) -> Any:
    named = body.safety_identifier or body.user
    if not named and isinstance(body.metadata, dict):
        return body.metadata.get("user_id")
    return named


def _most_tokens(body: _Body) -> int:
    most = body.max_completion_tokens or body.max_output_tokens or body.max_tokens
    if most is None and isinstance(body.options, dict):
        most = body.options.get("num_predict")
    return most if type(most) is int and 0 < most < _MOST_TOKENS else 0


def _reason(exc: Exception, body: bytes | bytearray) -> str:
    if isinstance(exc, RecursionError):
        return "too_deep"
    if b"\0" in body[:4] or body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "not_utf8"
    return "not_json"


def _word(value: Any) -> str:
    return value[:_WORD] if isinstance(value, str) else ""
