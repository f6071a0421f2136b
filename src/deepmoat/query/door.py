"""The one way to ask: text in, checked and limited, rows out. People, detectors and dashboards all use it."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlglot import exp

from deepmoat.kit.errors import MoatError, QueryError, TransientError
from deepmoat.model import LOGSTORES, Logstore, Query, Result
from deepmoat.query import tree
from deepmoat.query.check import checked
from deepmoat.query.context import Context
from deepmoat.query.scope import fields
from deepmoat.query.search.lower import condition
from deepmoat.query.split import split
from deepmoat.query.sql.parse import parse
from deepmoat.query.sql.select import Lowered, Lowering
from deepmoat.query.tree import Node, call

Run = Callable[[str, Mapping[str, Any]], Result]
MAX_ROWS = 100_000
_EARLIEST, _LATEST = datetime(1902, 1, 1, tzinfo=UTC), datetime(2261, 1, 1, tzinfo=UTC)
_FIRST_YEAR, _LAST_YEAR = 1970, 2106  # of ClickHouse's DateTime


class Compiled(msgspec.Struct, frozen=True):
    """ClickHouse SQL and the names of its columns, in order.

    ``rows`` is how many rows are handed on; the SQL asks for one more when ``cut`` names the limit that
    would then have cut the result.
    """

    sql: str
    parameters: dict[str, Any]
    columns: tuple[str, ...]
    rows: int
    cut: str = ""


class Door:
    """Compiles and asks. Holds no state: safe to share between threads."""

    def __init__(self, run: Run, *, max_rows: int = MAX_ROWS) -> None:
        """``run`` executes checked SQL read-only within limits; ``max_rows`` caps every result."""
        self._run, self.max_rows = run, max_rows

    def ask(self, query: Query, now: datetime) -> Result:
        """The answer; QueryError for what cannot compile or ran past a limit, TransientError when busy."""
        compiled = self.compile(query, now)
        try:
            answer = self._run(compiled.sql, compiled.parameters)
        except (QueryError, TransientError):
            raise
        except MoatError as exc:
            raise QueryError(_brief(exc.message)) from exc
        over = bool(compiled.cut) and len(answer.rows) > compiled.rows
        return Result(
            compiled.columns,
            answer.rows[: compiled.rows],
            rows_read=answer.rows_read,
            bytes_read=answer.bytes_read,
            elapsed=answer.elapsed,
            limited=compiled.cut if over else "",
        )

    def compile(self, query: Query, now: datetime) -> Compiled:
        """Text to SQL, without running anything. QueryError with the place of what is wrong."""
        try:
            return self._compiled(query, now)
        except RecursionError as exc:
            raise QueryError("nested too deeply", hint="write it in simpler steps") from exc

    def _compiled(self, query: Query, now: datetime) -> Compiled:
        search, analysis = split(query.text)
        logstore = _logstore(query.logstore)
        context = Context(now, query.zone)
        found = condition(search, logstore)

        def records(of: Logstore) -> exp.Select:
            return _records(of, query, found if of is logstore else None)

        if analysis:
            lowered = Lowering(logstore, records, context).query(parse(analysis))
        else:
            lowered = _newest(logstore, records(logstore), context)
        return self._limited(lowered, query)

    def _limited(self, lowered: Lowered, query: Query) -> Compiled:
        if query.limit < 0:
            raise QueryError("limit must not be negative")
        asked = lowered.limit
        rows = min(query.limit if asked is None else asked, self.max_rows)
        cut = "limit" if asked is None and rows < self.max_rows else "max_rows" if asked != rows else ""
        lowered.tree.set("limit", exp.Limit(expression=tree.number(rows + bool(cut))))
        return Compiled(checked(lowered.tree), {}, tuple(f.name for f in lowered.fields), rows, cut)


def _logstore(name: str) -> Logstore:
    logstore = LOGSTORES.get(name)
    if logstore is None:
        raise QueryError(f"no such logstore: {name[:80]!r}", hint="one of: " + ", ".join(LOGSTORES))
    return logstore


def _records(logstore: Logstore, query: Query, search: Node | None) -> exp.Select:
    """The records of one logstore in ``[since, until)`` that the search finds."""
    conditions = list[Node]()
    if query.since:
        conditions += _bound(query.since, exp.GTE, exp.GTE)
    if query.until:
        conditions += _bound(query.until, exp.LT, exp.LTE)
    if search:
        conditions.append(search.copy())
    select = exp.Select(
        expressions=[exp.Star()], from_=exp.From(this=exp.Table(this=exp.to_identifier(logstore.name)))
    )
    where = tree.every(conditions)
    if where:
        select.set("where", exp.Where(this=where))
    return select


def _bound(moment: datetime, exact: type[exp.Binary], coarse: type[exp.Binary]) -> Iterator[Node]:
    """A bound on ``time``, and the same on the ten minutes that come first in the sort key.

    ClickHouse does not derive the second from the first; without it a day's part is scanned whole.
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    aware = min(max(aware, _EARLIEST), _LATEST)
    if _FIRST_YEAR < aware.year < _LAST_YEAR:
        ten = call("toStartOfTenMinutes", tree.moment(aware))
        yield tree.infix(coarse, call("toStartOfTenMinutes", tree.column("time")), ten)
    yield tree.infix(exact, tree.column("time"), tree.moment(aware))


def _newest(logstore: Logstore, records: exp.Select, context: Context) -> Lowered:
    """Whole records, newest first. The ten minutes go first in the sort key: reading can stop early."""
    table = context.table()
    alias = exp.TableAlias(this=exp.to_identifier(table))
    columns = [tree.column(f.name, table) for f in fields(logstore)]
    time = tree.column("time", table)
    order = [
        exp.Ordered(this=key, desc=True, nulls_first=False)
        for key in (call("toStartOfTenMinutes", time), tree.column("time", table))
    ]
    select = exp.Select(
        expressions=columns,
        from_=exp.From(this=exp.Subquery(this=records, alias=alias)),
        order=exp.Order(expressions=order),
    )
    return Lowered(select, fields(logstore))


def _brief(message: str) -> str:
    """The engine's words, without the generated SQL it likes to quote."""
    for mark in (": In scope", ": while ", " In scope", "(version"):
        message = message.split(mark, 1)[0]
    return message.strip()[:300]
