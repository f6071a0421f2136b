"""The wall by itself: trees that did not come from lowering."""

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from deepmoat.kit.errors import QueryError
from deepmoat.model import LOGSTORES
from deepmoat.query import tree
from deepmoat.query.check import AGGREGATES, FUNCTIONS, NODES, PARAMETRIC, checked

GOOD = "SELECT t0.body AS c0 FROM (SELECT * FROM access WHERE time > 1) AS t0 WHERE t0.duration > 1 LIMIT 5"

BAD = """
SELECT 1 FROM system.one
SELECT 1 FROM moat.access
SELECT 1 FROM users
SELECT 1 FROM access AS x
SELECT 1 FROM access FINAL
SELECT 1 FROM access SAMPLE 0.1
SELECT 1 FROM file('/etc/passwd')
SELECT 1 FROM (SELECT 1 FROM url('x'))
SELECT file('/etc/passwd')
SELECT identity(1)
SELECT sleep(3)
SELECT version()
SELECT dictGet('moat.countries', 'code', 1)
SELECT dictGetOrDefault('other', 'code', 1, '')
SELECT dictGetOrDefault('moat.countries', 'other', 1, '')
SELECT quantile(0.5)(duration) FROM access
SELECT secret FROM access
SELECT body AS secret FROM access
SELECT x.body FROM access
WITH c0 AS (SELECT 1) SELECT 1
SELECT 1 SETTINGS readonly = 0
SELECT 1 FORMAT JSON
SELECT CAST(body AS String) FROM access
SELECT {x:String}
SELECT body FROM access PREWHERE duration > 1
SELECT body FROM access ARRAY JOIN [1] AS c0
SELECT body FROM access LIMIT 1 BY body
SELECT body FROM access ORDER BY body WITH FILL
SELECT sum(duration) OVER () FROM access
SELECT * EXCEPT (body) FROM access
SELECT body FROM access ASOF JOIN llm ON 1 = 1
SELECT body FROM access GLOBAL ANY LEFT JOIN llm ON 1 = 1
SELECT 1 UNION ALL SELECT 1
INSERT INTO access SELECT 1
CREATE TABLE access AS SELECT 1
DROP TABLE access
SELECT -1
SELECT 1::Int8
SELECT x'41'
SELECT interval 1 day
SELECT body FROM access INTO OUTFILE 'x'
SELECT 1 AS c0, (SELECT file('x')) AS c1
SELECT t0.body[1] FROM access
SELECT a.b.c.d FROM access
SELECT body /* comment */ FROM access
""".strip().splitlines()


def test_what_lowering_writes_passes_and_stays_as_it_is() -> None:
    assert checked(sqlglot.parse_one(GOOD, read="clickhouse")) == GOOD


@pytest.mark.parametrize("sql", BAD)
def test_refused(sql: str) -> None:
    try:
        parsed = sqlglot.parse_one(sql, read="clickhouse")
    except sqlglot.errors.ParseError:
        return
    with pytest.raises(QueryError):
        checked(parsed)


@pytest.mark.parametrize(
    "node",
    [
        exp.Anonymous(this="file", expressions=[exp.Literal.string("x")]),
        exp.Anonymous(this="lower(file('x')) --", expressions=[]),
        exp.Anonymous(this="lower", expressions=["file('x')"]),
        exp.Anonymous(this=exp.to_identifier("file"), expressions=[]),
        exp.AnonymousAggFunc(this="file", expressions=[]),
        exp.ParameterizedAgg(this="groupArray", expressions=[exp.Literal.string("1")], params=[exp.Null()]),
        exp.Literal(this="1 FROM system.one", is_string=False),
        exp.Literal(this="a\0b", is_string=True),
        exp.Identifier(this="body FROM system.one"),
        exp.Identifier(this="body", quoted=True),
        exp.Column(this=exp.to_identifier("body"), db=exp.to_identifier("system")),
        exp.Var(this="body FROM system.one"),
        exp.Paren(this="file('x')"),
        exp.Command(this="SHOW", expression="TABLES"),
    ],
    ids=repr,
)
def test_a_tree_nobody_should_build_is_refused(node: exp.Expr) -> None:
    with pytest.raises(QueryError):
        checked(exp.Select(expressions=[node]))


def test_deep_and_wide_trees_are_refused_not_a_crash() -> None:
    deep: exp.Expr = exp.Null()
    for _ in range(5_000):
        deep = exp.Paren(this=deep)
    with pytest.raises(QueryError):
        checked(exp.Select(expressions=[deep]))
    with pytest.raises(QueryError):
        checked(exp.Select(expressions=[exp.Null() for _ in range(100_000)]))


NAMES = st.sampled_from(
    [*LOGSTORES, "system", "one", "users", "t0", "c1", "body", "file", "url", "numbers", "", "a b", "x'"]
)
TREES = st.deferred(
    lambda: (
        st.builds(lambda t: exp.Literal.string(t), st.text(max_size=8))
        | st.builds(lambda n: exp.Column(this=exp.Identifier(this=n)), NAMES)
        | st.builds(lambda n, a: exp.Anonymous(this=n, expressions=a), NAMES, st.lists(TREES, max_size=2))
        | st.builds(
            lambda n, a: exp.Anonymous(this=n, expressions=a),
            st.sampled_from(sorted(FUNCTIONS)),
            st.lists(TREES, max_size=2),
        )
        | st.builds(lambda s: exp.Subquery(this=s), SELECTS)
    )
)
TABLES = st.builds(
    lambda n, d: exp.Table(this=exp.Identifier(this=n), db=exp.Identifier(this=d) if d else None),
    NAMES,
    st.sampled_from(["", "", "system", "moat", "default"]),
) | st.builds(lambda t: exp.Table(this=t), TREES)
SELECTS = st.builds(
    lambda e, t, w: exp.Select(
        expressions=e, from_=exp.From(this=t) if t else None, where=exp.Where(this=w) if w else None
    ),
    st.lists(TREES, min_size=1, max_size=2),
    st.none() | TABLES,
    st.none() | TREES,
)


@settings(max_examples=200, deadline=None)
@given(SELECTS)
def test_no_random_tree_passes_with_a_table_or_function_outside_the_list(select: exp.Select) -> None:
    try:
        sql = checked(select)
    except QueryError:
        return
    again = sqlglot.parse_one(sql, read="clickhouse", error_level=sqlglot.ErrorLevel.IGNORE)
    for table in select.find_all(exp.Table):
        assert table.name in LOGSTORES
        assert not table.args.get("db")
    for table in again.find_all(exp.Table):
        assert table.name in LOGSTORES
    for call in select.find_all(exp.Anonymous):
        assert call.this in FUNCTIONS


def test_the_lists_hold_nothing_that_reads_elsewhere() -> None:
    words = ("file", "url", "s3", "remote", "dict", "system", "host", "server", "setting", "sleep", "user")
    harmless = {"decodeURLFormComponent", "encodeURLFormComponent", "extractURLParameter"}
    for name in (FUNCTIONS | AGGREGATES | PARAMETRIC) - harmless:
        assert not any(w in name.lower() for w in words), name
    assert exp.Command not in NODES
    assert tree.text("a'b\\").sql("clickhouse") == "'a''b\\\\'"
