"""AnswerReader: tokens, model and end of a model's answer, read while it streams by.

A plain answer is one JSON object; a streamed one is server-sent events (``data: {…}`` lines) or, from
Ollama, one JSON object a line. The reader takes bytes in any pieces, keeps at most ``limit`` of
them, and gives the same Usage wherever they were cut.
"""

import re
from typing import Any

import msgspec

_NUMBER = re.compile(rb'"(prompt_tokens|input_tokens|completion_tokens|output_tokens)"\s*:\s*(\d{1,15})')
_TAIL = 4096
_WORD = 200
_MOST = 2**63
_LINES = (b"text/event-stream", b"application/x-ndjson")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ENDS = ("completed", "incomplete", "failed")


class Usage(msgspec.Struct, gc=False):
    """Tokens, and how the answer ended. ``known`` is False when the answer names no tokens."""

    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""
    finish_reason: str = ""
    known: bool = False


class _Tokens(msgspec.Struct):
    """``usage`` of OpenAI chat, and of OpenAI responses and Anthropic."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _End(msgspec.Struct):
    """A choice of OpenAI, or the delta of an Anthropic stream."""

    finish_reason: str | None = None
    stop_reason: str | None = None


class _Inner(msgspec.Struct):
    """The message that an Anthropic stream begins with, the response that an OpenAI stream ends with."""

    model: str | None = None
    usage: _Tokens | None = None
    stop_reason: str | None = None
    status: str | None = None


class _Event(msgspec.Struct):
    """A whole answer, or one event of a stream, of any of the APIs; the text itself is skipped.

    ``response`` is an object in OpenAI's responses and a text in Ollama's, ``delta`` likewise.
    """

    model: str | None = None
    usage: _Tokens | None = None
    choices: list[_End] | None = None
    message: _Inner | None = None
    response: msgspec.Raw = msgspec.Raw()
    delta: msgspec.Raw = msgspec.Raw()
    stop_reason: str | None = None
    done_reason: str | None = None
    status: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None


class _Part(msgspec.Struct):
    """What is left of an object when a field above has another type in it."""

    model: Any = None
    usage: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None


_EVENT, _PART = msgspec.json.Decoder(_Event), msgspec.json.Decoder(_Part)
_INNER, _END = msgspec.json.Decoder(_Inner), msgspec.json.Decoder(_End)


class AnswerReader:
    """Feed it the body, then ask for ``usage()``."""

    __slots__ = ("_buffer", "_limit", "_lines", "_over", "_usage")

    def __init__(self, content_type: bytes, limit: int) -> None:
        """``content_type`` without parameters, lower case; ``limit`` is the most bytes kept."""
        self._lines = content_type in _LINES
        self._limit = max(limit, 2 * _TAIL)
        self._buffer: bytes | bytearray = b""
        self._over = False
        self._usage = Usage()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if self._lines:
            *ended, data = data.split(b"\n")
            for line in ended:
                self._read(self._buffer + line if self._buffer else line)
                self._buffer = b""
        if self._buffer:
            self._buffer = bytearray(self._buffer) if isinstance(self._buffer, bytes) else self._buffer
            self._buffer += data
        else:
            self._buffer = data
        if len(self._buffer) > self._limit:
            self._over = True
            self._buffer = self._buffer[-_TAIL:]

    def usage(self) -> Usage:
        """What was said so far; called once, at the end of the body."""
        if self._buffer:
            self._read(self._buffer)
            self._buffer = b""
        return self._usage

    def _read(self, line: bytes | bytearray) -> None:
        if self._over or len(line) > self._limit:
            self._over = False
            self._from_tail(line[-_TAIL:])
            return
        if self._lines and line.startswith(b"data:"):
            line = line[5:]
        if line.lstrip()[:1] == b"{":
            self._from_object(line)

    def _from_object(self, line: bytes | bytearray) -> None:
        try:
            event, inner, end = _decoded(line)
        except _UNREADABLE:
            return
        usage = self._usage
        usage.model = event.model[:_WORD] if event.model else usage.model
        if event.usage is not None:
            self._count(event.usage)
        if event.eval_count is not None or event.prompt_eval_count is not None:
            self._tokens(event.prompt_eval_count, event.eval_count)
        if inner is not None:
            usage.model = inner.model[:_WORD] if inner.model else usage.model
            if inner.usage is not None:
                self._count(inner.usage)
        if reason := _reason(event, inner, end):
            usage.finish_reason = reason[:_WORD]

    def _count(self, tokens: _Tokens) -> None:
        asked, answered = tokens.prompt_tokens, tokens.completion_tokens
        self._tokens(
            tokens.input_tokens if asked is None else asked,
            tokens.output_tokens if answered is None else answered,
        )

    def _tokens(self, asked: int | None, answered: int | None) -> None:
        """Counts in streams are cumulative: the newest one holds."""
        usage = self._usage
        if asked is not None and 0 <= asked < _MOST:
            usage.input_tokens, usage.known = asked, True
        if answered is not None and 0 <= answered < _MOST:
            usage.output_tokens, usage.known = answered, True

    def _from_tail(self, tail: bytes | bytearray) -> None:
        """The end of an object too large to keep: ``usage`` is commonly its last field."""
        for name, number in _NUMBER.findall(tail):
            if name in (b"prompt_tokens", b"input_tokens"):
                self._tokens(int(number), None)
            else:
                self._tokens(None, int(number))


def _decoded(line: bytes | bytearray) -> tuple[_Event, _Inner | None, _End | None]:
    """An event, the object within it and the end within it; one of _UNREADABLE for what is no object."""
    try:
        event = _EVENT.decode(line)
        inner, end = event.message, None
        if inner is None and bytes(event.response)[:1] == b"{":
            inner = _INNER.decode(event.response)
        if bytes(event.delta)[:1] == b"{":
            end = _END.decode(event.delta)
    except msgspec.ValidationError:
        return _without_surprises(line), None, None
    return event, inner, end


def _reason(event: _Event, inner: _Inner | None, end: _End | None) -> str | None:
    """Why the model stopped, where this event says so."""
    reason = event.stop_reason or event.done_reason
    if event.choices:
        reason = reason or event.choices[0].finish_reason
    if end is not None:
        reason = reason or end.stop_reason
    if inner is not None:
        reason = reason or inner.stop_reason or (inner.status if inner.status in _ENDS else None)
    return reason or (event.status if event.status in _ENDS else None)


def _without_surprises(line: bytes | bytearray) -> _Event:
    """The fields that do have the type we know."""
    part = _PART.decode(line)
    return _Event(
        model=_only(part.model, str),
        usage=_usage(part.usage),
        done_reason=_only(part.done_reason, str),
        prompt_eval_count=_only(part.prompt_eval_count, int),
        eval_count=_only(part.eval_count, int),
    )


def _usage(value: Any) -> _Tokens | None:
    if not isinstance(value, dict):
        return None
    return _Tokens(*(_only(value.get(name), int) for name in _Tokens.__struct_fields__))


def _only(value: Any, kind: type) -> Any:
    return value if type(value) is kind else None
