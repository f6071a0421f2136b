"""Ways to read a file, a URL, another database or a system table through the door. None works.

Each is asked of the real engine, beside a real file that holds a secret. A way fails when it is refused, or
when its words are only searched for; in no case may the secret, or anything the server knows, come back.
"""

import secrets
from datetime import datetime
from pathlib import Path

import pytest

from deepmoat.kit.errors import QueryError
from deepmoat.model import Query
from deepmoat.query.door import Door
from deepmoat.store.logs.database import Database

SECRET = "the-secret-" + secrets.token_hex(8)

# {file} is the path of the secret. All must be refused.
WAYS = r"""
* | select file('{file}')
* | select file('{file}', '')
* | select * from file('{file}')
* | select * from file('{file}', 'LineAsString', 'line String')
* | select * from file('{file}', LineAsString)
* | select "file"('{file}')
* | select FILE('{file}')
* | select ﬁle('{file}')
* | select file ( '{file}' )
* | select file/**/('{file}')
* | select `file`('{file}')
* | select upper(file('{file}'))
* | select status, (select file('{file}')) from log
* | select count(*) where file('{file}') != ''
* | select count(*) group by file('{file}')
* | select count(*) having file('{file}') != ''
* | select status order by file('{file}')
* | select status limit length(file('{file}'))
* | select case when true then file('{file}') end
* | select if(true, file('{file}'), '')
* | select array[file('{file}')]
* | select coalesce(null, file('{file}'))
* | select max(file('{file}'))
* | select array_agg(file('{file}'))
* | select transform(array[1], x -> file('{file}'))
* | select count(*) filter (where file('{file}') != '')
* | select cast(file('{file}') as varchar)
* | select file('{file}') as x from log union all select body from log
* | select body from log union all select file('{file}')
* | with x as (select file('{file}') as y) select y from x
* | with log as (select file('{file}') as y) select y from log
* | with access as (select 1 as y) select y from access
* | with x as (select * from x) select * from x
* | select body from log where body in (select file('{file}'))
* | select a.x from (select file('{file}') as x) a
* | select l.status from log l join file('{file}') f on true
* | select l.status from log l, file('{file}') f
* | select status into outfile '{file}.out'
* | select status from log into outfile '{file}.out' format CSV
* | select status from infile '{file}'
* | insert into access select 1
* | select 1; select file('{file}')
* | select 1;
* | set session readonly = 0; select 1
* | select status format JSON
* | select status settings readonly = 0
* | select status from log settings max_execution_time = 0
* | select * from '{file}'
* | select * from "{file}"
* | select * from `{file}`
* | select * from "default"."{file}"
* | select * from default.access
* | select * from moat.access
* | select * from moat.schema_migrations
* | select * from schema_migrations
* | select * from "moat.access"
* | select * from system.users
* | select * from system.query_log
* | select * from "system"."settings"
* | select * from "system.one"
* | select * from SYSTEM.tables
* | select * from system . processes
* | select name from (select * from system.tables)
* | select count(*) from log where status in (select number from system.numbers)
* | select * from log l join system.one s on true
* | select status from log union all select dummy from system.one
* | select * from information_schema.tables
* | select * from INFORMATION_SCHEMA.COLUMNS
* | select * from ａccess
* | select * from url('http://127.0.0.1:1/', CSV, 'a String')
* | select url('http://127.0.0.1:1/')
* | select * from s3('http://127.0.0.1:1/bucket/x.csv')
* | select * from gcs('http://127.0.0.1:1/bucket/x.csv')
* | select * from hdfs('hdfs://127.0.0.1:1/x')
* | select * from azureBlobStorage('x')
* | select * from remote('127.0.0.1:1', system.one)
* | select * from remoteSecure('127.0.0.1:1', system.one)
* | select * from cluster('default', system.one)
* | select * from clusterAllReplicas('default', system.one)
* | select * from mysql('127.0.0.1:1', 'd', 't', 'u', 'p')
* | select * from postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')
* | select * from mongodb('127.0.0.1:1', 'd', 't', 'u', 'p', 's')
* | select * from redis('127.0.0.1:1', 'k', 's')
* | select * from sqlite('{file}', 't')
* | select * from jdbc('x', 't')
* | select * from odbc('x', 't')
* | select * from executable('cat {file}', LineAsString, 'a String')
* | select * from input('a String')
* | select * from format(LineAsString, 'x')
* | select * from merge('system', '.*')
* | select * from merge('moat', '.*')
* | select * from dictionary('moat.countries')
* | select * from countries
* | select * from moat.countries
* | select * from view(select 1)
* | select * from viewIfPermitted(select 1 else null('a String'))
* | select * from numbers(10)
* | select * from zeros(10)
* | select * from generateRandom('a String')
* | select * from generateSeries(1, 10)
* | select * from values('a String', 'x')
* | select * from (values (1, 2))
* | values 1, 2
* | select * from null('a String')
* | select * from loop(system.one)
* | select * from fuzzJSON('x')
* | select * from deltaLake('http://127.0.0.1:1/')
* | select * from iceberg('http://127.0.0.1:1/')
* | select * from mergeTreeIndex('moat', 'access')
* | select * from timeSeriesData('moat', 'x')
* | table system.one
* | describe table system.one
* | show tables
* | show create table access
* | explain select 1
* | use system
* | drop table access
* | alter table access delete where 1
* | create table x as select 1
* | kill query where 1
* | attach table x
* | grant all on *.* to x
* | select dictGet('moat.countries', 'code', tuple('::'))
* | select dictGetOrDefault('moat.countries', 'code', tuple('::'), '')
* | select dictGetString('x', 'y', 1)
* | select joinGet('access', 'body', 1)
* | select getSetting('readonly')
* | select getServerPort('tcp_port')
* | select getMacro('x')
* | select hostName()
* | select fqdn()
* | select currentUser()
* | select current_user
* | select user()
* | select currentDatabase()
* | select database()
* | select version()
* | select uptime()
* | select serverUUID()
* | select filesystemAvailable()
* | select displayName()
* | select tcpPort()
* | select buildId()
* | select sleep(3)
* | select sleepEachRow(3)
* | select throwIf(1)
* | select evalMLMethod('x', 1)
* | select catboostEvaluate('{file}', 1)
* | select modelEvaluate('x', 1)
* | select initializeAggregation('count', 1)
* | select runningAccumulate(1)
* | select hasColumnInTable('system', 'one', 'dummy')
* | select addressToLine(1)
* | select addressToSymbol(1)
* | select demangle('x')
* | select initialQueryID()
* | select queryString()
* | select identity(file('{file}'))
* | select toTypeName(1)
* | select dumpColumnStructure(1)
* | select materialize(1)
* | select system.one.dummy from system.one
* | select {x:String}
* | select {x:Identifier} from log
* | select * from {x:Identifier}
* | select ?
* | select @@version
* | select @x
* | select status from log sample 0.1
* | select status from log prewhere status = 1
* | select status from log array join [1] as x
* | select status from log limit 1 by status
* | select status from log with fill
* | select columns('.*')
* | select * except (body) from log
* | select * replace (file('{file}') as body) from log
* | select lagInFrame(file('{file}')) over ()
* | select sum(status) over (order by file('{file}'))
* | select status from log tablesample bernoulli (10)
* | select status from log for system_time as of timestamp '2020-01-01 00:00:00'
* | select * from unnest(array[file('{file}')])
* | select * from log, unnest(array[file('{file}')]) as t(x)
* | select * from lateral (select file('{file}'))
* | select 1 -- \n from system.one
* | select 1 /* */ from /* */ system.one
* | select 1 /*! from system.one */ from system.one
* | select 1 from log -- \n ; drop table access
* | select status as file from file
* | select file('{file}') as file from log as file
* | select (select name from system.users limit 1)
* | select exists (select 1 from system.users)
* | select status from log where exists (select 1 from system.users)
* | select status from log where status > all (select number from system.numbers)
* | select status from log where (status, 1) in (select 1, dummy from system.one)
* | select status from ((select * from system.one))
* | select status from log intersect select number from system.numbers
* | select status from log except select number from system.numbers
select * from system.users
select file('{file}')
* | select x'66696c65'('{file}')
* | select U&'\0041' from system.one
* | select 'a\' || file('{file}') || '
* | select 'a\\'' , file('{file}') , '
* | select "a\" , file('{file}') as "
* | select status as "x` , file('{file}') as `y" , file('{file}')
* | select json_extract(file('{file}'), '$.x')
* | select json_extract('x', file('{file}'))
* | select regexp_replace('x', file('{file}'), 'y')
* | select date_format(time, file('{file}'))
* | select date_trunc(file('{file}'), time)
* | select is_subnet_of(file('{file}'), client_address)
* | select ip_to_country(file('{file}'))
* | select ip_to_country('8.8.8.8', file('{file}'))
* | select approx_percentile(duration, file('{file}'))
* | select url_decode(file('{file}'))
* | select count(*), file
('{file}')
""".strip().replace("\n(", " (")

REFUSED = WAYS.splitlines()

# These only look for words: nothing more may come of it.
SEARCHED = [
    "* | select $1",
    "* | select status from log final",
    "file('{file}')",
    "url_path:file('{file}')",
    "\"file('{file}')\"",
    "#\"file('{file}')\"",
    "x') or file('{file}') or ('",
    "key:\"') or 1 = 1 or file('{file}') != ('\"",
    "\"' or file('{file}') or '\":x",
    "\"k'] or file('{file}') or attributes['k\":x",
    "\\\\' or file",
    "* | select '' || 'file(''{file}'')' || body",
    "* | select \"file('{file}')\"",
    "* | select \"x'] || file('{file}') || ['\"",
    "* | select attributes['x''] || file(''{file}'') || [''']",
    "* | select status as \"c0, file('{file}') as x\"",
    "* | select json_extract_scalar(body, '$.a'']')",
]


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory, engine: Database) -> Path:
    """A file the engine can read, as a scalar and as a table, when nobody stands in the way."""
    path = engine.path.parent / "secret.txt"
    path.write_text(SECRET + "\n")
    read = engine.command(f"SELECT * FROM file('{path}', 'LineAsString', 'line String')")
    assert SECRET in str(read)
    return path


def test_there_are_at_least_forty_ways() -> None:
    assert len(REFUSED) >= 40
    assert len(set(REFUSED)) == len(REFUSED)


@pytest.mark.parametrize("way", REFUSED)
def test_a_way_is_refused(door: Door, secret: Path, now: datetime, way: str) -> None:
    with pytest.raises(QueryError) as refused:
        door.ask(Query(way.replace("{file}", str(secret)).replace(r"\n", "\n")), now)
    assert SECRET not in str(refused.value)
    assert not secret.with_suffix(".txt.out").exists()


@pytest.mark.parametrize("text", SEARCHED)
def test_words_that_look_like_a_way_are_words(door: Door, secret: Path, now: datetime, text: str) -> None:
    try:
        answer = door.ask(Query(text.replace("{file}", str(secret))), now)
    except QueryError as exc:
        assert SECRET not in str(exc)
        return
    assert SECRET not in str(answer.rows)
    assert SECRET not in str(answer.columns)


@pytest.mark.parametrize("field", ["logstore", "zone"])
@pytest.mark.parametrize(
    "value", ["system.users", "access; drop table access", "../x", "' or 1", "x\0", "a" * 9000]
)
def test_no_other_field_of_a_query_is_a_way(door: Door, now: datetime, field: str, value: str) -> None:
    with pytest.raises(QueryError):
        door.ask(Query("*", **{field: value}), now)  # type: ignore[arg-type]


def test_the_engine_alone_would_have_let_a_scalar_file_through(secret: Path, engine: Database) -> None:
    assert SECRET in str(engine.query(f"SELECT file('{secret}')").rows)  # so the tree check is the wall
