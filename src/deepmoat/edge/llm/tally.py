"""Tally: adds up what the events of one answer say: tokens, text, tools, and how it ended."""

from collections.abc import Iterable
from typing import Any

import msgspec

from deepmoat.edge.llm.call import Call
from deepmoat.edge.llm.estimate import weight
from deepmoat.edge.llm.event import Block, Choice, Event, Metadata, Said, Tokens, ToolCall

_WORD, _MOST_TOOLS = 200, 16
_MOST = 2**40
# Tuples: what is looked up in them may be of any type, and of unhashable ones a set would raise.
_ENDS = ("completed", "incomplete", "failed", "cancelled")
_SHOWN = ("response.output_text.delta", "response.refusal.delta")


class Usage(msgspec.Struct, gc=False):
    """Tokens, and how the answer ended. ``known`` is False when the answer names no tokens.

    ``input_tokens`` is all of the input, also what was read from the backend's prompt cache
    (``cached_tokens``) or written to it (``cache_write_tokens``): OpenAI counts like that; Anthropic names
    the three apart, so they are added up here. ``output_tokens`` is all of the output, ``reasoning_tokens``
    of it were spent on reasoning. ``estimated`` says that at least one of the numbers is not the backend's
    but ours (``estimate.py``), ``truncated`` that the answer broke off. ``text`` is the beginning of the
    answer where it is kept, ``tool_calls`` are the names of tools the model asks for, each once.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""
    finish_reason: str = ""
    known: bool = False
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    response_id: str = ""
    estimated: bool = False
    text: str = ""
    tool_calls: tuple[str, ...] = ()
    truncated: bool = False


class Tally:
    """``take`` each event, ``settle`` now and then, ``finish`` once.

    Counts in streams are cumulative, so the largest one holds: some backends end with zeros.
    """

    __slots__ = (
        "_asked", "_hidden", "_pieces", "_reported", "_room", "_shown", "_usage", "_weight", "ended",
        "failed",
    )  # fmt: skip

    def __init__(self, text_chars: int) -> None:
        """``text_chars`` is how much of the answer's text is kept."""
        self._usage = Usage()
        self._shown: list[str] = []  # the answer, as a person sees it
        self._hidden: list[str] = []  # output as well: reasoning, arguments of tools
        self._room = text_chars
        self._pieces = self._weight = 0
        self._reported = -1  # pieces there were when the backend last counted its output
        self._asked = self.ended = self.failed = False

    def take(self, event: Event) -> None:
        """Add one event, or a whole answer."""
        if event.model is not None and not self._usage.model:
            usage = self._usage
            usage.model, usage.response_id = _word(event.model), _word(event.id) or usage.response_id
        if event.choices is None:
            self._other(event)
        else:
            for choice in event.choices:
                delta = choice.delta
                text = delta.content if delta is not None and delta.tool_calls is None else None
                if type(text) is str and text and choice.finish_reason is None and not choice.index:
                    self._shown.append(text)  # a few letters, as in most events: no call for them
                else:
                    self._choice(choice)
        if event.usage is not None:
            self._count(event.usage)

    def instead(self, text: str) -> None:
        """The text of the events since ``settle`` is ``text``, wherever it was looked for."""
        self._shown, self._hidden = [text] if text else [], []

    def settle(self) -> None:
        """Weigh the texts taken so far."""
        shown, hidden = self._shown, self._hidden
        if shown:
            text = self._keep("".join(shown))
            self._pieces += len(shown)
            self._weight += weight(text.encode())
            shown.clear()
        if hidden:
            self._pieces += len(hidden)
            self._weight += weight("".join(hidden).encode())
            hidden.clear()

    def _keep(self, text: str) -> str:
        """The whole ``text`` back; as much of it as there is room for is kept."""
        if self._room > 0:
            self._usage.text += text[: self._room]
            self._room -= len(text)
        return text

    def counted(self, asked: int | None, answered: int | None) -> None:
        """The backend's own counts, None where it names none."""
        usage = self._usage
        if asked is not None:
            usage.known = self._asked = True
            if asked > usage.input_tokens:
                usage.input_tokens = asked
        if answered is not None:
            usage.known = True
            if answered > usage.output_tokens:
                usage.output_tokens = answered
            self._reported = self._pieces + len(self._shown) + len(self._hidden)

    def finish(self, call: Call | None, *, guess: bool) -> Usage:
        """All of it. ``guess`` says that tokens nobody named may be estimated, those of ``call`` too."""
        usage = self._usage
        counted = self._reported == self._pieces + len(self._shown) + len(self._hidden)
        if counted:  # there is nothing to weigh
            self._keep("".join(self._shown))
        else:
            self.settle()
        if guess and not (counted and self._asked):
            self._guess(call, counted)
        if usage.cached_tokens or usage.cache_write_tokens:
            usage.cached_tokens = min(usage.cached_tokens, usage.input_tokens)
            usage.cache_write_tokens = min(usage.cache_write_tokens, usage.input_tokens - usage.cached_tokens)
        if usage.reasoning_tokens > usage.output_tokens:
            usage.reasoning_tokens = usage.output_tokens
        return usage

    def _guess(self, call: Call | None, counted: bool) -> None:  # noqa: FBT001
        usage = self._usage
        output = -(-self._weight // 100)
        if self._pieces <= 2 * output:
            output = max(output, self._pieces)  # most backends send one event a token
        if output > usage.output_tokens and not counted:
            usage.output_tokens, usage.estimated = output, True
        if call is None or self._asked or (self.failed and not self._pieces):
            return
        if asked := call.estimated_input:
            usage.input_tokens, usage.estimated = asked, True

    def _choice(self, choice: Choice) -> None:
        said = choice.delta
        if said is not None:
            text = said.content
            if isinstance(text, str) and text:
                (self._hidden if choice.index else self._shown).append(text)
                if said.tool_calls is not None:
                    self._called(said.tool_calls)
            else:
                self._message(said, choice)
        elif choice.message is not None:
            self._message(choice.message, choice)
        elif choice.text is not None:
            _add(self._hidden if choice.index else self._shown, choice.text)
        if choice.finish_reason is not None:
            self._end(choice.finish_reason)

    def _message(self, said: Said, choice: Choice) -> None:
        text = said.content
        if isinstance(text, str):
            if text:
                (self._hidden if choice.index else self._shown).append(text)
        elif text is not None:
            self._blocks(text)
        self._said(said)

    def _said(self, said: Said) -> None:
        """What a message has beside its content."""
        if said.refusal is not None:
            _add(self._shown, said.refusal)
        if (text := said.reasoning_content or said.reasoning) is not None:
            _add(self._hidden, text)
        if (text := said.thinking or said.partial_json) is not None:
            _add(self._hidden, text)
        if said.tool_calls is not None:
            self._called(said.tool_calls)

    def _called(self, calls: Iterable[ToolCall]) -> None:
        for call in calls:
            if call.function is not None:
                self._tool(call.function.name)
                _add(self._hidden, call.function.arguments)

    def _other(self, event: Event) -> None:
        """An event of another API than OpenAI's chat."""
        if event.done is False:
            self._flowing(event)
            return
        delta = event.delta
        if isinstance(delta, str):
            kind = event.type
            if kind in _SHOWN:
                _add(self._shown, delta)
            elif isinstance(kind, str) and "audio" not in kind:
                _add(self._hidden, delta)
        elif delta is not None:
            self._piece(delta)
        elif event.type == "message_stop":
            self.ended = True
        else:
            self._rest(event)

    def _flowing(self, event: Event) -> None:
        """A piece of Ollama's."""
        message = event.message
        if message is None or isinstance(message, str):
            _add(self._shown, event.response)
            _add(self._hidden, event.thinking)
        elif isinstance(message.content, str) and message.content:
            self._shown.append(message.content)
            if message.tool_calls is not None:
                self._called(message.tool_calls)
        else:
            self._said(message)

    def _piece(self, delta: Said) -> None:
        """A delta of Anthropic."""
        _add(self._shown, delta.text)
        self._said(delta)
        if delta.stop_reason is not None:
            self._end(delta.stop_reason)

    def _rest(self, event: Event) -> None:
        """A whole answer, the first or last event of a stream."""
        if event.error:
            self.failed = True
            self._end("error")
        for said in (event.message, event.response):
            if isinstance(said, str):
                _add(self._shown, said)
            elif said is not None:
                self._inner(said)
        _add(self._hidden, event.thinking)
        if isinstance(event.content, list):
            self._blocks(event.content)
        if event.output is not None:
            self._blocks(event.output)
        if (block := event.content_block or event.item) is not None:
            self._tool(block.name)
        self._ending(event)

    def _ending(self, event: Event) -> None:
        if event.prompt_eval_count is not None or event.eval_count is not None:
            self.counted(_number(event.prompt_eval_count), _number(event.eval_count))
        if event.metadata is not None:
            self._count_gemini(event.metadata)
        reason = event.stop_reason or event.done_reason
        if not reason and event.status in _ENDS:
            reason = event.status
        if reason:
            self._end(reason)
        if event.done is True:
            self.ended = True

    def _inner(self, said: Said) -> None:
        usage = self._usage
        usage.model = usage.model or _word(said.model)
        usage.response_id = usage.response_id or _word(said.id)
        if isinstance(said.content, str):
            _add(self._shown, said.content)
        elif said.content is not None:
            self._blocks(said.content)
        self._said(said)
        if said.usage is not None:
            self._count(said.usage)
        if reason := said.stop_reason or (said.status if said.status in _ENDS else None):
            self._end(reason)

    def _blocks(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            hidden = block.type == "reasoning"
            _add(self._hidden if hidden else self._shown, block.text or block.refusal)
            _add(self._hidden, block.thinking)
            _add(self._hidden, block.arguments)
            self._tool(block.name)
            for inner in block.content or ():
                _add(self._hidden if hidden else self._shown, inner.text or inner.refusal)

    def _tool(self, name: Any) -> None:
        tools = self._usage.tool_calls
        if isinstance(name, str) and name and len(tools) < _MOST_TOOLS and name[:_WORD] not in tools:
            self._usage.tool_calls = (*tools, name[:_WORD])

    def _end(self, reason: Any) -> None:
        self.ended = True
        self._usage.finish_reason = _word(reason) or self._usage.finish_reason

    def _count(self, tokens: Tokens) -> None:
        asked, answered = _number(tokens.prompt_tokens), _number(tokens.completion_tokens)
        into = tokens.prompt_tokens_details or tokens.input_tokens_details
        if into is not None:
            self._cached(into.cached_tokens, into.cache_write_tokens)
        elif tokens.prompt_cache_hit_tokens is not None:
            self._cached(tokens.prompt_cache_hit_tokens, None)
        apart = 0
        if tokens.cache_read_input_tokens is not None or tokens.cache_creation_input_tokens is not None:
            apart = self._cached(tokens.cache_read_input_tokens, tokens.cache_creation_input_tokens)
        if asked is None and (asked := _number(tokens.input_tokens)) is not None:
            asked += apart  # Anthropic counts them apart
        if answered is None:
            answered = _number(tokens.output_tokens)
        out = tokens.completion_tokens_details or tokens.output_tokens_details
        if out is not None and (reasoned := _number(out.reasoning_tokens)):
            self._usage.reasoning_tokens = max(self._usage.reasoning_tokens, reasoned)
            if None not in (asked, answered) and tokens.total_tokens == asked + answered + reasoned:  # type: ignore[operator]
                answered += reasoned  # type: ignore[operator]  # xAI counts reasoning apart
        self.counted(asked, answered)

    def _count_gemini(self, counts: Metadata) -> None:
        usage = self._usage
        said, thought = _number(counts.candidates_token_count), _number(counts.thoughts_token_count) or 0
        usage.cached_tokens = max(usage.cached_tokens, _number(counts.cached_content_token_count) or 0)
        usage.reasoning_tokens = max(usage.reasoning_tokens, thought)
        self.counted(_number(counts.prompt_token_count), said if said is None else said + thought)

    def _cached(self, read: Any, written: Any) -> int:
        """Note the tokens of input read from the backend's cache and written to it; returns their sum."""
        usage = self._usage
        had: int = _number(read) or 0
        kept: int = _number(written) or 0
        if had > usage.cached_tokens:
            usage.cached_tokens = had
        if kept > usage.cache_write_tokens:
            usage.cache_write_tokens = kept
        return had + kept


def _add(texts: list[str], text: Any) -> None:
    if isinstance(text, str) and text:
        texts.append(text)


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < _MOST else None


def _word(value: Any) -> str:
    return value[:_WORD] if isinstance(value, str) else ""
