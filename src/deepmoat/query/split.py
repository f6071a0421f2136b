"""``search | analysis``: parted at the first bar that is not quoted."""

import re

from deepmoat.kit.errors import QueryError
from deepmoat.query.place import refusal

LONGEST = 100_000  # characters of a query
_LOOKS_LIKE_SQL = re.compile(r"\s*select\b.*(\(|\bfrom\b)", re.IGNORECASE | re.DOTALL)
_FIRST = re.compile(r"[\s(]*([A-Za-z_.][\w-]*)")


def split(text: str) -> tuple[str, str]:
    """The search and the SQL of a query ("" when it has none).

    Raises QueryError for what is neither.

    >>> split('url_path:"a|b" | select 1')
    ('url_path:"a|b" ', ' select 1')
    """
    _readable(text)
    bar = _bar(text)
    if bar < 0:
        if _LOOKS_LIKE_SQL.match(text):
            raise QueryError("SQL comes after a search", hint="write: * | select …")
        return text, ""
    analysis = text[bar + 1 :]
    word = _FIRST.match(analysis)
    if word and word[1].lower() in {"select", "with"}:
        return text[:bar], analysis
    if not word:
        raise refusal("nothing to do after the bar", text, bar, hint="write: * | select count(*)")
    raise refusal(
        f"{word[1][:40]!r} is SPL, which is not known yet",
        text,
        bar + 1 + word.start(1),
        hint="SQL starts with select",
    )


def _readable(text: str) -> None:
    if len(text) > LONGEST:
        raise QueryError(f"the query is too long: {len(text)} characters", hint=f"at most {LONGEST}")
    if "\0" in text:
        raise refusal("the query holds a NUL character", text, text.index("\0"), hint="leave it out")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise QueryError(f"character {exc.start + 1} is half of a surrogate pair") from exc


def _bar(text: str) -> int:
    """Position of the first bar outside double quotes; -1 when there is none."""
    quoted, at = False, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == '"':
            quoted = not quoted
        elif text[at] == "|" and not quoted:
            return at
        at += 1
    return -1
