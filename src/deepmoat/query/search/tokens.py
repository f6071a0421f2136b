"""The tokens of a search: words, quoted text, phrases, and the signs between them."""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from deepmoat.query.place import refusal
from deepmoat.query.search.terms import Pattern, Wild

Kind = Literal["word", "quoted", "phrase", "colon", "sign", "(", ")", "[", "]", "end"]

_SPACE = re.compile(r"\s+")
_SIGN = re.compile(r">=|<=|>|<|=")
# A value runs to the next space or parenthesis; elsewhere a colon or a sign of comparison ends a word too.
_VALUE = re.compile(r'(?:\\["\\*?:]|[^\s()\[\]"|])+')
_WORD = re.compile(r'(?:__tag__:|\\["\\*?:]|(?!!=)[^\s()\[\]":<>=|])+')
_ESCAPED = re.compile(r'\\(["\\*?:])|([*?])')


class Token(msgspec.Struct, frozen=True):
    """One token: its text without escapes, its pattern when it is a word, and where it is."""

    kind: Kind
    text: str
    at: int
    end: int
    pattern: Pattern = ()

    def says(self, *words: str) -> bool:
        """Whether this is one of these operators, in any case."""
        return self.kind == "word" and self.text.lower() in words


def tokens(query: str) -> Iterator[Token]:
    """Part a search; QueryError for a quote that never closes."""
    at, before = 0, ""
    while at < len(query):
        space = _SPACE.match(query, at)
        if space:
            at = space.end()
            continue
        token = _token(query, at, value=before in {"colon", "sign"})
        yield token
        at, before = token.end, token.kind
    yield Token("end", "", len(query), len(query))


def _token(query: str, at: int, *, value: bool) -> Token:
    if query[at] == '"' or query.startswith('#"', at):
        return _quoted(query, at)
    if query[at] == ":" and not value:
        return Token("colon", ":", at, at + 1)
    if query[at] in "()[]":
        return Token(query[at], query[at], at, at + 1)  # type: ignore[arg-type]
    sign = None if value else _SIGN.match(query, at)
    if sign:
        return Token("sign", sign[0], at, sign.end())
    word = (_VALUE if value else _WORD).match(query, at)
    if query.startswith("!=", at) and not value:
        raise refusal("!= is not known", query, at, hint="write not key:value")
    if not word:
        raise refusal(f"unexpected {query[at]!r}", query, at, hint="put text with such characters in quotes")
    pattern = _pattern(word[0])
    return Token("word", written(pattern), at, word.end(), pattern)


def _quoted(query: str, at: int) -> Token:
    phrase = query[at] == "#"
    start = at + 1 + phrase
    found, here = list[str](), start
    while here < len(query):
        if query[here] == "\\" and query[here + 1 : here + 2] in {'"', "\\"}:
            here += 1
        elif query[here] == '"':
            text = "".join(found)
            return Token("phrase" if phrase else "quoted", text, at, here + 1, (text,) if text else ())
        found.append(query[here : here + 1])
        here += 1
    raise refusal("the quote never closes", query, at, hint='write \\" for a quote inside quotes')


def _pattern(raw: str) -> Pattern:
    parts, at = list[str | Wild](), 0
    for escape in _ESCAPED.finditer(raw):
        _append(parts, raw[at : escape.start()])
        if escape[2]:
            parts.append(Wild(escape[2]))
        else:
            _append(parts, escape[1])
        at = escape.end()
    _append(parts, raw[at:])
    return tuple(parts)


def _append(parts: list[str | Wild], text: str) -> None:
    if text and parts and isinstance(parts[-1], str):
        parts[-1] += text
    elif text:
        parts.append(text)


def written(pattern: Pattern) -> str:
    """A pattern as text."""
    return "".join(p.value if isinstance(p, Wild) else p for p in pattern)
