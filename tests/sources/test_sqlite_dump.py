"""Dumps of SQLite: by its shell and by Python, compared with the database they are of."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from backfill.errors import SourceError
from backfill.sources import stage
from tests.support.sourcing import job_over, staged

TABLE = """CREATE TABLE "order items" ( -- what was bought; and (when
    id INTEGER PRIMARY KEY, note TEXT DEFAULT 'a,b)', [price] DECIMAL(10, 2), weight REAL, at DATETIME,
    picture BLOB, PRIMARY_ VARCHAR(10) NOT NULL DEFAULT '', twice INT AS (id * 2), CHECK (id > 0)
)"""
NOTES = [
    "plain",
    "it's",
    "two\nlines",
    "two\r\nlines",
    "\\n literal\nand line",
    "'); --\n",
    "",
    None,
    "東京 🫖",
    ";\nCOMMIT;\n",
]


def database(path: Path) -> sqlite3.Connection:
    """A database with that table, another one, and a trigger."""
    connection = sqlite3.connect(path)
    connection.execute(TABLE)
    connection.execute("CREATE TABLE other (id INTEGER, note TEXT)")
    connection.executemany("INSERT INTO other VALUES (?, ?)", enumerate(NOTES))
    connection.execute("CREATE TRIGGER t AFTER DELETE ON other BEGIN DELETE FROM other; SELECT 1; END")
    rows = [
        (at, note, 1.5 * at, at / 8, "2024-01-02", b"\x00'" if at == 1 else None) for at, note in enumerate(NOTES, 1)
    ]
    connection.executemany(
        'INSERT INTO "order items" (id, note, price, weight, at, picture) VALUES (?, ?, ?, ?, ?, ?)', rows
    )
    connection.commit()
    return connection


def by_shell(path: Path) -> str:
    """The dump by SQLite's own shell."""
    if shutil.which("sqlite3") is None:
        pytest.skip("the shell of SQLite is not here: install Debian's `sqlite3`")
    done = subprocess.run(["sqlite3", path, ".dump"], capture_output=True, check=True)
    return done.stdout.decode()


def by_python(path: Path) -> str:
    """The dump by Python."""
    with sqlite3.connect(path) as connection:
        return "".join(f"{line}\n" for line in connection.iterdump())


@pytest.mark.parametrize("way", [by_shell, by_python])
def test_as_in_the_database(tmp_path: Path, way: Any) -> None:
    """Every value comes through, whatever the dump writes around it."""
    database(tmp_path / "shop.db").close()
    (tmp_path / "dump.sql").write_bytes(way(tmp_path / "shop.db").encode())
    job = job_over(tmp_path / "dump.sql", format="sqlite_dump", table='"order items"')
    result = staged(job, tmp_path / "state")
    assert not result.rejects
    assert result.column("id") == list(range(1, len(NOTES) + 1))
    assert result.column("note") == NOTES
    assert result.column("price")[:3] == ["1.5", "3", "4.5"]
    assert result.column("weight")[:2] == [0.125, 0.25]
    assert result.column("at")[0] == "2024-01-02"
    assert [column.name for column in result.snapshot.columns if column.refused] == ["picture"]
    assert "twice" not in result.frame.columns
    other = staged(job_over(tmp_path / "dump.sql", format="sqlite_dump", table="OTHER"), tmp_path / "other")
    assert other.rows == list(enumerate(NOTES))


def test_values_of_another_type(tmp_path: Path) -> None:
    """A text in a column of integers is bad, a blob in one of texts makes the record unreadable, infinity is bad."""
    (tmp_path / "dump.sql").write_text(
        "BEGIN TRANSACTION;\nCREATE TABLE t(a INTEGER, b TEXT, c REAL);\nINSERT INTO t VALUES(1,'x',1e999);\n"
        "INSERT INTO t VALUES('y',X'00',1.0e+10);\nINSERT INTO t VALUES('z',unistr('a\\u000ab'),-1);\nCOMMIT;\n"
    )
    result = staged(job_over(tmp_path / "dump.sql", format="sqlite_dump", table="t"), tmp_path / "state")
    assert result.rows == [(1, "x", None), (None, "a\nb", -1.0)]
    assert result.column("__bf_raw:a") == ["1", "z"]
    assert [(each["record"], each["line"], each["code"]) for each in result.rejects] == [(2, 4, "BF009")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("INSERT INTO t VALUES(1);\n", "truncated"),
        ("INSERT INTO t VALUES(1);\nINSERT INTO t VAL", "truncated"),
        ("INSERT INTO t VALUES(1);\nINSERT INTO t VALUES('a", "truncated"),
        ("INSERT INTO t VALUES(1);\nROLLBACK; -- due to errors\n", "met damage"),
        ("/****** CORRUPTION ERROR *******/\nCOMMIT;\n", "met damage"),
        ("INSERT INTO t SELECT 1;\nCOMMIT;\n", "form that is not read"),
        ("INSERT INTO t VALUES(replace(a,b));\nCOMMIT;\n", "is computed"),
    ],
)
def test_what_is_no_whole_dump(tmp_path: Path, text: str, words: str) -> None:
    """A dump that is cut, that says itself to be damaged, or holds rows in another form, is refused."""
    (tmp_path / "dump.sql").write_text(f"BEGIN TRANSACTION;\nCREATE TABLE t(a INTEGER);\n{text}")
    with pytest.raises(SourceError, match=words):
        stage(job_over(tmp_path / "dump.sql", format="sqlite_dump", table="t"), tmp_path / "state")
