"""From a reader's columns to a Load: where every record, by whatever way it came, is enriched and redacted.

A reader says how its columns are computed from the file. What is the same for all of them is added
here and nowhere else, so that no way in can forget it: the source, the country of the client's
address, and redaction of everything that holds text.
"""

from collections.abc import Mapping

import msgspec

from deepmoat.collect.enrich.redact import Redaction, literal
from deepmoat.collect.receiver import Context
from deepmoat.kit.spool import Stream
from deepmoat.model import LOGSTORES
from deepmoat.store.logs.load import Load

_COUNTRY = "dictGetOrDefault('moat.countries', 'code', tuple(client_address), '')"
# Account names and programs keep their e-mail addresses: the account under attack and a robot's contact.
_NAMES = frozenset({"user_name", "user_agent_original"})
# Ours, or from a small set that the reader has made sure of.
_OWN = frozenset({"source", "client_country", "trace_id", "span_id"})


class Plan(msgspec.Struct, frozen=True):
    """How a file becomes rows of a logstore, before what all plans have in common.

    ``columns`` are ClickHouse expressions by column name over ``table`` (with ``{file}`` in it);
    ``where`` says which rows. ``raw`` is an expression for the whole record as it was written, where
    one exists: it is searched for the words that secrets come with instead of the columns.
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

    def load(self, context: Context, stream: Stream) -> Load:
        """The Load. ``fixed`` columns hold text of our own and are not redacted."""
        inner = ", ".join(f"{expression} AS {name}" for name, expression in self.columns.items())
        redaction = Redaction(context.settings.redact_secrets, context.settings.redact_personal)
        texts = self._texts()
        search = redaction.hot(self.raw or _joined(texts))
        final = {name: name for name in self.columns}
        final |= {name: _redacted(redaction, name, kind) for name, kind in texts.items()}
        final["source"] = literal(stream.source)
        if "client_address" in final and "client_country" in _names(self.logstore):
            final["client_country"] = _COUNTRY
        raw = f", {search} AS hot" if self.raw else ""
        rows = f"SELECT {inner}{raw} FROM {self.table} WHERE {self.where}"  # noqa: S608
        if not self.raw:
            rows = f"SELECT *, {search} AS hot FROM ({rows})"  # noqa: S608
        return Load(
            self.logstore,
            self.format,
            self.structure,
            tuple(final),
            f"SELECT {', '.join(final.values())} FROM ({rows})",  # noqa: S608
            {"redaction_key": context.key},
            {"prefer_column_name_to_alias": 1, **self.settings},
        )

    def _texts(self) -> dict[str, str]:
        """Columns to redact, and whether each is text or a map."""
        kinds = {c.name: c.kind for c in LOGSTORES[self.logstore].columns}
        names = [n for n in self.columns if n not in _OWN and n not in self.fixed]
        return {n: kinds[n] for n in names if kinds[n] in {"text", "map"}}


def bounds(context: Context, time: str) -> str:
    """A condition: is the DateTime64 expression ``time`` within what ``[collect]`` takes?"""
    earliest = context.settings.earliest_seconds()
    latest = f"{{born:Float64}} + {context.settings.future_seconds}"
    return f"(toFloat64({time}) >= {earliest} AND toFloat64({time}) <= {latest})"


def _names(logstore: str) -> Mapping[str, str]:
    return {c.name: c.type for c in LOGSTORES[logstore].columns}


def _joined(texts: Mapping[str, str]) -> str:
    parts = [n for n, kind in texts.items() if kind == "text"]
    for name in (n for n, kind in texts.items() if kind == "map"):
        parts.append(f"arrayStringConcat(mapKeys({name}), '=\\n')")
        parts.append(f"arrayStringConcat(mapValues({name}), '\\n')")
    return f"concatWithSeparator('\\n', '', {', '.join(parts)})"


def _redacted(redaction: Redaction, name: str, kind: str) -> str:
    if kind == "map":
        return f"if(hot, {redaction.pairs(name)}, {name})"
    chosen = redaction._replace(personal=redaction.personal and name not in _NAMES)
    return f"if(hot, {chosen.text(f'toString({name})')}, {name})"
