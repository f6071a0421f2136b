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


class Usage(msgspec.Struct, frozen=True):
    """Tokens, and how the answer ended. ``known`` is False when the answer names no tokens."""

    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""
    finish_reason: str = ""
    known: bool = False


class _Event(msgspec.Struct):
    """A whole answer, or one event of a stream, of any of the APIs."""

    model: Any = None
    usage: Any = None
    choices: Any = None
    message: Any = None
    delta: Any = None
    response: Any = None
    stop_reason: Any = None
    done_reason: Any = None
    status: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None


_DECODER = msgspec.json.Decoder(_Event)


class AnswerReader:
    """Feed it the body, then ask for ``usage()``."""

    __slots__ = ("_buffer", "_finish", "_input", "_known", "_limit", "_lines", "_model", "_output", "_over")

    def __init__(self, content_type: bytes, limit: int) -> None:
        """``content_type`` without parameters, lower case; ``limit`` is the most bytes kept."""
        self._lines = content_type in (b"text/event-stream", b"application/x-ndjson")
        self._limit = max(limit, 2 * _TAIL)
        self._buffer = bytearray()
        self._over = False
        self._known = False
        self._input = self._output = 0
        self._model = self._finish = ""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if not self._lines:
            self._keep(data)
            return
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._keep(data[start:end])
            self._end_line()
            start = end + 1
        self._keep(data[start:])

    def usage(self) -> Usage:
        """What was said so far; called once, at the end of the body."""
        if self._buffer:
            self._end_line()
        return Usage(self._input, self._output, self._model, self._finish, self._known)

    def _keep(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > self._limit:
            self._over = True
            del self._buffer[:-_TAIL]

    def _end_line(self) -> None:
        line, over = bytes(self._buffer), self._over
        self._buffer.clear()
        self._over = False
        if over:
            self._from_tail(line)
            return
        if self._lines and line.startswith(b"data:"):
            line = line[5:]
        if line.lstrip()[:1] == b"{":
            self._from_text(line)

    def _from_text(self, line: bytes) -> None:
        try:
            event = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        self._from_event(event)
        for inner in (event.message, event.response):  # Anthropic message_start; OpenAI Responses
            if isinstance(inner, dict):
                self._from_event(_within(inner))

    def _from_event(self, event: _Event) -> None:
        if isinstance(event.model, str) and event.model:
            self._model = event.model[:_WORD]
        if isinstance(event.usage, dict):
            usage = event.usage
            self._tokens(usage.get("prompt_tokens"), usage.get("completion_tokens"))
            self._tokens(usage.get("input_tokens"), usage.get("output_tokens"))
        self._tokens(event.prompt_eval_count, event.eval_count)
        for reason in (_choice_reason(event.choices), event.stop_reason, event.done_reason):
            self._finished(reason)
        if isinstance(event.delta, dict):
            self._finished(event.delta.get("stop_reason"))
        if event.status in ("completed", "incomplete", "failed"):
            self._finished(event.status)

    def _tokens(self, asked: Any, answered: Any) -> None:
        """Counts in streams are cumulative: the newest one holds."""
        if isinstance(asked, int) and 0 <= asked < _MOST:
            self._input, self._known = asked, True
        if isinstance(answered, int) and 0 <= answered < _MOST:
            self._output, self._known = answered, True

    def _finished(self, reason: Any) -> None:
        if isinstance(reason, str) and reason:
            self._finish = reason[:_WORD]

    def _from_tail(self, tail: bytes) -> None:
        """The end of an object too large to keep: ``usage`` is commonly its last field."""
        for name, number in _NUMBER.findall(tail):
            if name in (b"prompt_tokens", b"input_tokens"):
                self._tokens(int(number), None)
            else:
                self._tokens(None, int(number))


def _within(inner: dict[str, Any]) -> _Event:
    return _Event(
        model=inner.get("model"),
        usage=inner.get("usage"),
        stop_reason=inner.get("stop_reason"),
        status=inner.get("status"),
    )


def _choice_reason(choices: Any) -> Any:
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0].get("finish_reason")
    return None
