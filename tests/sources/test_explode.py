"""`explode`: each element of a list becomes a row with its position, and every row is counted."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backfill.errors import JobError
from backfill.job.models import ColumnValue, Job
from backfill.sources import inspect
from tests.support.job_texts import faults, job_text, load
from tests.support.projects import backfill
from tests.support.sourcing import job_over, staged

ROWS: list[dict[str, Any]] = [
    {"id": 1, "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}]},
    {"id": 2, "items": []},
    {"id": 3, "items": None},
    {"id": 4, "items": [{"sku": "c", "n": 3}]},
]


def exploding(job: Job, column: str = "items") -> Job:
    """The job with that."""
    return job.model_copy(update={"explode": column})


def write(folder: Path, kind: str) -> dict[str, Any]:
    """The rows as a file; what a job over them says of the source, and what makes a sku."""
    if kind == "parquet":
        pl.DataFrame(ROWS).write_parquet(folder / "rows.parquet")
        return {"path": folder / "rows.parquet", "sql": "items.sku"}
    if kind == "csv":
        cells = [
            '"' + json.dumps(row["items"]).replace('"', '""') + '"' if row["items"] is not None else "" for row in ROWS
        ]
        lines = [f"{row['id']},{cell}" for row, cell in zip(ROWS, cells, strict=True)]
        (folder / "rows.csv").write_text("\n".join(["id,items", *lines, ""]))
        return {"path": folder / "rows.csv", "sql": "items->>'$.sku'", "columns": {"items": "json"}}
    (folder / "rows.ndjson").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return {"path": folder / "rows.ndjson", "sql": "items->>'$.sku'"}


@pytest.mark.parametrize("kind", ["parquet", "csv", "ndjson"])
def test_elements_become_rows(tmp_path: Path, kind: str) -> None:
    """Of lists, of JSON, of declared JSON: with record numbers; lists without elements count as filtered."""
    made = write(tmp_path, kind)
    job = exploding(job_over(made["path"], sql=(made["sql"],), columns=made.get("columns")))
    result = staged(job, tmp_path / "state")
    assert [str(one) for one in result.column("id")] == ["1", "1", "4"]
    assert result.column("items_position") == [1, 2, 1]
    assert result.column("__bf_sql_0") == ["a", "b", "c"]
    assert result.records == [1, 1, 4]
    snapshot = result.snapshot
    assert (snapshot.read, snapshot.filtered, snapshot.unreadable, snapshot.rows) == (5, 2, 0, 3)
    promised = {column.name: column for column in inspect(job).columns}
    assert promised.items() <= {column.name: column for column in snapshot.columns}.items()


def test_where_is_asked_of_elements(tmp_path: Path) -> None:
    """And `latest` of what that leaves."""
    made = write(tmp_path, "parquet")
    job = exploding(job_over(made["path"], where="items.n > 1"))
    result = staged(job, tmp_path / "state")
    assert [item["sku"] for item in result.column("items")] == ["b", "c"]
    assert (result.snapshot.read, result.snapshot.filtered) == (5, 3)


def test_what_is_no_list(tmp_path: Path) -> None:
    """It is unreadable, with its record, as is JSON whose digits SQL would lose; nested nulls are elements."""
    cells = [
        "[1,null]",
        "{}",
        "not json",
        "null",
        "[1.23456789012345678901]",
        "[123456789012345678901234567890]",
        '"x"',
    ]
    lines = [f'{at},"{cell.replace(chr(34), chr(34) * 2)}"' for at, cell in enumerate(cells, 1)]
    (tmp_path / "rows.csv").write_text("\n".join(["id,items", *lines, "8", ""]))
    result = staged(exploding(job_over(tmp_path / "rows.csv", columns={"items": "json"})), tmp_path / "state")
    assert result.column("items") == ["1", "null", "123456789012345678901234567890"]
    assert result.records == [1, 1, 6]
    found = [(each["record"], each["code"], each["value"]) for each in result.rejects]
    assert found == [(8, "BF001", "8"), (2, "BF008", "{}"), (3, "BF008", "not json"),
                     (5, "BF133", "[1.23456789012345678901]"), (7, "BF008", '"x"')]  # fmt: skip
    assert result.rejects[1]["message"] == "items holds no list"
    assert (result.snapshot.read, result.snapshot.filtered, result.snapshot.unreadable) == (9, 1, 5)


@pytest.mark.parametrize("threads", [1, 4])
def test_against_python(tmp_path: Path, threads: int) -> None:
    """50,000 lists keep their order, whatever the threads."""
    chance = random.Random(1)
    rows = [(at, [chance.randrange(9) for _ in range(chance.randrange(4))]) for at in range(50_000)]
    pl.DataFrame(rows, schema=["id", "items"], orient="row").write_parquet(tmp_path / "rows.parquet")
    result = staged(exploding(job_over(tmp_path / "rows.parquet")), tmp_path / "state", threads=threads)
    assert result.rows == [(at, item, place) for at, items in rows for place, item in enumerate(items, 1)]
    assert result.snapshot.filtered == sum(not items for _, items in rows)


def test_the_position_is_part_of_the_key(tmp_path: Path) -> None:
    """It is added where it is not named, and `row` cannot tell rows of one record apart."""
    job = load(tmp_path, job_text("message_key: [id]", top="explode: items"))
    assert job.calls[0].message_key == (ColumnValue(column="id"), ColumnValue(column="items_position"))
    job = load(tmp_path, job_text("message_key: [items_position, id]", top="explode: items"))
    assert job.calls[0].message_key == (ColumnValue(column="items_position"), ColumnValue(column="id"))
    (fault,) = faults(tmp_path, job_text("message_key: row", top="explode: items"))
    assert "does not go with `explode`" in fault.message
    (fault,) = faults(tmp_path, job_text(source="path: a.csv, query: SELECT 1", top="explode: items"))
    assert "unnest" in fault.hint


@pytest.mark.parametrize(("column", "words"), [("id", "holds BIGINT, not lists"), ("none", 'no column "none"')])
def test_columns_that_will_not_do(tmp_path: Path, column: str, words: str) -> None:
    """They are told before anything is read, by staging as well."""
    made = write(tmp_path, "parquet")
    with pytest.raises(JobError, match=words):
        staged(exploding(job_over(made["path"]), column), tmp_path / "state")


def test_verbs_agree(tmp_path: Path) -> None:
    """`check`, `preview` and `dry-run` see the same rows."""
    write(tmp_path, "ndjson")
    call = "message_key: [id], userId: {column: id, trim: true}, properties: {sku: {sql: \"items->>'$.sku'\"}}"
    call += ', timestamp: {value: "2024-01-01T00:00:00Z"}, integrations: {All: false}'
    load(tmp_path, job_text(call, source="path: rows.ndjson", top="explode: items"))
    path = tmp_path / "job.yaml"
    checked = backfill("check", path)
    assert (checked.code, "nothing wrong with its 5 records" in checked.out) == (0, True), checked
    assert backfill("preview", path, "-n", "9").out.count('"sku": "') == 6  # of the rows and of the calls
    dry = backfill("dry-run", path, "--output", "json").object
    assert dry["rows"] == {"read": 5, "filtered": 2, "unreadable": 0, "mapped": 3}
    assert dry["calls"]["pending"] == 3
