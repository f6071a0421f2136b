"""AnswerReader: tokens, text and end of a model's answer, read while it streams by.

A plain answer is one JSON object; a streamed one is server-sent events (``data: {…}`` lines) or, from
Ollama, one JSON object a line. The reader takes bytes in any pieces, keeps at most ``limit`` of
them, and gives the same Usage wherever they were cut. It works in batches of a few kilobytes: an event
costs it about 1 µs (*measured*: 3.3 µs when each was read as it came).
"""

import re

import msgspec

from deepmoat.edge.llm.call import Call
from deepmoat.edge.llm.event import EVENT, Event, decoded
from deepmoat.edge.llm.inflate import Inflater
from deepmoat.edge.llm.position import Position, texts
from deepmoat.edge.llm.tally import Tally, Usage
from deepmoat.kit.meters import drop

__all__ = ["AnswerReader", "Usage"]

_NUMBER = re.compile(
    rb'"(prompt_tokens|input_tokens|completion_tokens|output_tokens)"\s*:\s*(\d{1,12})(?=\s*[,}])'
)
_BATCH, _TAIL = 8192, 4096
_MOST_OPENED = 64 << 20
_LINES = frozenset(
    (b"text/event-stream", b"application/x-ndjson", b"application/jsonl", b"application/stream+json")
)
_SPACE = b" \t\r\n"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class AnswerReader:
    """Feed it the body, then ask for ``usage()``; feeding never raises."""

    __slots__ = (
        "_call", "_done", "_guess", "_held", "_inflater", "_limit", "_lines", "_over", "_pieces", "_position",
        "_tally", "_work_at",
    )  # fmt: skip

    def __init__(
        self,
        content_type: bytes,
        limit: int,
        *,
        call: Call | None = None,
        encoding: bytes = b"",
        status: int = 200,
        text_chars: int = 0,
    ) -> None:
        """``content_type`` without parameters, lower case; ``limit`` is the most bytes kept.

        ``call`` says what was asked, ``encoding`` is the answer's Content-Encoding, ``status`` its status:
        tokens of an error are never estimated. Of the text ``text_chars`` characters are kept.
        """
        asset = call.endpoint.asset if call is not None else None
        self._call = call
        self._position: Position | None = asset.answer if asset is not None else None
        self._lines = content_type in _LINES or (asset is not None and bool(asset.stream) and status < 300)
        self._limit = max(limit, 2 * _TAIL)
        self._inflater = Inflater(encoding, _MOST_OPENED) if encoding not in (b"", b"identity") else None
        self._guess = status < 400
        self._tally = Tally(text_chars)
        self._pieces: list[bytes] = []
        self._held = 0
        self._work_at = _BATCH if self._lines else self._limit + 1
        self._over = False  # what is held is the end of a line or object too long to keep
        self._done: Usage | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if self._inflater is not None:
            data = self._inflater.feed(data)
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= self._work_at:
            self._work()

    def usage(self) -> Usage:
        """What was said, at the end of the body or where it broke off."""
        if self._done is None:
            closed = self._inflater.closed if self._inflater is not None else None
            if closed:
                drop("edge.llm", closed)
            if self._lines or self._held > self._limit:
                self._work()
            rest, self._pieces = b"".join(self._pieces), []
            whole = self._last(rest)
            self._done = self._tally.finish(self._call, guess=self._guess)
            self._done.truncated = not whole and not closed
        return self._done

    def _work(self) -> None:
        """Read the lines that are complete, keep the rest."""
        block = b"".join(self._pieces)
        if self._lines:
            end = block.rfind(b"\n") + 1
            if end:
                self._read_lines(block[:end])
                self._tally.settle()
                block = block[end:]
        if len(block) > self._limit:
            self._over = True
            block = block[-_TAIL:]
        self._pieces = [block]
        self._held = len(block)
        if self._lines:  # twice as much next time, or a long line would be joined again and again
            self._work_at = min(max(_BATCH, 2 * self._held), self._limit + 1)

    def _read_lines(self, block: bytes) -> None:
        lines = block.split(b"\n")
        if self._over or len(block) > self._limit:
            self._shorten(lines)
        decode, take, position = EVENT.decode, self._tally.take, self._position
        for line in lines:
            if line[:5] == b"data:":
                line = line[5:]
            elif line[:1] != b"{":
                continue
            event: Event | None
            try:  # what nearly every line is, without two calls
                event = decode(line)
            except _UNREADABLE:
                event = decoded(line)
            if event is None:
                self._odd(line)
            elif position is None:
                take(event)
            else:
                self._from_asset(event, line, position)

    def _shorten(self, lines: list[bytes]) -> None:
        """Leave of a line too long its end, which "?" makes no object, so that its counts are looked for."""
        for at, line in enumerate(lines):
            if self._over or len(line) > self._limit:
                self._over = False
                lines[at] = b"data:?" + line[-_TAIL:]

    def _from_asset(self, event: Event, line: bytes, position: Position) -> None:
        """An event of the operator's own API: numbers by the known names, the text from where it stands."""
        tally = self._tally
        tally.settle()
        tally.take(event)
        tally.instead(texts(position.find(line)))

    def _last(self, rest: bytes) -> bool:
        """The last line of a stream, or the whole object. Was the answer whole?"""
        tally = self._tally
        if self._lines:
            self._read_lines(rest)
            return tally.ended
        if self._over:
            self._from_tail(rest)
            return rest.rstrip(_SPACE)[-1:] == b"}"
        start = rest.lstrip(_SPACE)[:6]
        if start[:1] == b"{" and (event := decoded(rest)) is not None:
            self._whole(event, rest)
            return True
        if start[:1] == b"{" or start in (b"data: ", b"event:"):
            self._read_lines(rest)  # a stream that is called something else, or half an object
            return tally.ended or rest.rstrip(_SPACE)[-1:] == b"}"
        return True

    def _odd(self, line: bytes) -> None:
        """A line that is no object, or one with text that no reader takes: its counts stand behind that."""
        if line.strip() == b"[DONE]":
            self._tally.ended = True
        elif b"_tokens" in line[-_TAIL:]:
            self._from_tail(line[-_TAIL:])

    def _whole(self, event: Event, rest: bytes) -> None:
        if self._position is not None:
            self._from_asset(event, rest, self._position)
        else:
            self._tally.take(event)

    def _from_tail(self, tail: bytes) -> None:
        """The end of an object too large to keep: ``usage`` is commonly its last field."""
        for name, number in _NUMBER.findall(tail):
            if name in (b"prompt_tokens", b"input_tokens"):
                self._tally.counted(int(number), None)
            else:
                self._tally.counted(None, int(number))
