"""Call: what the body of a model request says; its texts are read only when they are wanted."""

import re
from typing import Any

import msgspec

from deepmoat.edge.llm.endpoint import Endpoint
from deepmoat.edge.llm.estimate import sample, tokens
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
_NO_TEXTS = ("", "")


class Call(msgspec.Struct, frozen=True, gc=False):
    """One model call as asked for. Absent texts are "", absent numbers 0.

    ``user`` is who the client says it is. ``readable`` False says that the body is not what the endpoint
    takes, or only its beginning; ``reason`` why: not_json, not_utf8, too_deep, too_large, compressed,
    compressed_broken, compressed_too_large. ``prompt`` is the system prompt and the last turn as lines
    ``role: text``, ``system`` the system prompt alone; both are read only on demand. ``max_tokens`` is the
    most tokens the client wants to get, ``estimated_input`` how many it sent, reckoned from a ``sample`` of
    the ``size`` bytes of its body. ``wants_usage`` says that it asked for the tokens of a stream itself,
    ``lacks_usage`` that it could have asked and did not.
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
    sample: bytes = b""
    size: int = 0

    @property
    def estimated_input(self) -> int:
        """Tokens the client sent; a quarter of the bytes of a body that could not be opened."""
        return tokens(self.sample, self.size) if self.sample else self.size // 4


class _Body(Texts, gc=False):
    """The few fields we want, and the texts undecoded: the decoder skips the rest without building it."""

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


_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DECODER = msgspec.json.Decoder(_Body)
_FIELDS = {f.name: msgspec.json.Decoder(f.type) for f in msgspec.structs.fields(_Body)}


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
            return Call(endpoint, readable=False, reason=opened, size=max(size, len(body)))
        body, size = opened, 0
    if body[:3] == _MARK:
        body = body[3:]
    size = max(size, len(body))
    if not whole:
        return _beginning(endpoint, body, size)
    try:
        fields = _fields(body)
    except _UNREADABLE as exc:
        reason = _reason(exc, body)
        return Call(endpoint, readable=False, reason=reason, sample=sample(body), size=size)
    if endpoint.asset is not None:
        return _from_asset(endpoint, body, fields, size, text_chars)
    texts = read_texts(fields, text_chars) if text_chars else _NO_TEXTS
    stream = fields.stream
    streamed = stream is True or (stream is None and endpoint.provider == "ollama")  # unless told not to
    return _call(endpoint, fields, fields.model, streamed, texts, body, size)


def _fields(body: bytes | bytearray) -> _Body:
    """The fields of ``body``; raises one of _UNREADABLE when not even a lenient reader takes it."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _without_surprises(mended(body) or body)


def _without_surprises(body: bytes | bytearray) -> _Body:
    """Each field by itself: a number out of range in one does not hide the others."""
    fields: dict[str, Any] = {}
    for name, raw in _MAP.decode(body).items():
        if name in _FIELDS:
            try:
                fields[name] = _FIELDS[name].decode(raw)
            except _UNREADABLE:
                continue
    return _Body(**fields)


def _beginning(endpoint: Endpoint, body: bytes | bytearray, size: int) -> Call:
    match = _MODEL.search(body)
    model = match[1].decode("utf-8", "replace") if match else ""
    streamed = (endpoint.provider == "ollama") or bool(_STREAM.search(body))
    return Call(endpoint, model, streamed, readable=False, reason="too_large", sample=sample(body), size=size)


def _from_asset(
    endpoint: Endpoint, body: bytes | bytearray, fields: _Body, size: int, text_chars: int
) -> Call:
    asset = endpoint.asset
    assert asset is not None  # noqa: S101 - asked before
    prompt = clipped(texts(asset.prompt.find(body), "\n"), text_chars) if asset.prompt and text_chars else ""
    model = next(iter(asset.model.find(body)), "") if isinstance(asset.model, Position) else ""
    streamed = bool(asset.stream) and fields.stream is not False
    return _call(endpoint, fields, model, streamed, (prompt, ""), body, size)


def _call(
    endpoint: Endpoint,
    fields: _Body,
    model: Any,
    streamed: bool,  # noqa: FBT001
    texts: tuple[str, str],
    body: bytes | bytearray,
    size: int,
) -> Call:
    options, talk, user = fields.stream_options, _talk(fields), _user(fields)
    wants = options is not None and isinstance(options, dict) and options.get("include_usage") is True
    return Call(
        endpoint,
        _word(model),
        streamed,
        _word(talk) if talk else "",
        _word(user) if user else "",
        True,
        texts[0],
        texts[1],
        wants,
        streamed and not wants and endpoint.api in _USAGE_APIS,
        _most_tokens(fields),
        "",
        sample(body),
        size,
    )


def _talk(body: _Body) -> Any:
    talk = body.conversation.get("id") if isinstance(body.conversation, dict) else body.conversation
    talk = talk or body.conversation_id or body.session_id
    if not talk and isinstance(body.metadata, dict):
        talk = body.metadata.get("conversation_id") or body.metadata.get("session_id")
    return talk or body.previous_response_id


def _user(body: _Body) -> Any:
    metadata = body.metadata
    named = body.safety_identifier or body.user
    return metadata.get("user_id") if not named and isinstance(metadata, dict) else named


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
