"""DuckDB files, and any database by the name of its ADBC driver."""

from __future__ import annotations

import sqlite3
from datetime import date, time
from pathlib import Path
from time import process_time
from typing import Any

import duckdb
import pytest

from backfill.errors import InterruptedRunError, JobError, SourceError, UsageError
from backfill.job.models import DriverSpec
from backfill.sources import inspect, stage
from tests.support.postgres import Postgres
from tests.support.sourcing import job_over, staged

#: A DuckDB type and value, the kind it is held as, and what is held.
TYPES: list[tuple[str, str, str, Any]] = [
    ("BIGINT", "'-9223372036854775808'", "integer", -(2**63)),
    ("UBIGINT", "18446744073709551615", "integer", 2**64 - 1),
    ("HUGEINT", "12", "integer", 12),
    ("HUGEINT", "170141183460469231731687303715884105727", "integer", None),  # which is told where it is sent
    ("DECIMAL(38, 3)", f"'{'9' * 35}.678'", "decimal", f"{'9' * 35}.678"),
    ("DOUBLE", "0.1", "number", 0.1),
    ("VARCHAR", "'тест'", "text", "тест"),
    ("UUID", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "text", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("ENUM('a', 'b')", "'b'", "text", "b"),
    ("DATE", "'2024-02-29'", "date", date(2024, 2, 29)),
    ("TIME", "'10:00:00.5'", "time", time(10, 0, 0, 500_000)),
    ("TIME WITH TIME ZONE", "'10:00:00+02'", "text", "10:00:00+02"),
    ("JSON", """'{"a": 1.10, "b": 12345678901234567890123}'""", "json", '{"a": 1.10, "b": 12345678901234567890123}'),
    ("BIT", "'101'", "text", "101"),
    ("INTEGER[]", "[1, NULL]", "nested", [1, None]),
    ("STRUCT(x INTEGER, y VARCHAR)", "{'x': 1, 'y': 'z'}", "nested", {"x": 1, "y": "z"}),
]  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A DuckDB file with a table of each type, and a longer one."""
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        columns = ", ".join(f"({value})::{kind} AS v{at}" for at, (kind, value, _, _) in enumerate(TYPES))
        connection.execute(f"CREATE TABLE types AS SELECT {columns}")
        connection.execute("CREATE TABLE moments AS SELECT 'infinity'::TIMESTAMPTZ AS a, '-infinity'::TIMESTAMP AS b")
        connection.execute("CREATE TABLE odd AS SELECT 'x'::BLOB AS b, INTERVAL 1 DAY AS i, [1::HUGEINT] AS h")
        connection.execute('CREATE TABLE "long one" AS SELECT range AS i FROM range(100000) ORDER BY i DESC')
    return path


def url(path: Path) -> str:
    """Of a DuckDB file."""
    return f"duckdb:///{path}"


def test_types_of_duckdb(shop: Path, tmp_path: Path) -> None:
    """Each type's edges come as they are."""
    result = staged(job_over(database=url(shop), table="types"), tmp_path / "state")
    for at, (kind, _, held, expected) in enumerate(TYPES):
        found = result.column(f"v{at}")[0]
        shown = str(found) if held == "decimal" else found
        assert (kind, result.kind(f"v{at}"), shown) == (kind, held, expected)
    moments = staged(job_over(database=url(shop), table="main.moments"), tmp_path / "state")
    assert [moments.frame[name].to_physical()[0] for name in "ab"] == [2**63 - 1, 1 - 2**63]


def test_refused_types_of_duckdb(shop: Path) -> None:
    """What has no form in JSON is refused where it is read, with the cast."""
    columns = inspect(job_over(database=url(shop), table="odd")).columns
    casts = ('base64("b") AS "b"', '"i"::VARCHAR AS "i"', 'to_json("h") AS "h"')
    for column, cast in zip(columns, casts, strict=True):
        assert f"(write {cast} in the query)" in column.refused


def test_duckdb_reads_only(shop: Path, tmp_path: Path) -> None:
    """The order holds, declared types and `where` work, nothing is written, no other file is reached."""
    before = shop.read_bytes()
    query = 'SELECT i, i::VARCHAR AS t FROM "long one" ORDER BY i; -- all'
    result = staged(
        job_over(database=url(shop), query=query, columns={"t": "integer"}, where="t < 5"), tmp_path / "state"
    )
    assert result.column("i") == [0, 1, 2, 3, 4]
    (tmp_path / "other.csv").write_text("a\n1\n")
    other = f"SELECT * FROM '{tmp_path}/other.csv'"
    for refused in ("DELETE FROM types", other, "SELECT 1; SELECT 2", "SELECT * FROM nope"):
        with pytest.raises(JobError, match=r"source\.query"):
            inspect(job_over(database=url(shop), query=refused))
    assert shop.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.csv", "shop.duckdb", "state"]


def test_duckdb_files_that_cannot_be_read(shop: Path, tmp_path: Path) -> None:
    """A file that is none, is damaged or in use is the source's error."""
    (tmp_path / "shop.duckdb.wal").write_bytes(b"changes")
    with pytest.raises(SourceError, match="in use"):
        inspect(job_over(database=url(shop), table="types"))
    (tmp_path / "shop.duckdb.wal").unlink()
    shop.write_bytes(b"not a database" * 1000)
    with pytest.raises(SourceError, match=r"shop\.duckdb"):
        inspect(job_over(database=url(shop), table="types"))


def test_cancelling(shop: Path, tmp_path: Path) -> None:
    """A stop ends the query."""
    enough = process_time() + 0.3
    query = "SELECT count(*) AS n FROM range(100000000000) AS a"
    with pytest.raises(InterruptedRunError):
        stage(job_over(database=url(shop), query=query), tmp_path / "state", stopping=lambda: process_time() > enough)


def test_a_driver_by_its_name(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drivers of packages read by query and by table, options and URI from the environment."""
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE t AS SELECT 7 AS n, 'x' AS s")
    connection.close()
    monkeypatch.setenv("SHOP_FILE", str(tmp_path / "shop.db"))
    lite = DriverSpec(driver="adbc_driver_sqlite", uri="${SHOP_FILE}")
    assert staged(job_over(database=lite, table="t"), tmp_path / "state").rows == [(7, "x")]
    assert str(tmp_path) not in inspect_name(lite)
    name = postgres.new_database("CREATE TABLE t AS SELECT i FROM generate_series(1, 30000) AS i")
    monkeypatch.setenv("SHOP_URL", postgres.url(name))
    served = DriverSpec(driver="adbc_driver_postgresql", options={"uri": "${SHOP_URL}"})
    result = staged(job_over(database=served, query="SELECT i FROM t ORDER BY i DESC"), tmp_path / "state")
    assert result.column("i") == list(range(30_000, 0, -1))
    assert staged(job_over(database=served, query="SELECT i FROM t"), tmp_path / "state", sample=10).snapshot.rows == 10
    with pytest.raises(JobError, match="nope"):
        inspect(job_over(database=served, query="SELECT nope FROM t"))
    with pytest.raises(UsageError, match="adbc_driver_nowhere is not installed"):
        inspect(job_over(database=DriverSpec(driver="adbc_driver_nowhere", uri="x"), query="SELECT 1 AS a"))


def inspect_name(spec: DriverSpec) -> str:
    """What messages call the database."""
    from backfill.sources import locate

    return locate(job_over(database=spec, table="t"))[0].name
