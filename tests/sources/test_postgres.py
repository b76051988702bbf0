"""PostgreSQL, by a real server: every type's edges, its SQL, and what is asked of it."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backfill.errors import JobError
from backfill.job.models import Job
from backfill.sources import inspect
from tests.support.contracts.sources import Row, RowsContract
from tests.support.postgres import Postgres
from tests.support.sourcing import Staged, job_over, staged

MADE = """
    CREATE TYPE mood AS ENUM ('sad', 'très gai');
    CREATE DOMAIN positive AS int4 CHECK (value > 0);
    CREATE DOMAIN small AS positive CHECK (value < 100);
    CREATE TYPE pair AS (x int, y text);
    CREATE TABLE "Odd.Table" AS SELECT 7 AS n;
"""
at = datetime.fromisoformat


class Number(int):
    """A day or an instant that no calendar has, which is a problem where it is sent: as Arrow counts."""


#: A value that is bad where it is sent, as text shows it.
BAD = object()
TYPES: list[tuple[str, str, str, Any]] = [
    ("int2", "'-32768'", "integer", -32768),
    ("int8", "'-9223372036854775808'", "integer", -(2**63)),
    ("oid", "4294967295", "integer", 4294967295),
    ("numeric", "1.10", "decimal", "1.10"),
    ("numeric", "'1e-20'", "decimal", "0.00000000000000000001"),
    ("numeric(38,9)", f"'{'9' * 29}.123456789'", "decimal", f"{'9' * 29}.123456789"),
    ("numeric", "repeat('9', 131072)", "decimal", "9" * 131_072),
    ("numeric", "'NaN'", "decimal", BAD),
    ("numeric", "'-Infinity'", "decimal", BAD),
    ("float8", "'1.7976931348623157e308'", "number", 1.7976931348623157e308),
    ("float8", "'5e-324'", "number", 5e-324),
    ("float4", "0.5", "number", 0.5),
    ("bool", "true", "boolean", True),
    ("text", "'тест 中文 \U0001f600'", "text", "тест 中文 \U0001f600"),
    ("text", "''", "text", ""),
    ("varchar(3)", "'ab '", "text", "ab "),
    ("char(5)", "'ab'", "text", "ab   "),
    ("name", "'x'", "text", "x"),
    ('"char"', "'x'", "text", "x"),
    ("uuid", "'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11'", "text", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("mood", "'très gai'", "text", "très gai"),
    ("small", "5", "integer", 5),
    ("date", "'2024-02-29'", "date", date(2024, 2, 29)),
    ("date", "'infinity'", "date", Number(2**31 - 1)),
    ("date", "'-infinity'", "date", Number(1 - 2**31)),
    ("date", "'4713-01-01 BC'", "date", Number(-2_440_550)),
    ("date", "'5874897-12-31'", "date", Number(2_145_042_905)),
    ("time", "'23:59:59.999999'", "time", time(23, 59, 59, 999999)),
    ("timetz", "'10:00:00+02'", "text", "10:00:00+02"),
    ("timestamp", "'2024-03-10 02:30:00.5'", "timestamp", at("2024-03-10T02:30:00.500000")),
    ("timestamptz", "'2024-03-01 12:00:00.123456+02'", "timestamp", at("2024-03-01T10:00:00.123456+00:00")),
    ("timestamptz", "'0001-01-01 00:00:00+00'", "timestamp", at("0001-01-01T00:00:00+00:00")),
    ("timestamptz", "'9999-12-31 23:59:59.999999+00'", "timestamp", at("9999-12-31T23:59:59.999999+00:00")),
    ("timestamptz", "'infinity'", "timestamp", Number(2**63 - 1)),
    ("timestamptz", "'-infinity'", "timestamp", Number(1 - 2**63)),
    ("timestamptz", "'0044-03-15 00:00:00+00 BC'", "timestamp", Number(-63_517_824_000_000_000)),
    ("timestamptz", "'294276-12-31 23:59:59.999999+00'", "timestamp", Number(2**63 - 1)),
    ("timestamptz", "'294246-12-31 23:59:59+00'", "timestamp", Number(9_223_371_244_799_000_000)),
    ("timestamp", "'4713-01-01 00:00:00 BC'", "timestamp", Number(-210_863_520_000_000_000)),
    ("timestamp", "'infinity'", "timestamp", Number(2**63 - 1)),
    ("json", """'{"a": 1.10, "a": 12345678901234567890123}'""", "json", '{"a": 1.10, "a": 12345678901234567890123}'),
    ("jsonb", """'{"b": 1.10, "a": [1e2, null]}'""", "json", '{"a": [100, null], "b": 1.10}'),
    ("int4[]", "'[2:3]={7,8}'", "json", "[7,8]"),
    ("int4[]", "'{{1,2},{3,NULL}}'", "json", "[[1,2],[3,null]]"),
    ("int8[]", "'{}'", "json", "[]"),
    ("numeric[]", "'{1.10,12345678901234567890}'", "json", "[1.10,12345678901234567890]"),
    ("float8[]", "'{1,2.5,1e100}'", "json", "[1,2.5,1e+100]"),
    ("float8[]", "'{1,NaN}'", "json", BAD),
    ("float4[]", "'{-Infinity}'", "json", BAD),
    ("text[]", """'{a,"b \\" c",NULL,"NULL"}'""", "json", '["a","b \\" c",null,"NULL"]'),
    ("mood[]", "'{sad}'", "json", '["sad"]'),
    ("inet", "'10.0.0.1'", "text", "10.0.0.1"),
    ("inet", "'10.1.0.0/16'", "text", "10.1.0.0/16"),
    ("cidr", "'10.1.0.0/16'", "text", "10.1.0.0/16"),
    ("macaddr", "'08:00:2b:01:02:03'", "text", "08:00:2b:01:02:03"),
    ("bit(3)", "B'101'", "text", "101"),
    ("int4range", "'[1,5)'", "text", "[1,5)"),
    ("point", "'(1,2)'", "text", "(1,2)"),
]  # fmt: skip
REFUSED = {
    "bytea": ("'\\x00'", "encode"),
    "interval": ("'1 day'", "::text"),
    "money": ("1", "::numeric"),
    "pair": ("ROW(1, 'x')", "to_json"),
    "pair[]": ("ARRAY[ROW(1, 'x')::pair]", "to_json"),
    "timestamptz[]": ("'{2024-01-01}'", "to_json"),
    "bytea[]": ("'{}'", "to_json"),
}


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    """A database of some types of its own; its URL."""
    return postgres.url(postgres.new_database(MADE))


def of(database: str, query: str, folder: Path, **options: Any) -> Staged:
    """Stage a query."""
    return staged(job_over(database=database, query=query, timezone="UTC", **options), folder / "state")


def test_server(postgres: Postgres) -> None:
    """The tests' own server answers, and its databases are apart from each other."""
    first, second = postgres.new_database("CREATE TABLE t AS SELECT 7 AS n"), postgres.new_database()
    assert postgres.sql("SELECT n FROM t", first) == "7\n"
    assert postgres.sql("SELECT to_regclass('t') IS NULL", second) == "t\n"


def test_values(database: str, tmp_path: Path) -> None:
    """Each type's edges come as they are, or as text that is no value of their kind; NULL is null."""
    columns = [
        f"({value})::{kind} AS v{place}, NULL::{kind} AS n{place}" for place, (kind, value, _, _) in enumerate(TYPES)
    ]
    result = of(database, f"SELECT {', '.join(columns)}", tmp_path)
    assert not result.rejects
    for place, (kind, value, held, expected) in enumerate(TYPES):
        assert (kind, value, result.kind(f"v{place}")) == (kind, value, held)
        values = result.frame[f"v{place}"]
        found = (values.to_physical() if isinstance(expected, Number) else values).to_list()
        assert (kind, value, found) == (kind, value, [None if expected is BAD else expected])
        if expected is BAD:
            assert result.column(f"__bf_raw:v{place}") == [value.strip("'")]
        assert result.column(f"n{place}") == [None]


def test_an_hour_that_no_day_has(database: str, tmp_path: Path) -> None:
    """A row with 24:00 is unreadable, and the next one is the second record still."""
    result = of(database, "SELECT t FROM unnest(ARRAY['24:00', '10:00']::time[]) AS t", tmp_path)
    assert (result.column("t"), result.records) == ([time(10)], [2])
    assert [(one["code"], one["column"], one["record"]) for one in result.rejects] == [("BF009", "t", 1)]


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_types(database: str, kind: str) -> None:
    """What JSON has no form for is listed, and refused with the cast where it is read."""
    value, cast = REFUSED[kind]
    query = f"SELECT 1 AS id, ({value})::{kind} AS v"
    assert cast in inspect(job_over(database=database, query=query)).columns[1].refused
    faults = inspect(job_over(database=database, query=query, sql=("v IS NULL",))).faults
    assert cast in faults[0].message


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 AS a; SELECT 2", "syntax error"),
        ('INSERT INTO "Odd.Table" VALUES (1)', "syntax error"),
        ('WITH x AS (DELETE FROM "Odd.Table" RETURNING n) SELECT * FROM x', "data-modifying"),
        ("SELECT nextval('s')", "does not exist"),
        ("SELECT * FROM nowhere", "nowhere"),
        ('SELECT nope FROM "Odd.Table"', "nope"),
        ("SELECT set_config('transaction_read_only', 'off', false), txid_current()", "read-write"),
        ("SELECT", "no columns"),
        ("SELECT 1 AS a, 2 AS A", "tell apart"),
        ('SELECT 1 / (n - 7) AS n FROM "Odd.Table"', "division by zero"),
    ],
)
def test_refused_queries(database: str, tmp_path: Path, query: str, said: str) -> None:
    """One SELECT that only reads and that the server understands, or it is an error of the job."""
    with pytest.raises(JobError, match=said):
        of(database, query, tmp_path)


def test_tables(database: str, tmp_path: Path) -> None:
    """A table is named as it is, with its schema or without; a quoted part may hold a dot."""
    for table in ('"Odd.Table"', 'public."Odd.Table"'):
        assert staged(job_over(database=database, table=table), tmp_path / "state").rows == [(7,)]
    with pytest.raises(JobError, match=r"source\.table"):
        inspect(job_over(database=database, table="Odd.Table"))


def test_order_records_and_declared_types(database: str, tmp_path: Path) -> None:
    """Rows keep the query's order; `where` works over them, and text takes a declared type."""
    query = "SELECT i, i::text || '.50' AS total FROM generate_series(1, 50000) AS i ORDER BY i DESC; -- all"
    result = of(database, query, tmp_path, columns={"total": "decimal"}, where="total < 3000")
    assert result.column("i") == list(range(2999, 0, -1))
    assert result.records[0] == 50_000 - 2999 + 1
    assert result.kind("total") == "decimal"
    with pytest.raises(JobError, match="cannot be declared"):
        of(database, "SELECT 1 AS i", tmp_path, columns={"i": "decimal"})


def test_latin_1(postgres: Postgres, tmp_path: Path) -> None:
    """A database in another encoding gives the same text."""
    name = postgres.new_database("CREATE TABLE t AS SELECT 'Zoë' AS \"prénom\"", "ENCODING 'LATIN1' LOCALE 'C'")
    result = of(postgres.url(name), "SELECT * FROM t", tmp_path)
    assert (result.rows, result.column("prénom")) == ([("Zoë",)], ["Zoë"])


def test_text_that_is_none(postgres: Postgres, tmp_path: Path) -> None:
    """A database that checks no encoding may hold other bytes: that row is unreadable."""
    name = postgres.new_database(options="ENCODING 'SQL_ASCII' LOCALE 'C'")
    odd = "CASE i WHEN 2 THEN convert_from('\\xff41', 'SQL_ASCII') ELSE 'a' END"
    query = f"SELECT i, {odd} AS t FROM generate_series(1, 3) AS i"
    result = of(postgres.url(name), query, tmp_path)
    assert result.column("i") == [1, 3]
    assert [(one["code"], one["record"]) for one in result.rejects] == [("BF009", 2)]


MADE_UP = """
    SELECT setseed(0.5); SET intervalstyle = 'postgres';
    CREATE TABLE made_up AS SELECT i,
      (random() * 10 ^ (random() * 40 - 20))::numeric * CASE WHEN i % 2 = 0 THEN -1 ELSE 1 END AS n,
      (random() * 10 ^ (random() * 600 - 300))::float8 AS f, (random() * 10 ^ (random() * 60 - 30))::float4 AS g,
      ((random() - 0.5) * 2 ^ 63)::int8 AS b, timestamptz '0001-01-01 00:00+00' + random() * interval '9998 years' AS z,
      timestamp '0001-01-01' + random() * interval '9998 years' AS t,
      date '0001-01-01' + (random() * 3650000)::int AS d, (random() * interval '1 day')::time AS h,
      chr(32 + (random() * 50000)::int) || '"\\,' AS c,
      jsonb_build_object('n', (random() * 10 ^ (random() * 40 - 20))::numeric) AS j
    FROM generate_series(1, 5000) AS i;
"""


def test_as_psql_prints_it(postgres: Postgres, tmp_path: Path) -> None:
    """Values made up by the server are what psql, which shares no code with the driver, prints of them."""
    name = postgres.new_database(MADE_UP)
    result = staged(job_over(database=postgres.url(name), query="SELECT * FROM made_up ORDER BY i"), tmp_path / "state")
    said = "COPY (SELECT * FROM made_up ORDER BY i) TO STDOUT (FORMAT csv)"
    text = postgres.sql(f"SET timezone = 'UTC'; SET datestyle = 'ISO'; {said}", name)
    printed = list(zip(*csv.reader(io.StringIO(text)), strict=True))
    assert len(printed[0]) == result.snapshot.rows == 5000
    reads: dict[str, Callable[[str], Any]] = {
        "i": int, "n": str, "f": float, "g": lambda one: float(np.float32(one)), "b": int, "z": datetime.fromisoformat,
        "t": datetime.fromisoformat, "d": date.fromisoformat, "h": time.fromisoformat, "c": str, "j": str,
    }  # fmt: skip
    for (column, read), values in zip(reads.items(), printed, strict=True):
        assert result.column(column) == list(map(read, values)), column


class Table:
    """A table of a database that the environment names, since the measure of memory is a process of its own."""

    def write(self, folder: Path, rows: Iterable[Row]) -> None:
        """Write the rows."""
        text = "".join("\t".join(map(copied, row)) + "\n" for row in rows)
        made = "DROP TABLE IF EXISTS rows; CREATE TABLE rows (place serial, id text, text text);"
        written = f"{made}\nCOPY rows (id, text) FROM STDIN;\n{text}\\.\n"
        psql = [os.environ["TEST_PSQL"], "-Xq", "-v", "ON_ERROR_STOP=1", os.environ["TEST_DATABASE"]]
        subprocess.run(psql, input=written.encode(), check=True)

    def job(self, folder: Path, **options: Any) -> Job:
        """A job over the table."""
        return job_over(database="${TEST_DATABASE}", query="SELECT id, text FROM rows ORDER BY place", **options)


def copied(value: str | None) -> str:
    """A value as COPY reads it."""
    if value is None:
        return "\\N"
    for sign, written in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(sign, written)
    return value


class TestTable(RowsContract):
    """The contract of rows."""

    source = Table()

    @pytest.fixture(autouse=True)
    def _database(self, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEST_DATABASE", postgres.url(postgres.new_database()))
        monkeypatch.setenv("TEST_PSQL", str(postgres.bin / "psql"))
