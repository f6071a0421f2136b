"""Regular expressions, in RE2's syntax."""

import re
from collections.abc import Sequence
from typing import ClassVar

from deepmoat.query import tree
from deepmoat.query.context import Context
from deepmoat.query.function import Example, Function, Functions
from deepmoat.query.kinds import BOOLEAN, INTEGER, TEXT, array
from deepmoat.query.tree import Node, call
from deepmoat.query.values import Value, convert


def _extract(text: Node, pattern: Node, group: Node | None = None) -> Node:
    """RE2 has no way to tell 'no match' from 'an empty match' in one call: both are NULL."""
    return call("nullIf", call("regexpExtract", text, pattern, group or tree.number(0)), tree.text(""))


def _replace(values: Sequence[Value], context: Context) -> Value:
    text, pattern = (convert(v, TEXT, context) for v in values[:2])
    new = convert(values[2], TEXT, context) if len(values) > 2 else tree.text("")
    if len(values) > 2 and values[2].literal is not None:
        new = tree.text(_references(values[2].literal))
    return Value(call("replaceRegexpAll", text, pattern, new), TEXT)


def _references(replacement: str) -> str:
    r"""``$1`` as RE2 writes it.

    >>> _references("$1-\\2")
    '\\1-\\2'
    """
    return re.sub(r"\$(\d)", r"\\\1", replacement)


class Patterns(Functions):
    """Regular expressions."""

    ABOUT = "Regular expressions (RE2). Replacements refer to groups as $1 or \\1."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        Function(
            name="regexp_like",
            takes=(TEXT, TEXT),
            gives=BOOLEAN,
            build="match",
            example=Example("regexp_like('/admin.php', '[.]php$')", True),
        ),
        Function(
            name="regexp_extract",
            takes=(TEXT, TEXT, INTEGER),
            optional=1,
            gives=TEXT,
            build=_extract,
            example=Example(r"regexp_extract('/path-1/file-9', '.*\/(file.*)', 1)", "file-9"),
        ),
        Function(
            name="regexp_extract_all",
            takes=(TEXT, TEXT),
            gives=array(TEXT),
            build="extractAll",
            example=Example("regexp_extract_all('a1b22', '[0-9]+')", ["1", "22"]),
        ),
        Function(
            name="regexp_replace",
            takes=(TEXT, TEXT, TEXT),
            optional=1,
            gives=TEXT,
            raw=_replace,
            example=Example("regexp_replace('HTTP/2.0', '([0-9]).[0-9]', 'v$1')", "HTTP/v2"),
        ),
        Function(
            name="regexp_split",
            takes=(TEXT, TEXT),
            gives=array(TEXT),
            build=lambda text, pattern: call("splitByRegexp", pattern, text),
            example=Example("regexp_split('a, b;c', '[,;] ?')", ["a", "b", "c"]),
        ),
    )
