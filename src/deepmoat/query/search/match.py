r"""Words as regular expressions (RE2).

Text is cut into words at spaces and at ``, ' " ; = ( ) [ ] { } ? @ & < > / :``, the tokens an SLS index
has by default. A word matches whole words, in any case. A word of non-ASCII text (Chinese has no spaces)
matches anywhere, and so does one that is all separators.
"""

import re

from deepmoat.kit.errors import QueryError
from deepmoat.query.search.terms import Pattern, Wild

SEPARATORS = " ,'\";=()[]{}?@&<>/:\n\t\r"
LONGEST = 1_000  # characters of a word; 64 with a wildcard in SLS
CLASS = r"""\s,'";=()\[\]{}?@&<>/:"""
_ANYTHING = {Wild.MANY: ".*", Wild.ONE: "."}
_WILD = {Wild.MANY: f"[^{CLASS}]*", Wild.ONE: f"[^{CLASS}]"}


def expressions(pattern: Pattern) -> list[str]:
    """One expression for each word of ``pattern``; all must match.

    >>> len(expressions(("/request/path-2",)))
    2
    """
    words = _cut(pattern)
    if not words:
        return [_whole("".join(str(p) for p in pattern), edges=False)]
    return [_word(w) for w in words]


def phrase(text: str) -> str:
    """The text as it stands, in any case, from a word's start to a word's end."""
    return _whole(text, edges=True)


def entire(pattern: Pattern) -> str:
    """The whole value, where ``*`` and ``?`` stand for anything."""
    body = "".join(_ANYTHING[p] if isinstance(p, Wild) else re.escape(p) for p in pattern)
    return f"(?is)^{body}$"


def _cut(pattern: Pattern) -> list[list[str | Wild]]:
    words: list[list[str | Wild]] = [[]]
    for part in pattern:
        if isinstance(part, Wild):
            words[-1].append(part)
            continue
        first, *others = re.split(f"[{CLASS}]", part)
        words[-1].append(first)
        words.extend([w] for w in others)
    cleaned = [[p for p in w if p] for w in words]
    return [w for w in cleaned if w and w != [Wild.MANY]]


def _word(word: list[str | Wild]) -> str:
    if isinstance(word[0], Wild):
        raise QueryError("a word cannot start with a wildcard", hint="like '%…' in SQL can")
    if sum(len(p) if isinstance(p, str) else 1 for p in word) > LONGEST:
        raise QueryError(f"a word of more than {LONGEST} characters", hint="search for a part of it")
    body = "".join(_WILD[p] if isinstance(p, Wild) else re.escape(p) for p in word)
    if any(isinstance(p, str) and not p.isascii() for p in word):
        return f"(?i){body}"
    return f"(?i)(?:^|[{CLASS}]){body}(?:$|[{CLASS}])"


def _whole(text: str, *, edges: bool) -> str:
    if len(text) > LONGEST:
        raise QueryError(f"a phrase of more than {LONGEST} characters", hint="search for a part of it")
    loose = not edges or not text or not text.isascii()
    start = "" if loose or text[0] in SEPARATORS else f"(?:^|[{CLASS}])"
    end = "" if loose or text[-1] in SEPARATORS else f"(?:$|[{CLASS}])"
    return f"(?i){start}{re.escape(text)}{end}"
