"""Scope: what a name in a query stands for."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import msgspec

from deepmoat.kit.errors import QueryError
from deepmoat.model import LOGSTORES, Logstore
from deepmoat.query import kinds, tree
from deepmoat.query.kinds import INTEGER, TEXT, Type
from deepmoat.query.tree import Node, call
from deepmoat.query.values import Value

SECONDS = "__time__"


class Field(msgspec.Struct, frozen=True):
    """A column of a source: the name users write, ours, and its type."""

    name: str
    column: str
    type: Type


class Source(msgspec.Struct, frozen=True):
    """One item of FROM. ``table`` is our name for it; ``names`` those users may qualify with."""

    table: str
    names: frozenset[str]
    fields: tuple[Field, ...]
    logstore: Logstore | None = None

    def find(self, name: str) -> Value | None:
        """The column called ``name``, in any case."""
        key = name.lower()
        if self.logstore and key == SECONDS:
            return Value(seconds(tree.column("time", self.table)), INTEGER)
        if self.logstore:
            found = self.logstore.column(key)
            key = found.name if found else ""
        field = next((f for f in self.fields if f.name.lower() == key), None)
        return Value(tree.column(field.column, self.table), field.type) if field else None

    def all(self) -> Iterator[tuple[str, Value]]:
        """Every column, for ``*``."""
        return ((f.name, Value(tree.column(f.column, self.table), f.type)) for f in self.fields)


class Scope:
    """The sources of one SELECT."""

    def __init__(self, sources: Sequence[Source], outer: frozenset[str] = frozenset()) -> None:
        """The items of FROM, in order; ``outer`` are names of sources around this SELECT."""
        self.sources, self.outer = tuple(sources), outer

    @property
    def names(self) -> frozenset[str]:
        """Every source's name, those around included."""
        return self.outer.union(*(s.names for s in self.sources))

    def column(self, name: str, qualifier: str = "") -> Value | None:
        """A real column; None where there is none. QueryError when two sources have it."""
        found = [v for s in self._named(qualifier) if (v := s.find(name))]
        if len(found) > 1:
            raise QueryError(f"{name!r} is in more than one source", hint="qualify it: source.column")
        return found[0] if found else None

    def attribute(self, name: str, qualifier: str = "", *, quoted: bool = True) -> Value | None:
        """A value from the attributes of the one logstore that has them."""
        logstores = [s for s in self._named(qualifier) if s.logstore]
        if len(logstores) != 1:
            return None
        logstore = logstores[0].logstore
        if logstore and not quoted:
            refuse_misspelt(name, logstore)
        return Value(attribute(tree.column("attributes", logstores[0].table), name), TEXT)

    def qualifies(self, qualifier: str) -> bool:
        """Whether a source goes by that name."""
        key = qualifier.lower()
        if any(key in s.names for s in self.sources):
            return True
        if key in self.outer and key not in LOGSTORES and key != "log":
            raise QueryError(f"{qualifier[:80]!r} is outside this sub-query", hint="join it instead")
        return False

    def unknown(self, name: str) -> QueryError:
        """The error for a name nothing stands for."""
        names = [f.name for s in self.sources for f in s.fields]
        close = get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]}?" if close else "known here: " + ", ".join(names[:40])
        return QueryError(f"no such column: {name[:80]!r}", hint=hint)

    def _named(self, qualifier: str) -> tuple[Source, ...]:
        if not qualifier:
            return self.sources
        return tuple(s for s in self.sources if qualifier.lower() in s.names)


def refuse_misspelt(name: str, logstore: Logstore) -> None:
    """QueryError for an unquoted name one slip away from a column's.

    It would read an attribute nobody has, and find nothing in silence. In quotes it does.
    """
    key = name.lower()
    known = {c.name for c in logstore.columns} | set(logstore.aliases) | {SECONDS}
    if len(key) < 5 or key in known:
        return
    meant = sorted(k for k in known if len(k) >= 5 and _one_slip(key, k))
    if meant:
        hint = f'did you mean {meant[0]}? In double quotes, "{name}" reads an attribute'
        raise QueryError(f"no such column: {name[:80]!r}", hint=hint)


def _one_slip(a: str, b: str) -> bool:
    """One letter wrong, missing, too many, or two changed over; not a plural or an underscore.

    >>> _one_slip("stauts", "status"), _one_slip("hostname", "host_name"), _one_slip("users", "user")
    (True, False, False)
    """
    short, long = sorted((a, b), key=len)
    if len(long) - len(short) > 1 or long == short + "s" or a.replace("_", "") == b.replace("_", ""):
        return False
    at = next((i for i, (x, y) in enumerate(zip(short, long, strict=False)) if x != y), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    swapped = short[at : at + 2] == long[at : at + 2][::-1] and short[at + 2 :] == long[at + 2 :]
    return swapped or short[at + 1 :] == long[at + 1 :]


def fields(logstore: Logstore) -> tuple[Field, ...]:
    """A logstore's columns as a source has them."""
    return tuple(Field(c.name, c.name, kinds.of_column(c)) for c in logstore.columns)


def seconds(node: Node) -> Node:
    """A time as whole seconds since 1970."""
    return call("toUnixTimestamp64Second", node)


def attribute(attributes: Node, key: str) -> Node:
    """The value of ``key`` in a map; NULL where it is absent."""
    name = tree.text(key)
    return call(
        "if", call("mapContains", attributes, name), call("arrayElement", attributes, name), tree.null()
    )
