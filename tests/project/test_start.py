"""What verbs load on small inputs and how often they make a DuckDB: nearly all of their time (docs/performance.md)."""

from __future__ import annotations

from typing import Any

import duckdb
import polars as pl
import pytest

from backfill.pipeline import sample
from backfill.sources import stage
from backfill.sources.sql import syntax
from tests.support.loading import loaded
from tests.support.projects import Project, backfill

#: Whoever reads a file that a person wrote.
READS = {"pydantic", "ruamel"}
#: Whoever judges rows. A Parquet file that is read in place needs no DuckDB.
JUDGES = READS | {"numpy", "orjson", "polars", "pyarrow"}
#: Whoever asks a target.
SENDS = {"backfill.deliver", "backfill.targets", "http.client", "httpx", "ssl", "urllib.request"}
#: Each takes 2 to 200 ms of CPU.
HEAVY = JUDGES | {
    "adbc_driver_manager", "asyncio", "backfill.deliver", "backfill.ledger", "backfill.targets",
    "backfill.tracking.schemas", "duckdb", "http.client", "httpx", "numpy.ma", "pyarrow.compute", "pyarrow.dataset",
    "pyarrow.fs", "pyarrow.parquet", "ssl", "starlette", "tomllib", "tqdm", "urllib.request", "uvicorn",
}  # fmt: skip
VERBS = {
    "check people.yaml": JUDGES | {"duckdb", "backfill.ledger"},
    "check parquet.yaml": JUDGES | {"pyarrow.fs", "pyarrow.parquet", "ssl", "backfill.ledger"},
    # Lists, ids that are spelt and sent twice, and rows that are rejected, ask nothing more of NumPy and Arrow.
    "check lists.yaml": JUDGES | {"duckdb", "pyarrow.fs", "pyarrow.parquet", "ssl", "backfill.ledger"},
    "guess people.csv": JUDGES | {"duckdb"},
    "doctor": set(),
    "doctor --target sandbox": READS
    | {"backfill.deliver", "backfill.targets", "http.client", "httpx", "ssl", "urllib.request"},
    "status": set(),
    "explain BF105": {"tomllib"},
}


JOB = """\
version: 1
name: people
source: {path: people.parquet}
calls:
  - {type: identify, message_key: [id], userId: id, timestamp: joined, traits: {age: age}, integrations: {All: false}}
"""


@pytest.fixture
def small(project: Project) -> Project:
    """A project with a CSV of five people, and the same as Parquet, typed."""
    project.people(5)
    rows = pl.read_csv(project.folder / "people.csv").with_columns(pl.col("joined").str.to_datetime(time_zone="UTC"))
    rows.write_parquet(project.folder / "people.parquet")
    (project.folder / "parquet.yaml").write_text(JOB, encoding="utf-8")
    again = rows.with_columns(pl.col("id").str.to_uppercase())
    lists = pl.concat([rows, rows.with_columns(age=pl.col("age") + 1), again]).with_columns(
        age=pl.concat_list("age", "age")
    )
    lists.write_parquet(project.folder / "lists.parquet")
    (project.folder / "lists.yaml").write_text(JOB.replace("people", "lists"), encoding="utf-8")
    return project


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_loads(small: Project, verb: str) -> None:
    """A verb loads what the table says, and nothing else that takes long."""
    assert loaded(small.folder, verb.split(), HEAVY) == VERBS[verb]


@pytest.mark.parametrize(("verb", "often"), [("check sql.yaml", 1), ("check parquet.yaml", 0), ("guess people.csv", 1)])
def test_one_duckdb_is_enough(small: Project, monkeypatch: pytest.MonkeyPatch, verb: str, often: int) -> None:
    """The look at the columns, the sample and whoever else asks DuckDB share one, which takes 15 ms to be made."""
    text = (small.folder / "people.yaml").read_text(encoding="utf-8")
    (small.folder / "sql.yaml").write_text(text.replace("calls:", "where: length(id) > 2\ncalls:"), encoding="utf-8")
    made: list[Any] = []
    connect = duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda *given, **named: made.append(1) or connect(*given, **named))
    monkeypatch.chdir(small.folder)
    syntax._LISTED.clear()
    assert backfill(*verb.split()).code == 0
    assert len(made) == often


@pytest.mark.parametrize(("where", "often"), [("id NOT LIKE '%0'", 1), ("id LIKE '%0'", 2)])
def test_a_condition_costs_few_stagings(
    project: Project, monkeypatch: pytest.MonkeyPatch, where: str, often: int
) -> None:
    """Where a tenth is left out, no second look is needed; where nine tenths are, one of the right size is enough."""
    job = project.people(20_000)
    job.write_text(job.read_text(encoding="utf-8").replace("calls:", f'where: "{where}"\ncalls:'), encoding="utf-8")
    made: list[int | None] = []
    monkeypatch.setattr(sample, "stage", lambda *given, **named: made.append(named["sample"]) or stage(*given, **named))
    result = backfill("check", job)
    assert "the first 1,000 records" in result.out
    assert len(made) == often
    assert (made[-1] or 0) < 16_000
