"""JSON in text. Paths as ``$.a.b[0]["c d"]``, written out in the query."""

import re
from collections.abc import Sequence
from typing import ClassVar

from deepmoat.kit.errors import QueryError
from deepmoat.query import tree
from deepmoat.query.context import Context
from deepmoat.query.function import Example, Function, Functions
from deepmoat.query.kinds import BOOLEAN, INTEGER, JSON, TEXT
from deepmoat.query.tree import Node, call
from deepmoat.query.values import Value, convert

_STEP = re.compile(r"""\.(?P<name>[^.\[\]"']+)|\[(?P<index>\d{1,9})\]|\[(["'])(?P<quoted>[^"']*)\3\]""")


def steps(path: str) -> list[str | int]:
    """A JSONPath as keys and positions (from 0).

    >>> steps("$.a.b[0]['c d']")
    ['a', 'b', 0, 'c d']
    """
    if not path.startswith("$"):
        raise QueryError(f"{path[:50]!r} is no JSON path", hint="such as $.user.name")
    at, found = 1, list[str | int]()
    while at < len(path):
        step = _STEP.match(path, at)
        if not step:
            raise QueryError(f"{path[:50]!r} is no JSON path", hint="such as $.user.name")
        key = step["name"] if step["name"] is not None else step["quoted"]
        found.append(int(step["index"]) if step["index"] else key)
        at = step.end()
    return found


def _place(values: Sequence[Value], context: Context) -> tuple[Node, list[Node]]:
    path = values[1].literal
    if path is None:
        raise QueryError("the JSON path must be written out", hint="such as '$.user.name'")
    keys = [tree.number(s + 1) if isinstance(s, int) else tree.text(s) for s in steps(path)]
    return convert(values[0], JSON, context), keys


def _scalar(values: Sequence[Value], context: Context) -> Value:
    """Objects, arrays, null and what is absent are NULL."""
    body, keys = _place(values, context)
    kind = call("JSONType", body, *keys)
    words = [tree.text(t) for t in ("Int64", "UInt64", "Double", "Bool")]
    found = call(
        "multiIf",
        call("equals", kind, tree.text("String")),
        call("JSONExtractString", body, *keys),
        tree.among(kind, words),
        call("JSONExtractRaw", body, *keys),
        tree.null(),
    )
    return Value(found, TEXT)


def _extract(values: Sequence[Value], context: Context) -> Value:
    body, keys = _place(values, context)
    return Value(call("nullIf", call("JSONExtractRaw", body, *keys), tree.text("")), JSON)


def _size(values: Sequence[Value], context: Context) -> Value:
    body, keys = _place(values, context)
    return Value(call("JSONLength", body, *keys), INTEGER)


def _contains(values: Sequence[Value], context: Context) -> Value:
    items = call("JSONExtractArrayRaw", convert(values[0], JSON, context))
    wanted = convert(values[1], TEXT, context)
    if values[1].type == TEXT:
        wanted = call("toJSONString", wanted)
    return Value(call("has", items, wanted), BOOLEAN)


def _parsed(node: Node) -> Node:
    return call("if", call("isValidJSON", node), call("JSONExtractRaw", node), tree.null())


class Json(Functions):
    """JSON in text."""

    ABOUT = "JSON in text. Paths as $.a.b[0]; what is absent or no JSON is NULL."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        Function(
            name="json_extract_scalar",
            takes=(JSON, TEXT),
            gives=TEXT,
            raw=_scalar,
            example=Example("""json_extract_scalar('{"user": {"id": 7}}', '$.user.id')""", "7"),
        ),
        Function(
            name="json_extract",
            takes=(JSON, TEXT),
            gives=JSON,
            raw=_extract,
            example=Example("""json_extract('{"a": ["x", 1]}', '$.a')""", '["x",1]'),
        ),
        Function(
            name="json_parse",
            takes=(JSON,),
            gives=JSON,
            build=_parsed,
            example=Example("json_parse('no json')", None),
        ),
        Function(
            name="json_format",
            takes=(JSON,),
            gives=TEXT,
            build=lambda x: x,
            example=Example("json_format(json_parse('[1, 2, 3]'))", "[1,2,3]"),
        ),
        Function(
            name="json_size",
            takes=(JSON, TEXT),
            gives=INTEGER,
            raw=_size,
            example=Example("""json_size('{"status": [1, 2, 3]}', '$.status')""", 3),
        ),
        Function(
            name="json_array_length",
            takes=(JSON,),
            gives=INTEGER,
            build="JSONLength",
            example=Example("json_array_length('[1, 2]')", 2),
        ),
        Function(
            name="json_array_contains",
            takes=(JSON, TEXT),
            gives=BOOLEAN,
            raw=_contains,
            example=Example("json_array_contains('[1, 2, 3]', 2)", True),
        ),
    )
