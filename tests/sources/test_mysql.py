"""MySQL and MariaDB, by a real server: every type's edges, its SQL, and what is asked of it."""

from __future__ import annotations

import threading
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pymysql
import pytest

from backfill.errors import ConnectionLostError, InterruptedRunError, JobError, SourceError
from backfill.job.models import ColumnSpec
from backfill.sources import inspect, stage
from backfill.sources.databases.address import address_of
from backfill.sources.databases.mysql.failures import Failures
from backfill.sources.databases.mysql.session import connected
from tests.support.mariadb import PASSWORD, USER, MariaDb
from tests.support.sourcing import Staged, job_over, staged
from tests.support.waiting import until, when

at = datetime.fromisoformat
#: A value that is bad where it is sent, as the text shows that the server gives.
BAD = object()
TYPES: list[tuple[str, str, str, Any]] = [
    ("tinyint(1)", "1", "integer", 1),
    ("tinyint", "-128", "integer", -128),
    ("bigint", "-9223372036854775808", "integer", -(2**63)),
    ("bigint unsigned", "18446744073709551615", "integer", 2**64 - 1),
    ("int(6) zerofill", "42", "integer", 42),
    ("decimal(10,2)", "1.5", "decimal", Decimal("1.50")),
    ("decimal(38,0) unsigned", "9" * 38, "decimal", Decimal("9" * 38)),
    ("decimal(38,38)", "-0." + "9" * 38, "decimal", Decimal("-0." + "9" * 38)),
    ("decimal(65,30)", "-" + "9" * 35 + "." + "9" * 30, "decimal", "-" + "9" * 35 + "." + "9" * 30),
    ("double", "1.7976931348623157e308", "number", 1.7976931348623157e308),
    ("double", "0.1", "number", 0.1),
    ("float", "16777216", "number", 16777216.0),
    ("date", "'2024-02-29'", "date", date(2024, 2, 29)),
    ("date", "'0000-00-00'", "date", BAD),
    ("date", "'2024-02-00'", "date", BAD),
    ("datetime", "'9999-12-31 23:59:59'", "timestamp", at("9999-12-31T23:59:59")),
    ("datetime(6)", "'1000-01-01 00:00:00.000001'", "timestamp", at("1000-01-01T00:00:00.000001")),
    ("datetime", "'0000-00-00 00:00:00'", "timestamp", BAD),
    ("timestamp null", "'2024-06-01 12:00:00'", "timestamp", at("2024-06-01T17:00:00+00:00")),
    ("timestamp(3) null", "'2024-06-01 12:00:00.120'", "timestamp", at("2024-06-01T17:00:00.120+00:00")),
    ("time(2)", "'-838:59:59'", "text", "-838:59:59.00"),
    ("year", "0", "integer", 0),
    ("enum('a','b''c')", "'b''c'", "text", "b'c"),
    ("set('x','y')", "'x,y'", "text", "x,y"),
    ("bit(1)", "b'1'", "integer", 1),
    ("bit(64)", "18446744073709551615", "integer", 2**64 - 1),
    ("varchar(20)", "'тест 中文 🫖'", "text", "тест 中文 🫖"),
    ("longtext", "''", "text", ""),
    ("char(5) character set latin1", "'é€'", "text", "é€"),
    ("text character set utf16", "'🫖'", "text", "🫖"),
    ("varchar(9) collate utf8mb4_bin", "'a\\0b'", "text", "a\0b"),
    ("json", "'{\"a\": 1.10}'", "text", '{"a": 1.10}'),
    ("inet6", "'::1'", "text", "::1"),
    ("uuid", "'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11'", "text", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("binary(3)", "'a'", "binary", b"a\0\0"),
    ("varbinary(9)", "x'00ff27'", "binary", b"\0\xff'"),
    ("blob", "''", "binary", b""),
]  # fmt: skip


@pytest.fixture(scope="module")
def typed(mariadb: MariaDb) -> str:
    """A database with a table of all types: the values, and nulls."""
    columns = ", ".join(f"c{place} {kind}" for place, (kind, *_) in enumerate(TYPES))
    values = ", ".join(value for _, value, *_ in TYPES)
    nulls = ", ".join("NULL" for _ in TYPES)
    return mariadb.new_database(
        f"CREATE TABLE t (id int primary key, {columns}) CHARACTER SET utf8mb4;"
        f"INSERT INTO t VALUES (1, {values}), (2, {nulls});"
        "CREATE TABLE `odd.``table` (n int); INSERT INTO `odd.``table` VALUES (7);"
        "CREATE TABLE many (id int primary key, text varchar(100));"
        "INSERT INTO many SELECT seq, repeat(seq, 10) FROM seq_1_to_50000;"
    )


def url(mariadb: MariaDb, database: str, login: str = "root@", **parameters: Any) -> str:
    """The address of a database, by the server's socket for who has no password."""
    parameters = {"unix_socket": mariadb.socket} | parameters if login == "root@" else parameters
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"mysql://{login}127.0.0.1:{mariadb.port}/{database}?{query}".rstrip("?")


def of(database: str, folder: Path, **options: Any) -> Staged:
    """Stage a query or table."""
    return staged(job_over(database=database, timezone="UTC", **options), folder / "state")


def test_values(mariadb: MariaDb, typed: str, tmp_path: Path) -> None:
    """Each type's edges come as they are, or as text that is no value of their kind; NULL is null."""
    result = of(url(mariadb, typed), tmp_path, table="t")
    assert not result.rejects
    for place, (kind, value, held, expected) in enumerate(TYPES):
        assert (kind, value, result.kind(f"c{place}")) == (kind, value, held)
        assert (kind, value, result.column(f"c{place}")) == (kind, value, [None if expected is BAD else expected, None])
        if expected is BAD:
            assert result.column(f"__bf_raw:c{place}")[0].startswith(value.strip("'"))


def test_float_of_a_query(mariadb: MariaDb, typed: str, tmp_path: Path) -> None:
    """FLOAT, of which digits are lost in print, is refused with the cast; by it, it is exact."""
    name = f"c{[kind for kind, *_ in TYPES].index('float')}"
    database = url(mariadb, typed)
    query = f"SELECT {name} AS v FROM t"
    assert "v` + 0e0" in inspect(job_over(database=database, query=query)).columns[0].refused
    assert of(database, tmp_path, query=f"SELECT {name} + 0e0 AS v FROM t").column("v") == [16777216.0, None]


def test_declared_columns(mariadb: MariaDb, typed: str, tmp_path: Path) -> None:
    """A declared column is read from the server's text; an instant takes no format."""
    database = url(mariadb, typed)
    columns = {"ok": "boolean", "doc": "json", "n": "text", "at": "timestamp"}
    query = "SELECT 1 AS ok, '[1]' AS doc, 07 AS n, c18 AS at FROM t WHERE id = 1"
    result = of(database, tmp_path, query=query, columns=columns)
    assert result.rows == [(True, "[1]", "7", at("2024-06-01T17:00:00"))]
    assert {column.name: column.zone.value for column in result.snapshot.columns}["at"] == "utc"
    spec = ColumnSpec(type="timestamp", format="%Y-%m-%d %H:%M:%S")
    with pytest.raises(JobError, match="in UTC"):
        inspect(job_over(database=database, query=query, columns={"at": spec}))


def test_order_and_records(mariadb: MariaDb, typed: str, tmp_path: Path) -> None:
    """Rows keep the query's order; `where` works over them; a sample is their beginning."""
    database = url(mariadb, typed)
    query = "SELECT id, text FROM many ORDER BY id DESC; -- all"
    result = of(database, tmp_path, query=query, where="id < 3000")
    assert result.column("id") == list(range(2999, 0, -1))
    assert result.records[0] == 50_000 - 2999 + 1
    few = stage(job_over(database=database, query=query), tmp_path / "few", sample=10)
    assert few.rows == 10


def test_tables(mariadb: MariaDb, typed: str, tmp_path: Path) -> None:
    """A table is named as it is, with its database or without."""
    for table in ('"odd.`table"', "`odd.``table`", f"{typed}.`odd.``table`"):
        assert of(url(mariadb, typed), tmp_path, table=table).rows == [(7,)]
    with pytest.raises(JobError, match=r"source\.table"):
        inspect(job_over(database=url(mariadb, typed), table="nowhere"))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 AS a; SELECT 2", "syntax"),
        ("INSERT INTO many VALUES (0, '')", "syntax"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT nope FROM t", "nope"),
        ("SELECT 1 AS a, 2 AS A", "Duplicate column"),
        ("SELECT id FROM many INTO OUTFILE '/tmp/x'", "syntax|wrong|Incorrect"),
        ("SELECT id FROM t FOR UPDATE; DROP TABLE t", "syntax"),
        ("SELECT nextval(s) AS n", "READ ONLY"),
    ],
)
def test_refused_queries(mariadb: MariaDb, typed: str, tmp_path: Path, query: str, said: str) -> None:
    """One SELECT that only reads and that the server understands, or it is an error of the job."""
    with pytest.raises(JobError, match=said):
        of(url(mariadb, typed), tmp_path, query=query)


def test_login(mariadb: MariaDb, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password comes of MYSQL_PWD or of an option file, and stands in no message."""
    database = url(mariadb, typed, f"{USER}@")
    with pytest.raises(SourceError, match="Access denied") as caught:
        inspect(job_over(database=database, table="t"))
    assert "MYSQL_PWD" in caught.value.hint
    file = tmp_path / "own.cnf"
    file.write_text(f'[client]\npassword="{PASSWORD}"\n')
    assert inspect(job_over(database=f"{database}?read_default_file={file}", table="t")).columns
    monkeypatch.setenv("MYSQL_PWD", PASSWORD)
    assert inspect(job_over(database=database.replace("mysql:", "mariadb:"), table="t")).columns
    monkeypatch.setenv("MYSQL_PWD", "wrong one")
    with pytest.raises(SourceError, match="Access denied") as caught:
        inspect(job_over(database=database, table="t"))
    assert "wrong one" not in caught.value.message
    assert "the password was refused" in caught.value.hint
    assert "set MYSQL_PWD" not in caught.value.hint
    with pytest.raises(JobError, match="no parameter charset"):
        inspect(job_over(database=f"{database}?charset=x", table="t"))
    with pytest.raises(SourceError, match="cannot be connected to"):
        inspect(job_over(database="mysql://127.0.0.1:1/x", table="t"))


@pytest.mark.parametrize(
    ("server", "hint"), [("localhost/x?unix_socket=/none", "unix_socket"), ("db:3306/x", "host and")]
)
def test_no_server(server: str, hint: str) -> None:
    """Where it was looked for is what the hint asks about."""
    job = job_over(database=f"mysql://{server}", table="t")
    failures = Failures(job, address_of(job))
    with pytest.raises(SourceError) as caught, failures.while_connecting(pymysql):
        # pymysql leaves a socket of its own open where this happens in earnest
        raise pymysql.err.OperationalError(2003, "Can't connect to MySQL server")
    assert f"is this its {hint}" in caught.value.hint


SLOW = "SELECT a.id, sleep(0.001) AS s FROM many AS a"


def test_cancelling(mariadb: MariaDb, typed: str, tmp_path: Path) -> None:
    """Asked to stop while a query runs, staging stops at once, and the server ends the query."""
    stopped = threading.Event()
    when(lambda: _queries(mariadb), stopped.set)
    with pytest.raises(InterruptedRunError):
        stage(
            job_over(database=url(mariadb, typed), query=f"SELECT sum(s) AS n FROM ({SLOW}) AS q"),
            tmp_path / "state",
            stopping=stopped.is_set,
        )
    assert _queries(mariadb) == []


def test_a_connection_that_is_ended(mariadb: MariaDb, typed: str, tmp_path: Path) -> None:
    """A connection that somebody ends is told as that, not as the end of the rows."""
    ended = threading.Thread(target=_end_queries, args=(mariadb,))
    ended.start()
    with pytest.raises(ConnectionLostError, match="broke"):
        stage(job_over(database=url(mariadb, typed), query=SLOW), tmp_path / "state")
    ended.join()


def _queries(mariadb: MariaDb) -> list[str]:
    found = "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT%sleep%' AND id <> connection_id()"
    return mariadb.sql(found).split()


def _end_queries(mariadb: MariaDb) -> None:
    until(lambda: _queries(mariadb))
    mariadb.sql("".join(f"KILL {one};" for one in _queries(mariadb)))


def test_one_state_of_the_database(mariadb: MariaDb) -> None:
    """What is written after the connection was made is not in the rows."""
    database = mariadb.new_database("CREATE TABLE t (id int primary key) ENGINE=InnoDB; INSERT INTO t VALUES (1)")
    job = job_over(database=url(mariadb, database), query="SELECT id FROM t")
    with connected(job, address_of(job), None) as session:
        mariadb.sql("INSERT INTO t SELECT seq FROM seq_2_to_9", database)
        assert [batch.column(0).to_pylist() for batch in session.batches()] == [[1]]
    with connected(job, address_of(job), 3) as session:
        assert [batch.column(0).to_pylist() for batch in session.batches()] == [[1, 2, 3]]


def test_batches_of_wide_rows(mariadb: MariaDb) -> None:
    """A batch holds some megabytes, whatever the rows hold."""
    database = mariadb.new_database(
        "CREATE TABLE t (id int, b longblob); INSERT INTO t SELECT seq, repeat('x', 1000000) FROM seq_1_to_12;"
        "INSERT INTO t SELECT seq, 'y' FROM seq_13_to_9000"
    )
    job = job_over(database=url(mariadb, database), table="t")
    with connected(job, address_of(job), None) as session:
        rows = [batch.num_rows for batch in session.batches()]
    assert sum(rows) == 9000
    assert rows[0] <= 5
    assert len(rows) < 8


def test_expressions(mariadb: MariaDb, typed: str, tmp_path: Path) -> None:
    """What the server computes has types too: sums, fractions of seconds, a bare NULL; a result may be empty."""
    both = f"c{place_of('datetime')}, c{place_of('datetime(6)')}"
    query = f"SELECT sum(id) AS s, count(*) AS c, id / 3 AS t, coalesce({both}) AS m, NULL AS n FROM t WHERE id = 1"
    result = of(url(mariadb, typed), tmp_path, query=query)
    assert result.rows == [(Decimal(1), 1, Decimal("0.3333"), at("9999-12-31T23:59:59"), None)]
    assert [result.kind(name) for name in "sctmn"] == ["decimal", "integer", "decimal", "timestamp", "text"]
    assert of(url(mariadb, typed), tmp_path, query="SELECT id FROM t WHERE false").rows == []


def place_of(kind: str) -> int:
    """The place of a type in the table."""
    return [one for one, *_ in TYPES].index(kind)
