"""PostgreSQL, by a real server: its SQL, every type's edges, and what a server may do."""

from __future__ import annotations

from tests.support.postgres import Postgres


def test_server(postgres: Postgres) -> None:
    """The tests' own server answers, and its databases are apart from each other."""
    first, second = postgres.new_database("CREATE TABLE t AS SELECT 7 AS n"), postgres.new_database()
    assert postgres.sql("SELECT n FROM t", first) == "7\n"
    assert postgres.sql("SELECT to_regclass('t') IS NULL", second) == "t\n"
