"""Position: where in a JSON document a text stands, written as JSONPath (RFC 9535).

Paths come from the operator, documents from anyone, so it is the work that is bounded: at most
``_MOST_NODES`` values are looked at and ``_MOST_FOUND`` taken. A path of names and indices alone, as most
are, is walked level by level without building the document. Regular expressions in filters
(``match``, ``search``) are refused: a client could send a text that one of them never gets done with.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import jsonpath
import msgspec
from jsonpath.segments import JSONPathRecursiveDescentSegment
from jsonpath.selectors import Filter, IndexSelector, NameSelector

from deepmoat.kit.errors import ConfigError

_MOST_NODES = 20_000
_MOST_FOUND = 1_000
_MOST_PATH = 500
_MAP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Enough(Exception):  # noqa: N818 - the end of the work, not a fault
    """More values were looked at than may be."""


class _Node(jsonpath.JSONPathMatch):
    """A value on the way that counts those below it: ``_filter_context`` is the document's own count."""

    __slots__ = ()

    def new_child(self, obj: object, key: int | str) -> "_Node":
        left = self._filter_context
        left["left"] -= 1  # type: ignore[index]
        if left["left"] < 0:
            raise _Enough
        # No text of the path: each level would copy the whole of it.
        return _Node(filter_context=left, obj=obj, parent=None, path="", parts=(), root=self.root)

    def add_child(self, *children: object) -> None:
        """Nobody asks for the children later."""


def _environment() -> jsonpath.JSONPathEnvironment:
    environment = jsonpath.JSONPathEnvironment(strict=True)
    for name in ("match", "search"):
        environment.function_extensions.pop(name, None)
    return environment


_ENVIRONMENT = _environment()


class Position:
    """A compiled path. ``find`` gives what stands there, in the order of the document.

    >>> Position("$.messages[-1].content", where="edge.llm").find(b'{"messages":[{"content":"hi"}]}')
    ['hi']
    """

    __slots__ = ("_segments", "_steps", "path")

    def __init__(self, path: str, *, where: str) -> None:
        """Raises ConfigError, naming ``where``, for a path that cannot be used."""
        self.path = path
        if len(path) > _MOST_PATH:
            raise ConfigError(f"longer than {_MOST_PATH} characters", where=where, hint="shorten it")
        try:
            compiled = _ENVIRONMENT.compile(path)
        except (jsonpath.JSONPathError, RecursionError, ValueError) as exc:
            raise ConfigError(
                f"not a JSONPath: {path!r} ({exc.args[0] if exc.args else 'empty'})",
                where=where,
                hint='write for example "$.messages[-1].content"',
            ) from exc
        self._segments = _bounded(compiled, where)
        self._steps = _steps(self._segments)

    def find(self, document: bytes | bytearray | memoryview) -> list[Any]:
        """Values at this place; [] where there is none, or where ``document`` is no JSON. Never raises."""
        try:
            if self._steps is not None:
                return self._walk(document)
            return self._search(_ANY.decode(document))
        except (*_UNREADABLE, jsonpath.JSONPathError, TypeError, ValueError):
            return []

    def _walk(self, document: Any) -> list[Any]:
        for step in self._steps or ():
            try:
                document = (_MAP if type(step) is str else _LIST).decode(document)[step]  # type: ignore[index]
            except (KeyError, IndexError, msgspec.ValidationError):
                return []
        return [_ANY.decode(document)]

    def _search(self, document: Any) -> list[Any]:
        context = {"left": _MOST_NODES}
        root = _Node(filter_context=context, obj=document, parent=None, path="", parts=(), root=document)
        nodes: Any = [root]
        for segment in self._segments:
            nodes = segment.resolve(_charged(nodes, context) if _filters(segment) else nodes)
        return list(_taken(nodes))


def texts(values: list[Any], between: str = "") -> str:
    """What among ``values``, and in lists of them, is text."""
    found: list[str] = []
    for value in values:
        found.extend(v for v in (value if isinstance(value, list) else (value,)) if isinstance(v, str))
    return between.join(found)


def _taken(nodes: Iterator[Any]) -> Iterator[Any]:
    try:
        for count, node in enumerate(nodes):
            if count >= _MOST_FOUND:
                return
            yield node.obj
    except _Enough:
        return


def _charged(nodes: Iterable[Any], context: dict[str, int]) -> Iterator[Any]:
    """A filter looks at each child of a value, whether or not it is taken."""
    for node in nodes:
        context["left"] -= len(node.obj) if isinstance(node.obj, (list, dict)) else 0
        if context["left"] < 0:
            raise _Enough
        yield node


def _bounded(compiled: Any, where: str) -> tuple[Any, ...]:
    """The segments of a path whose work can be bounded; ConfigError for any other."""
    if not isinstance(compiled, jsonpath.JSONPath):
        raise ConfigError("more than one path", where=where, hint="write one JSONPath")
    segments = tuple(compiled.segments)
    filters = [s for s in segments if _filters(s)]
    if sum(map(_descends, segments)) > 1 or any(map(_descends, filters)):
        raise ConfigError("searches in a search", where=where, hint='use ".." once, and without a filter')
    if any("$" in str(s) or ".." in str(s) for s in filters):
        raise ConfigError("a filter searches the document again", where=where, hint="compare fields of @")
    return segments


def _descends(segment: Any) -> bool:
    return isinstance(segment, JSONPathRecursiveDescentSegment)


def _filters(segment: Any) -> bool:
    return any(isinstance(selector, Filter) for selector in segment.selectors)


def _steps(segments: tuple[Any, ...]) -> tuple[str | int, ...] | None:
    """Names and indices, when the path has nothing else."""
    steps: list[str | int] = []
    for segment in segments:
        selector = segment.selectors[0]
        if _descends(segment) or len(segment.selectors) != 1:
            return None
        if type(selector) is NameSelector:
            steps.append(selector.name)
        elif type(selector) is IndexSelector:
            steps.append(selector.index)
        else:
            return None
    return tuple(steps)
