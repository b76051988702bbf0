"""A finished run of a live database: that it is not read again is said, with what is known of it and the way on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.projects import Project, Result, backfill

JOB = """
version: 1
name: test
source: {database: {driver: adbc_driver_sqlite, uri: "shop.db"}, query: "SELECT i, t FROM t ORDER BY i"}
calls:
  - type: track
    event: {value: Seen}
    userId: t
    timestamp: {value: "2024-01-01T00:00:00Z"}
    message_key: i
"""
Insert = Callable[[int], None]


@pytest.fixture
def insert(project: Project, monkeypatch: pytest.MonkeyPatch) -> Insert:
    """Adds a row to the table, which is empty at first."""
    monkeypatch.chdir(project.folder)
    Path("job.yaml").write_text(JOB, encoding="utf-8")

    def execute(sql: str, *values: object) -> None:
        with closing(sqlite3.connect("shop.db")) as connection, connection:
            connection.execute(sql, values)

    execute("CREATE TABLE t (i INTEGER, t TEXT)")
    return lambda number: execute("INSERT INTO t VALUES (?, ?)", number, f"u{number}")


def run(*more: str) -> Result:
    """Run the job, which ends well."""
    done = backfill("run", "job.yaml", "--target", "sandbox", *more)
    assert done.code == 0, done.err
    return done


def test_rows_that_came_since(insert: Insert) -> None:
    """The later run says that they were not looked for, what a dry run has read since, and --only-new sends them."""
    insert(1)
    assert "not read again" not in run().err
    insert(2)
    said = run().err
    assert "finished before; nothing was sent again." in said
    assert "The database was not read again: what was sent is of the run that began 20" in said
    assert "`run --only-new` reads it again" in said
    assert "dry run" not in said
    assert backfill("dry-run", "job.yaml").code == 0
    assert "read 2 rows, this run 1." in run().err
    told = run("--output", "json").object["not_read_again"]
    assert (told["read"], told["dry_run"]["read"]) == (1, 2)
    assert told["since"] <= told["dry_run"]["at"]
    done = run("--only-new", "--output", "json")
    assert done.object["calls"]["delivered"] == 1
    assert "not_read_again" not in done.object


def test_a_table_that_was_empty(insert: Insert) -> None:
    """Nothing came of it then, which says nothing of today."""
    assert "there was nothing to send: no row came of the source." in run().err
    insert(1)
    said = run().err
    assert "The database was not read again" in said
    assert "no row came of the source when it was read." in said


def test_a_limited_dry_run_tells_nothing(insert: Insert) -> None:
    """A dry run of the first rows has not read the database."""
    insert(1)
    run()
    insert(2)
    assert backfill("dry-run", "job.yaml", "--limit", "1").code == 0
    said = run("--output", "json")
    assert said.object["not_read_again"]["dry_run"] is None
