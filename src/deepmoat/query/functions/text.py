"""Text. Lengths and positions count characters, from 1."""

from collections.abc import Sequence
from typing import ClassVar

from deepmoat.query import tree
from deepmoat.query.context import Context
from deepmoat.query.function import Example, Function, Functions
from deepmoat.query.kinds import BOOLEAN, INTEGER, TEXT, array
from deepmoat.query.tree import Node, call
from deepmoat.query.values import Value, convert


def _replace(text: Node, old: Node, new: Node | None = None) -> Node:
    return call("replaceAll", text, old, new or tree.text(""))


def _part(text: Node, separator: Node, index: Node) -> Node:
    return call("arrayElementOrNull", call("splitByString", separator, text), index)


def _split(text: Node, separator: Node) -> Node:
    return call("splitByString", separator, text)


def _concat(values: Sequence[Value], context: Context) -> Value:
    if all(v.type.name == "array" for v in values):
        return Value(call("arrayConcat", *(v.node for v in values)), values[0].type)
    return Value(call("concat", *(convert(v, TEXT, context) for v in values)), TEXT)


def _one(name: str, build: str, query: str, value: object) -> Function:
    return Function(name=name, takes=(TEXT,), gives=TEXT, build=build, example=Example(query, value))


class Text(Functions):
    """Text to text, and where what is in it."""

    ABOUT = "Text. Lengths and positions count characters, from 1."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        _one("lower", "lowerUTF8", "lower('HTTP/2')", "http/2"),
        _one("upper", "upperUTF8", "upper('get')", "GET"),
        _one("trim", "trimBoth", "trim('  a ')", "a"),
        _one("ltrim", "trimLeft", "ltrim('  a ')", "a "),
        _one("rtrim", "trimRight", "rtrim('  a ')", "  a"),
        _one("reverse", "reverseUTF8", "reverse('https')", "sptth"),
        Function(
            name="concat",
            takes=(TEXT,),
            repeats=True,
            gives=TEXT,
            raw=_concat,
            example=Example("concat(max(client_address), '/', max(status))", "2001:db8::1/403"),
        ),
        Function(
            name="length",
            takes=(TEXT,),
            gives=INTEGER,
            build="lengthUTF8",
            example=Example("length('cn-shanghai')", 11),
        ),
        Function(
            name="substr",
            takes=(TEXT, INTEGER, INTEGER),
            optional=1,
            gives=TEXT,
            build="substringUTF8",
            example=Example("substr('cn-shanghai', 4, 5)", "shang"),
        ),
        Function(
            name="substring",
            takes=(TEXT, INTEGER, INTEGER),
            optional=1,
            gives=TEXT,
            build="substringUTF8",
            example=Example("substring('cn-shanghai', 4)", "shanghai"),
        ),
        Function(
            name="strpos",
            takes=(TEXT, TEXT),
            gives=INTEGER,
            build="positionUTF8",
            example=Example("strpos('HTTP/2', '/')", 5),
        ),
        Function(
            name="replace",
            takes=(TEXT, TEXT, TEXT),
            optional=1,
            gives=TEXT,
            build=_replace,
            example=Example("replace('cn-shanghai', 'cn-')", "shanghai"),
        ),
        Function(
            name="split_part",
            takes=(TEXT, TEXT, INTEGER),
            gives=TEXT,
            build=_part,
            example=Example("split_part('/a?b=1', '?', 1)", "/a"),
        ),
        Function(
            name="split",
            takes=(TEXT, TEXT),
            gives=array(TEXT),
            build=_split,
            example=Example("split('a,b', ',')", ["a", "b"]),
        ),
        Function(
            name="lpad",
            takes=(TEXT, INTEGER, TEXT),
            gives=TEXT,
            build="leftPadUTF8",
            example=Example("lpad('7', 3, '0')", "007"),
        ),
        Function(
            name="rpad",
            takes=(TEXT, INTEGER, TEXT),
            gives=TEXT,
            build="rightPadUTF8",
            example=Example("rpad('https', 3, '*')", "htt"),
        ),
        Function(
            name="levenshtein_distance",
            takes=(TEXT, TEXT),
            gives=INTEGER,
            build="editDistanceUTF8",
            example=Example("levenshtein_distance('kitten', 'sitting')", 3),
        ),
        Function(
            name="starts_with",
            takes=(TEXT, TEXT),
            gives=BOOLEAN,
            build="startsWith",
            example=Example("starts_with('/v1/chat', '/v1/')", True),
        ),
    )
