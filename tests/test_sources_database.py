"""SQLite through ADBC: its own SQL, read only, and no value altered."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from backfill.errors import JobError, SourceError
from backfill.sources import inspect, stage
from tests.sourcing import Staged, job_over, staged


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A database whose columns have no types of their own."""
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, late, mixed, number, long, data)")
    rows = [
        (i, "late" if i == 2999 else None, i if i % 2 else "x", 1 if i < 5 else 2.5, 2**62 + i, b"\x00\xff")
        for i in range(3000)
    ]
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return path


def of(shop: Path, query: str, **options: Any) -> Staged:
    """Stage a query."""
    return staged(job_over(database=f"sqlite:///{shop}", query=query, **options), shop.parent / "state")


def test_values(shop: Path) -> None:
    """Late values, long integers and integers among reals come through; the query's order holds."""
    result = of(shop, "SELECT id, late, number, long, data, NULL AS empty FROM t ORDER BY id DESC;")
    assert result.column("id") == list(range(2999, -1, -1))
    assert result.column("late") == ["late"] + [None] * 2999
    assert result.column("number")[-6:] == [2.5, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert result.column("long")[0] == 2**62 + 2999
    assert [result.kind(name) for name in ("id", "late", "number", "data", "empty")] == [
        "integer",
        "text",
        "number",
        "binary",
        "text",
    ]


def test_mixed_columns(shop: Path) -> None:
    """A column that mixes text and numbers is refused, and so are integers that a double would round."""
    for query in ("SELECT mixed FROM t", "SELECT 9007199254740993 AS n UNION ALL SELECT 1.5"):
        with pytest.raises(SourceError, match="mixes values"):
            of(shop, query)


def test_declared(shop: Path) -> None:
    """Text and integers can be declared; numbers cannot, as their text is not the database's."""
    result = of(
        shop,
        "SELECT id, '12.50' AS total FROM t LIMIT 3",
        columns={"id": "decimal", "total": "decimal"},
        where="total > id * 5",
    )
    assert result.column("id") == ["0", "1", "2"]
    with pytest.raises(JobError, match="cannot be declared"):
        of(shop, "SELECT number FROM t", columns={"number": "decimal"})


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM t",
        "SELECT 1; SELECT 2",
        "SELECT 1) UNION SELECT (2",
        "ATTACH 'other.db' AS other",
        "PRAGMA table_info(t)",
        "SELECT load_extension('x')",
        "SELECT random() FROM t",
        "SELECT datetime('now')",
        "SELECT date()",
        "SELECT CURRENT_TIMESTAMP",
        "SELECT * FROM nowhere",
        "SELECT id, id FROM t",
        "VACUUM INTO 'copy.db'",
        "WITH x AS (SELECT 1) DELETE FROM t",
    ],
)
def test_refused_queries(shop: Path, query: str) -> None:
    """One steady SELECT that reaches nothing else, or it is an error of the job."""
    before = shop.read_bytes()
    for look in (inspect, lambda job: stage(job, shop.parent / "state")):
        with pytest.raises(JobError, match=r"source\.query"):
            look(job_over(database=f"sqlite:///{shop}", query=query))
    assert shop.read_bytes() == before
    assert sorted(path.name for path in shop.parent.iterdir()) in (["shop.db"], ["shop.db", "state"])


def test_not_a_database(tmp_path: Path) -> None:
    """Something else, or a damaged file, is an error of the source."""
    (tmp_path / "shop.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(SourceError):
        of(tmp_path / "shop.db", "SELECT 1")


def test_damaged_pages(shop: Path) -> None:
    """Damage inside the file is found when it is read."""
    data = bytearray(shop.read_bytes())
    data[4096 * 3 : 4096 * 6] = b"\xff" * (4096 * 3)
    shop.write_bytes(bytes(data))
    with pytest.raises(SourceError):
        of(shop, "SELECT * FROM t")


def test_changes_beside_the_file(shop: Path) -> None:
    """A write-ahead log that is not yet in the file means that rows would be missed."""
    writer = sqlite3.connect(shop)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO t (id) VALUES (5000)")
    writer.commit()
    with pytest.raises(SourceError, match=r"shop\.db-wal"):
        of(shop, "SELECT id FROM t")
    writer.close()
    assert of(shop, "SELECT id FROM t").snapshot.rows == 3001


def test_other_databases(shop: Path) -> None:
    """Databases that are not read yet are named."""
    with pytest.raises(JobError, match="postgresql"):
        inspect(job_over(database="postgresql://host/db", query="SELECT 1"))
    with pytest.raises(JobError, match="query is missing"):
        inspect(job_over(database=f"sqlite:///{shop}", query=None))


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000)"


@pytest.mark.parametrize(
    ("query", "known"),
    [
        (f"{ENDLESS} SELECT i, CASE WHEN i > 20000 THEN i END AS late FROM n", ["i"]),
        (f"{ENDLESS} SELECT count(*) AS late FROM n a CROSS JOIN n b", []),
    ],
)
def test_inspect_takes_no_longer_than_it_needs(shop: Path, query: str, known: list[str]) -> None:
    """A long query, or one whose first row takes long, is looked at so far; nothing is said of what is unknown yet."""
    schema = inspect(job_over(database=f"sqlite:///{shop}", query=query, where="late + 1 > 2"))
    assert not schema.complete
    assert [column.name for column in schema.columns] == known
    assert schema.faults == ()


def test_inspect_of_all_there_is(shop: Path) -> None:
    """A short result is known whole, columns without any value included."""
    schema = inspect(job_over(database=f"sqlite:///{shop}", query="SELECT id, NULL AS empty FROM t"))
    assert schema.complete
    assert [(column.name, column.kind.value) for column in schema.columns] == [("id", "integer"), ("empty", "text")]
