"""Tokens of a streamed OpenAI answer: asked for in the client's place, and taken out of the stream again.

Without ``stream_options.include_usage`` OpenAI, vLLM and their like stream no tokens, and whoever wants
to go unnoticed leaves it out. So the edge adds it; the backend then sends one more event, with tokens and no
choices, before ``[DONE]``, which a client that did not ask for it must not see.
Source: OpenAI API reference, chat completions, ``stream_options``.
"""

import re
from typing import Any

import msgspec

from deepmoat.edge.llm.mend import mended

_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OPTIONS = b'{"include_usage":true}'
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_EVENT_END = re.compile(rb"\n\r?\n|\r\r")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_LINE_END = re.compile(rb"\r\n|\n|\r")
_MOST_HELD = 65_536


def with_usage(body: bytes) -> bytes | None:
    """``body`` of a streamed call, asking for tokens; None when it does already, or is none that can.

    It is put in front of the other fields, which stay as they are, byte for byte. Only where the client sent
    ``stream_options`` itself all fields are written anew, of equal names the last one, as JSON readers do.
    The caller asks ``Call.lacks_usage`` first: other APIs refuse a field they do not know.

    >>> with_usage(b'{"stream": true, "model": "m"}')
    b'{"stream_options":{"include_usage":true},"stream": true, "model": "m"}'
    >>> with_usage(b'{"model": "m"}')
    """
    try:
        said = _said(body)
        if bytes(said.stream) != b"true":
            return None
        options = bytes(said.stream_options)
        if not options:
            start = body.index(b"{") + 1
            return b'%b"stream_options":%b,%b' % (body[:start], _OPTIONS, body[start:])
        fields = _MAP.decode(body)
        asked = {} if options == b"null" else _MAP.decode(options)
        if bytes(asked.get("include_usage", b"")) == b"true":
            return None
        asked["include_usage"] = msgspec.Raw(b"true")
        fields["stream_options"] = msgspec.Raw(msgspec.json.encode(asked))
        return msgspec.json.encode(fields)
    except _UNREADABLE:
        return None


def _said(body: bytes) -> "_Asked":
    try:
        return _ASKED.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _ASKED.decode(mended(body) or body)


class _Asked(msgspec.Struct):
    stream: msgspec.Raw = msgspec.Raw()
    stream_options: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct):
    choices: Any = None
    usage: Any = None


_ASKED = msgspec.json.Decoder(_Asked)
_EVENT = msgspec.json.Decoder(_Event)


class UsageFilter:
    """Takes events with tokens and no choices out of a stream of server-sent events.

    A complete event never waits; of an incomplete one at most 64 KiB do, then it goes on unread. All other
    bytes come out as they went in.
    """

    __slots__ = ("_held", "_passing")

    def __init__(self) -> None:
        self._held = bytearray()
        self._passing = False  # the rest of an event that was too long to hold

    def feed(self, data: bytes) -> bytes:
        """The bytes the client may have now."""
        if (
            data.endswith((b"\n\n", b"\n\r\n"))
            and not self._held
            and not self._passing
            and not _NO_CHOICES.search(data)
        ):
            return data
        return self._filtered(data)

    def end(self) -> bytes:
        """What is left when the stream is over."""
        rest, self._held = bytes(self._held), bytearray()
        return b"" if not self._passing and _is_usage(rest) else rest

    def _filtered(self, data: bytes) -> bytes:
        held = self._held
        seen = max(0, len(held) - 2)
        held += data
        out: list[bytes] = []
        start = 0
        for match in _EVENT_END.finditer(held, seen):
            event = bytes(held[start : match.end()])
            if self._passing or not _is_usage(event):
                out.append(event)
            self._passing = False
            start = match.end()
        rest = bytes(held[start:])
        if self._passing or len(rest) > _MOST_HELD:
            self._passing = True
            kept = rest[len(rest.rstrip(b"\r\n")) :][-2:]  # an event's end may be half here
            out.append(rest[: len(rest) - len(kept)])
            rest = kept
        self._held = bytearray(rest)
        return b"".join(out)


def _is_usage(event: bytes) -> bool:
    """Does ``event`` bring tokens and no choices?"""
    if len(event) > _MOST_HELD or not _NO_CHOICES.search(event):
        return False
    data = b"\n".join(line[5:] for line in _LINE_END.split(event) if line.startswith(b"data:"))
    try:
        said = _EVENT.decode(data)
    except _UNREADABLE:
        return False
    return said.choices == [] and isinstance(said.usage, dict)
