"""Call: what the body of a model request says, without reading the prompt itself."""

import re
from typing import Any

import msgspec

from deepmoat.edge.llm.endpoint import Endpoint

_WORD = 200
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')
_STREAM = re.compile(rb'"stream"\s*:\s*true')


class Call(msgspec.Struct, frozen=True, gc=False):
    """One model call as asked for. ``user`` is who the client says it is. Absent texts are ""."""

    endpoint: Endpoint
    model: str = ""
    streamed: bool = False
    conversation: str = ""
    user: str = ""
    readable: bool = True


class _Body(msgspec.Struct):
    """The few fields we want: the decoder skips the rest, the messages among them, without building it."""

    model: Any = None
    stream: Any = None
    conversation: Any = None
    conversation_id: Any = None
    session_id: Any = None
    previous_response_id: Any = None
    user: Any = None
    safety_identifier: Any = None
    metadata: Any = None


_DECODER = msgspec.json.Decoder(_Body)


def read_request(endpoint: Endpoint, body: bytes | bytearray, *, whole: bool = True) -> Call:
    """What ``body`` asks for; ``whole`` False says that it is only the beginning.

    Never raises: a body that is not what the endpoint takes gives a Call with ``readable`` False. In
    a cut body the model is found by its key: within JSON strings a quote is escaped, so no prompt
    can pretend to be one.
    """
    if whole:
        try:
            return _from_body(endpoint, _DECODER.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Call(endpoint, readable=False)
    match = _MODEL.search(body)
    streamed = (endpoint.provider == "ollama") or bool(_STREAM.search(body))
    return Call(
        endpoint, _word(match[1].decode("utf-8", "replace") if match else ""), streamed, readable=False
    )


def _from_body(endpoint: Endpoint, body: _Body) -> Call:
    metadata = body.metadata if isinstance(body.metadata, dict) else {}
    talk = body.conversation.get("id") if isinstance(body.conversation, dict) else body.conversation
    talk = talk or body.conversation_id or body.session_id
    if metadata:
        talk = talk or metadata.get("conversation_id") or metadata.get("session_id")
    user = body.safety_identifier or body.user or metadata.get("user_id")
    # Ollama streams unless told not to.
    streamed = body.stream is True or (endpoint.provider == "ollama" and body.stream is None)
    return Call(endpoint, _word(body.model), streamed, _word(talk or body.previous_response_id), _word(user))


def _word(value: Any) -> str:
    return value[:_WORD] if isinstance(value, str) else ""
