"""A query of PostgreSQL read in parts at the same time: the rows of one state, in one order."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from backfill.errors import InterruptedRunError, JobError, SourceError
from backfill.sources import inspect, stage
from backfill.sources.databases.postgres.parts import ranges
from tests.support.postgres import Postgres
from tests.support.sourcing import job_over, staged
from tests.support.stand_ins.cutting import CuttingProxy
from tests.support.waiting import when

MADE = """
    CREATE TABLE t AS SELECT CASE WHEN i % 1000 <> 0 THEN i * 7 END AS id, repeat('x', 300) AS text
    FROM generate_series(1, 60000) AS i;
    CREATE TABLE narrow AS SELECT i % 3 AS id FROM generate_series(1, 1000) AS i;
    CREATE TABLE empty (id int8);
"""


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    """A database of some rows; its name."""
    return postgres.new_database(MADE)


def test_all_rows_once_in_one_order(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """Each row comes once, nulls too, with record numbers from 1 on; a second reading gives the same order."""
    job = job_over(database=postgres.url(database), table="t", partition_on="id", partitions=4)
    first, second = staged(job, tmp_path / "a"), staged(job, tmp_path / "b")
    assert first.records == list(range(1, 60_001))
    ids = first.column("id")
    assert ids.count(None) == 60
    assert sorted(one for one in ids if one is not None) == [i * 7 for i in range(1, 60_001) if i % 1000]
    with_id = [(a, b) for a, b in zip(ids, second.column("id"), strict=True) if a is not None]
    assert all(a == b for a, b in with_id)


def test_few_values(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """More parts than values, and no rows at all, are no fault."""
    for table, rows in (("narrow", 1000), ("empty", 0)):
        job = job_over(database=postgres.url(database), table=table, partition_on="id", partitions=8)
        assert staged(job, tmp_path / table).snapshot.rows == rows


def test_one_state(postgres: Postgres, tmp_path: Path) -> None:
    """Rows that are moved from part to part meanwhile are seen once, where they were."""
    rows = "SELECT i AS id, repeat('x', 500) AS s FROM generate_series(1, 80000) AS i"
    name = postgres.new_database(f"CREATE TABLE t AS {rows}")
    stopped = threading.Event()

    def move() -> None:
        while not stopped.is_set():
            postgres.sql("UPDATE t SET id = 80001 - id", name)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        job = job_over(database=postgres.url(name), table="t", partition_on="id", partitions=3)
        assert sorted(staged(job, tmp_path / "state").column("id")) == list(range(1, 80_001))
    finally:
        stopped.set()
        mover.join()


def test_faults(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """A column that is not there or holds no integers is told by check; a part that breaks leaves no snapshot."""
    for column, said in (("nope", "no column"), ("text", "is text")):
        with pytest.raises(JobError, match=said):
            inspect(job_over(database=postgres.url(database), table="t", partition_on=column, partitions=2))
    with CuttingProxy(postgres.port, [*[10**12] * 7, 1_000_000]) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}?sslmode=disable&gssencmode=disable"
        job = job_over(database=url, table="t", partition_on="id", partitions=3)
        with pytest.raises(SourceError, match="closed"):
            stage(job, tmp_path / "state")


def test_cancelling(postgres: Postgres, tmp_path: Path) -> None:
    """A stop ends every part."""
    stopped = threading.Event()
    when(lambda: len(postgres.at_work()) == 2, stopped.set)
    # Said to be without effect, so that the question for the ends does not take its minute.
    body = "'BEGIN PERFORM pg_sleep(i); RETURN i; END'"
    database = postgres.new_database(f"CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS {body}")
    query = "SELECT i AS id, slow(60 + i) AS s FROM generate_series(1, 40) AS i"
    job = job_over(database=postgres.url(database), query=query, partition_on="id", partitions=2)
    with pytest.raises(InterruptedRunError):
        stage(job, tmp_path / "state", stopping=stopped.is_set)


@pytest.mark.parametrize(("least", "most", "parts"), [(1, 10, 3), (-5, -5, 4), (-(2**63), 2**63 - 1, 64), (0, 1, 8)])
def test_ranges(least: int, most: int, parts: int) -> None:
    """Every number is in one range."""
    conditions = [each.replace("AND", "and").replace("OR", "or") for each in ranges("c", least, most, parts)]
    conditions = [each.replace("c IS NULL", "False").replace("true", "True") for each in conditions]
    for number in (least, most, (least + most) // 2):
        assert [eval(each, {"c": number}) for each in conditions].count(True) == 1
