"""A model that answers as OpenAI and Anthropic do, for tests: plain, streamed, with tools, with errors.

It is a handler of the bench's toy backend. What it says is fixed, so that a test can tell any event that
is missing, doubled or changed. Sources: the API references of OpenAI and Anthropic.
"""

import asyncio
import base64
import json
import struct
from typing import Any

MODEL = "toy-1-2025-01-01"
WORDS = ("The ", "moat ", "is ", "deep, ", "says ", '"Ö".')
TEXT = "".join(WORDS)
TOOL = {"name": "weather", "arguments": '{"city": "Genève", "days": 3}'}
INPUT, OUTPUT, CACHED, REASONING = 41, 17, 16, 5
# Anthropic names what it read from its cache, and wrote to it, beside input_tokens, not within.
FRESH, CACHE_READ, CACHE_WRITTEN = 21, 16, 4
VECTOR = (0.5, -0.25, 1.0)


def answer(status: int, body: bytes, *lines: str, kind: str = "application/json") -> bytes:
    head = (f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines, "", "")
    return "\r\n".join(head).encode() + body


class Model:
    """``step`` holds each event of a stream back until the test lets it go; None: all come at once.

    ``failing`` is a status to answer with. ``null_usage`` puts ``"usage": null`` into events as OpenAI itself
    does when tokens were asked for; vLLM leaves it out. ``asked`` are the (path, body) that came.
    """

    def __init__(self, *, stepped: bool = False, null_usage: bool = False) -> None:
        self.step = asyncio.Semaphore(0) if stepped else None
        self.null_usage = null_usage
        self.failing = 0
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[bytes] = []

    async def __call__(self, peer: Any, head: bytes, body: bytes) -> None:
        path = head.split()[1].decode().partition("?")[0]
        asked = json.loads(body) if body else {}
        self.asked.append((path, asked))
        if self.failing:
            peer.send(answer(self.failing, self._error(path)))
            return
        whole, events = self._say(path, asked)
        if asked.get("stream"):
            await self._stream(peer, events)
        else:
            peer.send(answer(200, json.dumps(whole).encode(), "X-Request-Id: req_backend"))

    def _error(self, path: str) -> bytes:
        if path.endswith("/messages"):
            wrong: dict[str, Any] = {"type": "invalid_request_error", "message": "no such thing"}
            return json.dumps({"type": "error", "error": wrong}).encode()
        wrong = {"message": "no such thing", "type": "invalid_request_error", "param": "model", "code": None}
        return json.dumps({"error": wrong}).encode()

    def _say(self, path: str, asked: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        if path.endswith("/chat/completions"):
            return chat(asked), chat_events(asked, null_usage=self.null_usage)
        if path.endswith("/responses"):
            return response("completed"), response_events()
        if path.endswith("/embeddings"):
            return embeddings(asked), []
        assert path.endswith("/v1/messages"), path
        return message(asked), message_events(asked)

    async def _stream(self, peer: Any, events: list[bytes]) -> None:
        peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
            b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for event in events:
            self.sent.append(event)
            peer.send(b"%x\r\n%b\r\n" % (len(event), event))
            if self.step is not None:
                await self.step.acquire()
        peer.send(b"0\r\n\r\n")


def _event(data: Any, name: str = "") -> bytes:
    named = f"event: {name}\n" if name else ""
    return f"{named}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


# OpenAI, chat completions.


def _usage() -> dict[str, Any]:
    return {
        "prompt_tokens": INPUT,
        "completion_tokens": OUTPUT,
        "total_tokens": INPUT + OUTPUT,
        "prompt_tokens_details": {"cached_tokens": CACHED},
        "completion_tokens_details": {"reasoning_tokens": REASONING},
    }


def chat(asked: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": TEXT}
    if asked.get("tools"):
        call = {"id": "call_1", "type": "function", "function": TOOL}
        said = {"role": "assistant", "content": None, "tool_calls": [call]}
    reason = "tool_calls" if asked.get("tools") else "stop"
    choice = {"index": 0, "message": said, "finish_reason": reason, "logprobs": None}
    named = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_750_000_000, "model": MODEL}
    return {**named, "choices": [choice], "usage": _usage()}


def chat_events(asked: dict[str, Any], *, null_usage: bool = False) -> list[bytes]:
    """The events of a streamed chat, with tokens when ``asked`` says so."""
    with_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
    named = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_750_000_000, "model": MODEL}
    if with_usage and null_usage:
        named["usage"] = None  # type: ignore[assignment]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": w} for w in WORDS)]
    if asked.get("tools"):
        begin = {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": TOOL["name"], "arguments": ""},
        }
        deltas = [{"role": "assistant", "content": None, "tool_calls": [begin]}]
        pieces = (TOOL["arguments"][i : i + 7] for i in range(0, len(TOOL["arguments"]), 7))
        deltas += ({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces)
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls" if asked.get("tools") else "stop"})
    events = [_event({**named, "choices": [choice]}) for choice in choices]
    if with_usage:
        events.append(_event({**named, "choices": [], "usage": _usage()}))
    return [*events, b"data: [DONE]\n\n"]


# OpenAI, responses and embeddings.


def response(status: str) -> dict[str, Any]:
    done = status == "completed"
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": [part]}
    usage = {
        "input_tokens": INPUT,
        "input_tokens_details": {"cached_tokens": CACHED},
        "output_tokens": OUTPUT,
        "output_tokens_details": {"reasoning_tokens": REASONING},
        "total_tokens": INPUT + OUTPUT,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_750_000_000,
        "status": status,
        "model": MODEL,
        "output": [item] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if done else None,
    }


def response_events() -> list[bytes]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response("in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": part},
        *({"type": "response.output_text.delta", **place, "delta": w, "logprobs": []} for w in WORDS),
        {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []},
        {"type": "response.completed", "response": response("completed")},
    ]
    return [_event({**e, "sequence_number": n}, e["type"]) for n, e in enumerate(events)]


def embeddings(asked: dict[str, Any]) -> dict[str, Any]:
    """The official client asks for base64 and decodes it itself."""
    vector: Any = list(VECTOR)
    if asked.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
    usage = {"prompt_tokens": INPUT, "total_tokens": INPUT}
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    return {"object": "list", "data": data, "model": MODEL, "usage": usage}


# Anthropic, messages.


def message(asked: dict[str, Any]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": TEXT}]
    if asked.get("tools"):
        content.append(
            {
                "type": "tool_use",
                "id": "toolu_1",
                "name": TOOL["name"],
                "input": json.loads(TOOL["arguments"]),
            }
        )
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": "tool_use" if asked.get("tools") else "end_turn",
        "stop_sequence": None,
        "usage": _message_usage(OUTPUT),
    }


def _message_usage(output: int) -> dict[str, Any]:
    return {
        "input_tokens": FRESH,
        "cache_read_input_tokens": CACHE_READ,
        "cache_creation_input_tokens": CACHE_WRITTEN,
        "output_tokens": output,
    }


def message_events(asked: dict[str, Any]) -> list[bytes]:
    begun = {**message({}), "content": [], "stop_reason": None, "usage": _message_usage(1)}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": w}}
            for w in WORDS
        ),
        {"type": "content_block_stop", "index": 0},
    ]
    if asked.get("tools"):
        block = {"type": "tool_use", "id": "toolu_1", "name": TOOL["name"], "input": {}}
        pieces = [TOOL["arguments"][i : i + 7] for i in range(0, len(TOOL["arguments"]), 7)]
        deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces))
        events += [
            {"type": "content_block_start", "index": 1, "content_block": block},
            *({"type": "content_block_delta", "index": 1, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": 1},
        ]
    end = {"stop_reason": message(asked)["stop_reason"], "stop_sequence": None}
    events += [
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": OUTPUT}},
        {"type": "message_stop"},
    ]
    return [_event(e, e["type"]) for e in events]
