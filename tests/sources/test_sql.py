"""The job file's SQL: what it may be, what it reaches, and how its faults are told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl
import pytest

from backfill.errors import JobError
from backfill.job.models import ColumnSpec
from backfill.sources import inspect, stage
from backfill.sources.sql import check, syntax
from backfill.sources.sql.engine import Engine, open_engine
from backfill.sources.sql.rules import AGGREGATES, CLOCKS, MACROS, SESSION, check_expression, check_query, is_steady
from backfill.sources.sql.syntax import SqlRefusal, aggregates
from backfill.sources.sql_tokens import without_end
from backfill.sources.sqlite.query import bare
from tests.support.sourcing import Staged, job_over, staged

COLUMNS = ["total", "Discount", "tags", "status"]


@pytest.fixture(scope="module")
def engine() -> Engine:
    """A locked engine that reaches nothing."""
    return open_engine(None)


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """A CSV file, beside it another one that no job names, and a Python variable's namesake."""
    (tmp_path / "secret.csv").write_text("a\n1\n")
    path = tmp_path / "orders.csv"
    path.write_text("id,total,at_hand\n1,10,2\n2,x,3\n3,0,\n4,2.5,1\n")
    return path


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("discount / nullif(total, 0)", ("total", "Discount")),
        ("source.total > 0 -- a comment", ("total",)),
        ("list_transform(tags, lambda t: t || status)", ("tags", "status")),
        ("CASE WHEN status = 'a' THEN \"Discount\" END", ("Discount", "status")),
        ("list_sum([1, 2])", ()),
        ("tags[1] COLLATE nocase = 'A'", ("tags",)),
    ],
)
def test_columns_that_an_expression_reads(engine: Engine, text: str, reads: tuple[str, ...]) -> None:
    """Columns are found as DuckDB parses the text, whatever their case."""
    assert check_expression(engine, text, COLUMNS) == reads


@pytest.mark.parametrize(
    "text",
    [
        "1; DROP TABLE x",
        "1) --",
        "1 /* open",
        "",
        "total, status",
        "total AS x",
        "1 FROM source",
        "total ORDER BY 1",
        "DISTINCT total",
        "1 UNION SELECT 2",
        "*",
        "COLUMNS(*)",
        "source",
        "sum(total)",
        "count(*) FILTER (WHERE total > 1)",
        "json_group_array(total)",
        "row_number() OVER ()",
        "(SELECT 1)",
        "total IN (SELECT 1)",
        "EXISTS (FROM source)",
        "(SELECT content FROM read_text('/etc/passwd'))",
        "now()",
        "current_date",
        "CURRENT_TIMESTAMP",
        "localtimestamp",
        "today()",
        "age(total)",
        "ago(INTERVAL 1 DAY)",
        "current_localtimestamp()",
        "random() > 0.5",
        "uuid()",
        "getvariable('x')",
        "current_setting('threads')",
        "nextval('s')",
        "__bf_record + 1",
        "$1",
    ],
)
def test_refused_expressions(engine: Engine, text: str) -> None:
    """Anything but one steady expression over the row is refused before anything runs."""
    with pytest.raises(SqlRefusal):
        check_expression(engine, text, COLUMNS)


#: What DuckDB, in some version, holds for changing within a run, and does not where the time zone is fixed.
STEADY = frozenset({
    "+", "-", "age", "century", "date_diff", "date_part", "date_sub", "date_trunc", "datediff", "datepart", "datesub",
    "datetrunc", "day", "dayname", "dayofmonth", "dayofweek", "dayofyear", "decade", "era", "generate_series", "hour",
    "isodow", "isoyear", "julian", "last_day", "make_timestamptz", "microsecond", "millennium", "millisecond", "minute",
    "month", "monthname", "quarter", "range", "second", "strftime", "time_bucket", "timezone", "timezone_hour",
    "timezone_minute", "week", "weekday", "weekofyear", "year", "yearweek",
})  # fmt: skip


def test_each_function_that_may_change_is_known(engine: Engine) -> None:
    """Whatever DuckDB marks as not consistent is refused, or is one of those that only read the fixed time zone."""
    connection = duckdb.connect()
    marked = connection.execute(
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions() "
        "WHERE coalesce(stability, 'CONSISTENT') <> 'CONSISTENT'"
    ).fetchall()
    assert {name for (name,) in marked if is_steady(engine, name, 2)} <= STEADY
    assert all(is_steady(engine, name, 2) for name in STEADY)


def test_each_macro_over_such_a_function_is_known(engine: Engine) -> None:
    """A macro that calls what is refused is refused itself."""
    macros = duckdb.execute(
        "SELECT lower(function_name), lower(macro_definition) FROM duckdb_functions() "
        "WHERE function_type = 'macro' AND macro_definition IS NOT NULL"
    ).fetchall()
    calls = {name: set(re.findall(r"\w+", body)) - {"error"} for name, body in macros}  # an error is steady
    calling = {name for name, called in calls.items() if any(not is_steady(engine, each, 2) for each in called)}
    assert "ago" in calling
    assert {name for name in calling if is_steady(engine, name, 2)} == set()
    called = {name: set(re.findall(r'(\w+)"?\(', body)) for name, body in macros}
    assert {name for name, found in called.items() if not aggregates(engine).isdisjoint(found)} == AGGREGATES
    assert (CLOCKS | SESSION | MACROS).isdisjoint(STEADY)


@pytest.mark.parametrize(
    "text",
    [
        "moment + INTERVAL 1 DAY - INTERVAL 1 HOUR",
        "moment - moment",
        "hour(moment) + year(moment)",
        "date_trunc('day', moment)",
        "strftime(moment, '%Y-%m-%d')",
        "timezone('Asia/Tokyo', moment)",
        "moment AT TIME ZONE 'Asia/Tokyo'",
        "date_diff('day', moment, moment)",
        "age(moment, moment)",
        "range(3)",
        "generate_series(1, 3)",
        "extract(dow FROM moment)",
        "make_timestamptz(0)",
        "time_bucket(INTERVAL 1 DAY, moment)",
    ],
)
def test_times_in_expressions(engine: Engine, text: str) -> None:
    """What depends on the time zone alone is steady, since that is fixed: arithmetic and parts of times are allowed."""
    check_expression(engine, text, ["moment"])
    engine.rows(f"SELECT CAST(({text}) AS VARCHAR) FROM (SELECT CAST(NULL AS TIMESTAMPTZ) AS moment)")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("total -- the sum", "total"),
        ("total -- the sum\n", "total"),
        ("total /* the sum */ ; -- done", "total"),
        ("'-- no comment' ;", "'-- no comment'"),
        ("'it''s' || \"a -- b\" -- it's", "'it''s' || \"a -- b\""),
        (r"E'it\' -- no' -- yes", r"E'it\' -- no'"),
        ("$$ -- no $$ -- yes", "$$ -- no $$"),
        ("a /* x */ + b", "a /* x */ + b"),
        ("-- only\n", ""),
    ],
)
def test_what_a_text_ends_with(text: str, left: str) -> None:
    """Closing comments and semicolons are cut, and nothing that stands inside a text or between words."""
    assert without_end(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("SELECT 1; -- done", "SELECT 1"),
        ("SELECT 1 /* never closed", "SELECT 1"),
        ("SELECT 1 AS [a -- b]", "SELECT 1 AS [a -- b]"),
        ("SELECT 1 AS `a -- b` -- c", "SELECT 1 AS `a -- b`"),
        (r"SELECT 1 AS e'\' -- c", r"SELECT 1 AS e'\'"),
    ],
)
def test_what_a_text_of_sqlite_ends_with(text: str, left: str) -> None:
    """SQLite has names in square brackets and backticks, no escapes, and comments that need no end."""
    assert bare(text) == left


def test_closing_comments(orders: Path, tmp_path: Path) -> None:
    """A comment or a semicolon at the end is no syntax error, in any place."""
    plain = job_over(orders, where="id <> '2' -- not that;", sql=("upper(id) -- shouted", "id /* x */;"))
    assert inspect(plain).faults == ()
    assert staged(plain, tmp_path / "plain").column("__bf_sql_1") == ["1", "3", "4"]
    query = job_over(orders, query="SELECT id FROM source; -- all\n/* of them */", where="id > '1' -- not the first")
    assert inspect(query).faults == ()
    assert staged(query, tmp_path / "query").column("id") == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("SELECT total FROM source ORDER BY status", ("total", "status")),
        ("FROM source", tuple(COLUMNS)),
        ("SELECT source FROM source", tuple(COLUMNS)),
        ("SELECT to_json(s) FROM source s JOIN users u USING (status)", tuple(COLUMNS)),
        ("SELECT #1 FROM source", tuple(COLUMNS)),
        ("SELECT a FROM source AS s(a)", tuple(COLUMNS)),
        ("WITH s AS (SELECT total FROM source) SELECT s FROM s", ("total",)),
        ("SELECT s.status, i.u FROM source s, unnest(tags) AS i(u)", ("tags", "status")),
        ("WITH a AS (SELECT total AS t FROM source) SELECT sum(t) OVER (ORDER BY t) FROM a", ("total",)),
        ("SELECT total FROM source NATURAL JOIN users", tuple(COLUMNS)),
        ("SELECT u.name FROM users u JOIN source USING (status)", ("status",)),
        ("SELECT total FROM source UNION ALL SELECT discount FROM source", ("total", "Discount")),
    ],
)
def test_columns_that_a_query_reads(engine: Engine, text: str, reads: tuple[str, ...]) -> None:
    """A query reads the columns it names, and all of them where it has a star or the like."""
    assert check_query(engine, text, ["source", "users"], COLUMNS) == reads


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM read_csv('secret.csv')",
        "SELECT * FROM 'secret.csv'",
        'SELECT * FROM "/etc/passwd"',
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM 'https://localhost/x.parquet'",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('secret')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM other.source",
        "SELECT * FROM pandas_frame",
        "FROM source USING SAMPLE 10%",
        "SELECT total FROM source ORDER BY random()",
        "SELECT now()",
        "SELECT 1; SELECT 2",
        "ATTACH 'x.db'",
        "COPY source TO 'x.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '1TB'",
        "PRAGMA version",
        "CREATE TABLE x AS SELECT 1",
        "EXPORT DATABASE 'x'",
        "CALL pragma_version()",
        "SELECT * FROM (DESCRIBE source)",
    ],
)
def test_refused_queries(engine: Engine, text: str) -> None:
    """A query is one SELECT over the named tables; nothing else gets as far as running."""
    with pytest.raises(SqlRefusal):
        check_query(engine, text, ["source", "users"], COLUMNS)


def test_the_connection_itself_is_locked(orders: Path) -> None:
    """Even SQL that no check had seen reaches no other file, no network, no extension, no setting, no variable."""
    pandas_frame = [1, 2, 3]
    folder = orders.parent / "state"
    folder.mkdir()
    with open_engine(folder) as engine:
        engine.run(f"COPY (SELECT 4 AS n) TO '{folder / 'part.parquet'}'")
        assert engine.rows(f"SELECT n FROM read_parquet('{folder / 'part.parquet'}')") == [(4,)]
        for text in (
            f"SELECT * FROM read_csv('{orders}')",
            f"SELECT * FROM read_csv('{orders.parent / 'secret.csv'}')",
            f"SELECT * FROM read_csv('{folder}/../secret.csv')",
            "SELECT * FROM read_text('/etc/passwd')",
            "SELECT * FROM glob('/etc/*')",
            f"COPY (SELECT 1) TO '{orders.parent / 'stolen.csv'}'",
            f"ATTACH '{orders.parent / 'other.db'}'",
            f"EXPORT DATABASE '{orders.parent / 'export'}'",
            "INSTALL httpfs",
            "LOAD httpfs",
            "SELECT * FROM 'http://127.0.0.1:9/x.csv'",
            "SET enable_external_access = true",
            "SET memory_limit = '1TB'",
            "RESET allowed_paths",
            "SELECT * FROM pandas_frame",
        ):
            with pytest.raises(duckdb.Error):
                engine.rows(text)
    assert pandas_frame == [1, 2, 3]
    assert sorted(path.name for path in orders.parent.iterdir()) == ["orders.csv", "secret.csv", "state"]


def test_all_faults_at_once(orders: Path) -> None:
    """Every faulty expression is told with its field, its place in the text, and what may have been meant."""
    job = job_over(
        orders,
        columns={"total": "number"},
        where="totl > 1",
        sql=("total * 2", "nope(id)", "id || é +", "sum(total)", "'x'::DATE"),
        when="total",
    )
    faults = {fault.path: fault for fault in inspect(job).faults}
    assert (faults["where"].offset, faults["where"].candidates[0]) == (0, "total")
    assert faults["calls[0].when"].message == "is DOUBLE, where true or false is wanted"
    assert faults["calls[0].properties.p1"].offset == 0
    assert faults["calls[0].properties.p2"].offset == 8
    assert "aggregate" in faults["calls[0].properties.p3"].message
    assert "calls[0].properties.p0" not in faults
    with pytest.raises(JobError, match="where: "):
        stage(job, orders.parent / "state")


def of(orders: Path, *sql: str, where: str | None = None) -> Staged:
    """Stage the orders with typed columns."""
    return staged(
        job_over(orders, columns={"total": "number", "at_hand": "integer"}, sql=sql, where=where),
        orders.parent / "state",
    )


def test_expressions_are_not_asked_of_bad_rows(orders: Path) -> None:
    """A bad value in a column that is read makes the result null; other expressions of the row are worked out."""
    result = of(orders, "CAST(total AS INTEGER)", "at_hand + 1", "1 / 0")
    assert result.column("__bf_sql_0") == [10, None, 0, 2]
    assert result.column("__bf_sql_1") == [3, 4, None, 2]
    assert result.snapshot.column("__bf_sql_0").reads == ("total",)  # type: ignore[union-attr]


def test_expressions_are_not_asked_of_filtered_rows(orders: Path) -> None:
    """What `where` leaves out cannot fail."""
    assert (
        of(
            orders,
            "CASE WHEN total = 0 THEN error('no') ELSE 1 END".replace("error('no')", "CAST('x' || id AS INTEGER)"),
            where="total > 0",
        ).snapshot.rows
        == 3
    )


def test_an_expression_that_can_only_fail(orders: Path) -> None:
    """What reads no column and fails is an error of the job, with the field it stands in."""
    with pytest.raises(JobError, match=r"calls\[0\]\.properties\.p1: .*Could not convert"):
        of(orders, "id", "CAST('x' || 1 AS INTEGER)")


def test_query(orders: Path, tmp_path: Path) -> None:
    """A query over the source and further files; rows with a bad value that it reads are unreadable."""
    (tmp_path / "names.csv").write_text("id,name\n1,Ann\n4,Zoë\n")
    job = job_over(
        orders,
        columns={"total": "decimal"},
        query="SELECT n.name, s.total * 2 AS twice FROM source s JOIN names n USING (id) ORDER BY name DESC",
        files={"names": str(tmp_path / "names.csv")},
        where="twice > 5",
        sql=("upper(name)",),
    )
    assert [column.name for column in inspect(job).columns] == [
        *("name", "twice", "__bf_sql_0", "__bf_failed:__bf_sql_0", "__bf_where_failed"),
    ]
    result = staged(job, tmp_path / "state")
    assert result.rows == [("Ann", "20")]
    assert result.records == [2]
    assert result.column("__bf_sql_0") == ["ANN"]
    snapshot = result.snapshot
    assert (snapshot.read, snapshot.filtered, snapshot.unreadable) == (3, 1, 1)
    assert [(reject["code"], reject["record"], reject["column"], reject["value"]) for reject in result.rejects] == [
        ("BF007", 2, "total", "x")
    ]
    assert [file.key for file in snapshot.files] == ["orders.csv", "files/names"]


def test_a_query_that_leaves_rows_out_says_so(orders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """How many rows the source has and how many its query gives, where these differ; the same number needs no word."""
    job = job_over(orders, query="SELECT * FROM source LIMIT 1")
    stage(job, tmp_path / "one")
    assert "its query gives 1 row" in caplog.text
    caplog.clear()
    stage(job_over(orders, query="SELECT * FROM source"), tmp_path / "all")
    assert caplog.text == ""


def test_query_that_does_not_read_the_bad_column(orders: Path, tmp_path: Path) -> None:
    """A bad value in a column that the query leaves alone costs nothing."""
    job = job_over(orders, columns={"total": "number"}, query="SELECT id FROM source ORDER BY id")
    assert staged(job, tmp_path / "state").column("id") == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT nothere FROM source",
        "SELECT id, id FROM source",
        "SELECT CAST(id || 'x' AS INTEGER) FROM source",
        "SELECT * FROM orders",
    ],
)
def test_faulty_query(orders: Path, tmp_path: Path, query: str) -> None:
    """A query that does not bind, or fails, is an error of the job."""
    with pytest.raises(JobError):
        stage(job_over(orders, query=query), tmp_path / "state")


def test_query_over_parquet_in_place(tmp_path: Path) -> None:
    """Nested values are unnested, instants stay instants."""
    path = tmp_path / "rows.parquet"
    duckdb.connect().execute(
        "COPY (SELECT i AS id, [{'sku': 'a'}, {'sku': 'b'}] AS items, TIMESTAMPTZ '2024-01-01 00:00:00+00' AS moment "
        f"FROM range(3) t(i)) TO '{path}' (FORMAT parquet)"
    )
    job = job_over(path, query="SELECT id, unnest(items).sku AS sku, moment FROM source ORDER BY ALL")
    result = staged(job, tmp_path / "state")
    assert result.frame.select("id", "sku").rows()[:3] == [(0, "a"), (0, "b"), (1, "a")]
    column = result.snapshot.column("moment")
    assert column is not None
    assert column.zone.value == "utc"


def test_declared_times_in_a_query(tmp_path: Path) -> None:
    """A declared time with offset reaches the query, and comes out of it, as the instant it is."""
    path = tmp_path / "rows.csv"
    path.write_text("moment\n2024-07-01T00:00:00+02:00\n2024-07-01 00:00:00\n")
    spec = ColumnSpec(type="timestamp", format="iso8601", timezone="America/New_York")
    result = staged(job_over(path, columns={"moment": spec}, query="SELECT moment FROM source"), tmp_path / "state")
    assert [str(value) for value in result.column("moment")] == [
        "2024-06-30 22:00:00+00:00",
        "2024-07-01 04:00:00+00:00",
    ]


def test_sql_is_parsed_and_bound_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a look at the source has found out of an expression, staging does not ask again, nested types included."""
    pl.DataFrame({"a": [1], "b": [{"c": ["x"]}]}).write_parquet(tmp_path / "a.parquet")
    parsed, bound = Counter[str](), Counter[str]()
    monkeypatch.setattr(syntax, "_TREES", {})
    monkeypatch.setattr(check, "_BOUND", {})
    whole_parse, whole_check = syntax._parsed, check.check_expression

    def parse(engine: Engine, text: str) -> syntax.Node:
        parsed[text] += 1
        return whole_parse(engine, text)

    def expression(engine: Engine, text: str, names: Sequence[str]) -> tuple[str, ...]:
        bound[text] += 1
        return whole_check(engine, text, names)

    monkeypatch.setattr(syntax, "_parsed", parse)
    monkeypatch.setattr(check, "check_expression", expression)
    job = job_over(tmp_path / "a.parquet", where="a > 0", sql=("b", "struct_pack(d := b.c)", "b.c[1]"))
    assert not inspect(job).faults
    result = staged(job, tmp_path / "state")
    assert result.column("__bf_sql_1") == [{"d": ["x"]}]
    assert bound == dict.fromkeys(("a > 0", "b", "struct_pack(d := b.c)", "b.c[1]"), 1)
    assert set(parsed.values()) == {1}
