"""From a reader's columns to a Load: where every record, by whatever way it came, is enriched and redacted.

A reader says how its columns are computed from the file. What is the same for all of them is added
here and nowhere else, so that no way in can forget it: the source, the country of the client's
address, and redaction of everything that holds text.
"""

from collections.abc import Mapping, Sequence

import msgspec

from deepmoat.collect.enrich.redact import Redaction, literal
from deepmoat.collect.receiver import Context
from deepmoat.kit.spool import Stream
from deepmoat.model import LOGSTORES
from deepmoat.store.logs.load import Load

_COUNTRY = "dictGetOrDefault('moat.countries', 'code', tuple(client_address), '')"
# Account names and programs keep their e-mail addresses: the account under attack and a robot's contact.
_NAMES = frozenset({"user_name", "user_agent_original"})
# Ours: no sender says them.
_OWN = frozenset({"source", "client_country"})

_SETTINGS: dict[str, str | int] = {
    # ``f(x) AS x`` reads the file's x, and nobody else's ``AS x``.
    "prefer_column_name_to_alias": 1,
    # The optimiser pushes conditions down, and then lines are parsed twice (measured: a third of the time).
    "query_plan_enable_optimizations": 0,
}


class Plan(msgspec.Struct, frozen=True):
    """How a file becomes rows of a logstore, before what all plans have in common.

    ``columns`` are ClickHouse expressions by column name over ``table`` (with ``{file}`` in it);
    ``where`` says which rows. ``raw`` is an expression for the whole record as it was written, where
    one exists: it is searched for the words that secrets come with instead of the columns. ``words`` are
    those of ``Load``.
    """

    logstore: str
    format: str
    structure: str
    columns: dict[str, str]
    table: str = "{file}"
    where: str = "1"
    raw: str = ""
    settings: dict[str, str | int] = {}
    fixed: frozenset[str] = frozenset()
    words: tuple[bytes, ...] = ()

    def load(self, context: Context, stream: Stream) -> Load:
        """The Load. ``fixed`` columns hold text of our own and are not redacted."""
        redaction = Redaction(context.settings.redact_secrets, context.settings.redact_personal)
        texts, map_ = self._texts()
        columns = ", ".join(f"{expression} AS {name}" for name, expression in self.columns.items())
        if self.raw:
            columns += f", {redaction.hot(self.raw)} AS hot"
        rows = f"SELECT {columns} FROM {self.table} WHERE {self.where}"  # noqa: S608
        searched = "*" if self.raw else f"*, {redaction.hot(_joined(texts, map_))} AS hot"
        rows = f"SELECT {searched} FROM ({rows})"  # noqa: S608
        names = sum(name in _NAMES for name in texts)
        clean = f"if(hot, {redaction.texts(_array(texts, map_), names)}, []) AS clean"
        rows = f"SELECT *, {clean} FROM ({rows})"  # noqa: S608
        final = self._final(redaction, texts, map_) | {"source": literal(stream.source)}
        return Load(
            self.logstore,
            self.format,
            self.structure,
            tuple(final),
            f"SELECT {', '.join(final.values())} FROM ({rows})",  # noqa: S608
            {"redaction_key": context.key},
            {**_SETTINGS, **self.settings},
            self.words,
        )

    def _final(self, redaction: Redaction, texts: Sequence[str], map_: str) -> dict[str, str]:
        """The columns as they are stored, over their computed values, ``hot`` and ``clean``."""
        final = {name: name for name in self.columns}
        final |= {name: f"if(hot, clean[{place}], {name})" for place, name in enumerate(texts, 1)}
        if map_:
            keys = f"arraySlice(clean, {len(texts) + 1}, length({map_}))"
            values = f"arraySlice(clean, {len(texts) + 1} + length({map_}))"
            values = redaction.values(f"mapKeys({map_})", f"mapValues({map_})", values)
            final[map_] = f"if(hot, mapFromArrays({keys}, {values}), {map_})"
        if "client_address" in final and "client_country" in _kinds(self.logstore):
            final["client_country"] = _COUNTRY
        return final

    def _texts(self) -> tuple[list[str], str]:
        """Columns to redact, names of accounts and programs first; and the map column, if it has one."""
        kinds = _kinds(self.logstore)
        mine = [n for n in self.columns if n not in _OWN and n not in self.fixed]
        texts = sorted((n for n in mine if kinds[n] == "text"), key=lambda name: name not in _NAMES)
        return texts, next((n for n in mine if kinds[n] == "map"), "")


def bounds(context: Context, time: str) -> str:
    """A condition: is the DateTime64 expression ``time`` within what ``[collect]`` takes?"""
    earliest = context.settings.earliest_seconds()
    latest = f"{{born:Float64}} + {context.settings.future_seconds}"
    return f"(toFloat64({time}) >= {earliest} AND toFloat64({time}) <= {latest})"


def _kinds(logstore: str) -> Mapping[str, str]:
    return {c.name: c.kind for c in LOGSTORES[logstore].columns}


def _joined(texts: Sequence[str], map_: str) -> str:
    """All text of a record as one; a map's names are followed by '=', so that they count as fields."""
    parts = [*texts]
    if map_:
        parts += [
            f"arrayStringConcat(mapKeys({map_}), '=\n')",
            "'='",
            f"arrayStringConcat(mapValues({map_}), '\n')",
        ]
    return f"concatWithSeparator('\n', '', {', '.join(parts)})"


def _array(texts: Sequence[str], map_: str) -> str:
    array = f"[{', '.join(f'toString({name})' for name in texts)}]"
    if not map_:
        return array
    as_text = "'Array(String)'"
    return f"arrayConcat({array}, CAST(mapKeys({map_}), {as_text}), CAST(mapValues({map_}), {as_text}))"
