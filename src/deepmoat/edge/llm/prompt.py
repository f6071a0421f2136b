"""The text a person wrote in a model call: system prompt and last turn, of any of the known APIs.

A call carries the whole conversation again, so only its end is read: what came after the model's last
answer, tool results among it. What is no text is named in brackets: ``[image]``, ``[document]``.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from deepmoat.edge.llm.mend import mended

_MOST_MESSAGES, _MOST_PARTS, _MOST_SYSTEM = 64, 200, 8
_ROLES = frozenset({"user", "assistant", "system", "developer", "tool", "function"})
_ABOVE = ("system", "developer")
_MODEL_ITEMS = frozenset({"function_call", "reasoning", "custom_tool_call", "computer_call"})
_NAMES = {
    "image_url": "[image]",
    "input_image": "[image]",
    "image": "[image]",
    "input_audio": "[audio]",
    "audio": "[audio]",
    "file": "[document]",
    "input_file": "[document]",
    "document": "[document]",
    "thinking": "",
    "redacted_thinking": "",
}


class Part(msgspec.Struct, gc=False):
    """A piece of a message's content: text, or something else by its ``type``."""

    type: Any = None
    text: Any = None
    name: Any = None
    content: msgspec.Raw = msgspec.Raw()


class Message(msgspec.Struct, gc=False):
    """A message of OpenAI, Anthropic or Ollama, or an input item of OpenAI's responses."""

    role: Any = None
    type: Any = None
    name: Any = None
    content: str | list[str | Part] | None = None
    output: str | list[str | Part] | None = None
    images: list[msgspec.Raw] | None = None


class Texts(msgspec.Struct, gc=False):
    """The fields of a request that hold texts, undecoded: of a long conversation little is read."""

    messages: list[msgspec.Raw] | None = None
    system: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    images: msgspec.Raw = msgspec.Raw()


_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGE = msgspec.json.Decoder(str | Message | None)
_CONTENT = msgspec.json.Decoder(str | list[str | Part] | None)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LOST = Message(content="[unreadable]")


def clipped(text: str, most: int) -> str:
    """``text`` in at most ``most`` characters: three quarters of them its beginning, the rest its end.

    >>> clipped("abcdefghij", 8)
    'abcdef…j'
    """
    if len(text) <= most:
        return text
    if most < 4:
        return text[:most]
    end = most // 4 - 1
    return text[: most - end - 1] + "…" + (text[-end:] if end else "")


def read_texts(fields: Texts, most: int) -> tuple[str, str]:
    """Prompt and system prompt, each of at most ``most`` characters; never raises.

    The prompt is lines ``role: text``, the system prompt first and cut to a quarter of the room.
    """
    messages = fields.messages or _items(fields.input)
    said, system = _turn(messages, most) if messages else (_plain(fields, most), [])
    if above := _content(fields.system, most) or _content(fields.instructions, most):
        system.insert(0, above)
    if not system:
        return clipped("\n".join(said), most), ""
    first = "\n".join(filter(None, system))
    if first:
        said.insert(0, "system: " + clipped(first, max(most // 4, 4)))
    return clipped("\n".join(said), most), clipped(first, most)


def _plain(fields: Texts, most: int) -> list[str]:
    """The lines of a request without messages."""
    images = " ".join(["[image]"] * min(len(_items(fields.images)), _MOST_PARTS))
    text = f"{_content(fields.prompt or fields.input, most)} {images}".strip()
    return [f"user: {text}"] if text else []


def _turn(messages: list[msgspec.Raw], most: int) -> tuple[list[str], list[str]]:
    """The lines of the last turn, and the system prompts before the first message."""
    system: list[str] = []
    first = _LOST
    for raw in messages[:_MOST_SYSTEM]:
        first = _message(raw)
        if first.role not in _ABOVE:
            break
        system.append(_text(first, most))
    if len(messages) - len(system) == 1 and len(messages) <= _MOST_SYSTEM:
        text = _text(first, most)  # there is only one, and it is read
        return ([f"{_role(first)}: {text}"] if text else []), system
    return _last_turn(messages[len(system) :][-_MOST_MESSAGES:], most), system


def _last_turn(messages: list[msgspec.Raw], most: int) -> list[str]:
    lines: list[str] = []
    spoken = False  # a person spoke; the model's word before that ends the turn
    for raw in reversed(messages):
        message = _message(raw)
        role = _role(message)
        if role == "assistant" and spoken:
            break
        spoken = spoken or role != "assistant"
        if text := _text(message, most):
            lines.append(f"{role}: {text}")
    lines.reverse()
    return lines


def _role(message: Message) -> str:
    role, kind = message.role, message.type
    if isinstance(role, str):
        return role if role in _ROLES else "other"
    if isinstance(kind, str):
        return "tool" if kind.endswith("_output") else "assistant" if kind in _MODEL_ITEMS else "user"
    return "user"


def _message(raw: msgspec.Raw) -> Message:
    try:
        message = _read(_MESSAGE, raw)
    except _UNREADABLE:
        return _LOST
    return message if isinstance(message, Message) else Message(content=message)


def _read(decoder: Any, raw: msgspec.Raw) -> Any:
    """What ``raw`` says, even if some of it is no Unicode. Raises one of _UNREADABLE."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        whole = mended(bytes(raw))
        if whole is None:
            raise
        return decoder.decode(whole)


def _text(message: Message, most: int) -> str:
    text = message.content
    if not isinstance(text, str):
        text = _joined(text if text is not None else message.output, most)
    if message.images:
        text = " ".join([text, *["[image]"] * min(len(message.images), _MOST_PARTS)]).strip()
    return clipped(text, most)


def _joined(content: str | list[str | Part] | None, most: int) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(filter(None, _parts((content or [])[:_MOST_PARTS], most)))


def _parts(parts: Iterable[str | Part], most: int, *, deeper: bool = True) -> Iterator[str]:
    """The text of each part; a tool's result has parts of its own, one level deep."""
    for part in parts:
        if isinstance(part, str):
            yield clipped(part, most)
        elif part.type == "tool_result" and deeper:
            inner = _decoded(part.content)
            texts = [inner] if isinstance(inner, str) else _parts(inner[:_MOST_PARTS], most, deeper=False)
            yield "[tool result] " + clipped("\n".join(filter(None, texts)), most)
        elif part.type == "tool_use" and isinstance(part.name, str):
            yield f"[tool call {part.name[:100]}]"
        elif isinstance(part.type, str) and part.type in _NAMES:
            yield _NAMES[part.type]
        else:
            yield clipped(part.text, most) if isinstance(part.text, str) else "[other]"


def _decoded(raw: msgspec.Raw) -> str | list[str | Part]:
    if not raw:
        return ""
    try:
        return _read(_CONTENT, raw) or ""
    except _UNREADABLE:
        return "[other]"


def _content(raw: msgspec.Raw, most: int) -> str:
    return clipped(_joined(_decoded(raw), most), most) if raw else ""


def _items(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The items of a list of messages; [] for anything else, a list of texts or numbers too."""
    if not raw:
        return []
    try:
        return _read(_LIST, raw)  # type: ignore[no-any-return]
    except _UNREADABLE:
        return []
