"""Further inputs of a query: what does not fit in one is refused by its place, and never a null of the query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastavro
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import JobError, SourceError
from backfill.sources import inspect
from tests.support.projects import Project, backfill
from tests.support.sourcing import job_over, staged

ALL = "SELECT s.id, u.v FROM source s LEFT JOIN users u ON s.id = u.id::VARCHAR ORDER BY 1"
#: Of the same rows, but for the column with what is unfit.
WITHOUT = "SELECT s.id, u.id::VARCHAR AS own FROM source s LEFT JOIN users u ON s.id = u.id::VARCHAR ORDER BY 1"
#: The ways a query reads a column that it does not name.
UNNAMED = [
    "SELECT to_json(u) AS j FROM users u",
    "SELECT w FROM users AS u(i, w)",
    "SELECT #2 AS w FROM users",
    "SELECT * FROM users",
]
BAD_JSON = pa.array(['{"a": 1}', "{oops"], pa.json_())


def table(values: pa.Array) -> pa.Table:
    """A table of two rows."""
    return pa.table({"id": [1, 2], "v": values})


def parquet(values: pa.Array) -> Callable[[Path], Any]:
    """Writes a Parquet file."""
    return lambda path: pq.write_table(table(values), path)


def arrow(values: pa.Array) -> Callable[[Path], Any]:
    """Writes an Arrow file."""

    def write(path: Path) -> None:
        with pa.ipc.new_file(path, table(values).schema) as file:
            file.write_table(table(values))

    return write


def avro(kind: Any, *values: Any) -> Callable[[Path], Any]:
    """Writes an Avro file."""
    schema = {"type": "record", "name": "row", "fields": [{"name": "id", "type": "long"}, {"name": "v", "type": kind}]}

    def write(path: Path) -> None:
        with path.open("wb") as file:
            fastavro.writer(file, schema, [{"id": at, "v": value} for at, value in enumerate(values, 1)])

    return write


def excel(path: Path) -> None:
    """Write a workbook with an error in a cell."""
    book = openpyxl.Workbook()
    for row in (["id", "v"], [1, 5], [2, "#N/A"]):
        book.active.append(row)
    book.save(path)


def content(text: bytes) -> Callable[[Path], Any]:
    """Writes a file as it is."""
    return lambda path: path.write_bytes(text)


UNION = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["x", "y"])])
LONG = pa.array(['{"a": 1}', '{"a": 1.00000000000000000001}'], pa.json_())
BROKEN = b'{"id": 1, "v": "a"}\n{"id": 2, "v"\n'
NOT_FINITE = b'[{"id": 1, "v": 1},\n {"id": 2, "v": NaN}]'
#: Values that only a query that reads them meets: file, how it is written, and what the refusal says besides its place.
UNFIT: Sequence[tuple[str, Callable[[Path], Any], str]] = [
    ("u.parquet", parquet(BAD_JSON), "does not fit its type"),
    ("u.arrow", arrow(BAD_JSON), "does not fit its type"),
    ("long.parquet", parquet(LONG), "more digits than SQL keeps"),
    ("long.ndjson", content(b'{"id": 1, "v": [1]}\n{"id": 2, "v": [1.00000000000000000001]}\n'), "more digits"),
]
#: Records that cannot be read, whatever the query reads.
UNREADABLE: Sequence[tuple[str, Callable[[Path], Any], str]] = [
    ("short.csv", content(b"id,v\n1,a\n2\n"), "(line 3): too few fields"),
    ("odd.csv", content(b"id,v\n1,a\n2,\xff\n"), "(line 3): bytes that are not in"),
    ("u.tsv", content(b"id\tv\n1\ta\n2\n"), "(line 3): too few fields"),
    ("u.ndjson", content(BROKEN), "(line 2): not valid JSON"),
    ("u.json", content(NOT_FINITE), "NaN or Infinity"),
    ("time.parquet", parquet(pa.array([1, 2**62], pa.time64("us"))), "a time that no day has"),
    ("time.arrow", arrow(pa.array([1, 2**62], pa.time64("us"))), "a time that no day has"),
    ("u.xlsx", excel, "(line 3), column v: v holds the error #N/A"),
]
#: Columns whose values no snapshot holds, or SQL cannot tell apart.
REFUSED: Sequence[tuple[str, Callable[[Path], Any], str]] = [
    ("union.arrow", arrow(UNION), "holds a union"),
    ("u.avro", avro(["bytes", "long"], b"a", 2), "a union of types that JSON has not"),
    ("twins.parquet", parquet(pa.array([{"a": 1, "A": 2}, None])), "members that are one to SQL"),
]


def job_with(folder: Path, name: str, write: Callable[[Path], Any], query: str) -> Any:
    """A job with that file as a further input."""
    (folder / "rows.csv").write_text("id\n1\n2\n")
    write(folder / name)
    return job_over(folder / "rows.csv", query=query, files={"users": str(folder / name)})


@pytest.mark.parametrize(("name", "write", "said"), UNFIT, ids=[row[0] for row in UNFIT])
def test_unfit_values(tmp_path: Path, name: str, write: Callable[[Path], Any], said: str) -> None:
    """The file, record, column and value are told, where the query reads the column; else it costs nothing."""
    with pytest.raises(SourceError) as caught:
        staged(job_with(tmp_path, name, write, ALL), tmp_path / "state")
    message = str(caught.value)
    assert f"{name}: 1 record of users" in message
    assert "first record 2" in message
    assert "column v, " in message
    assert said in message
    assert "leave the column alone" in (caught.value.hint or "")
    assert staged(job_with(tmp_path, name, write, WITHOUT), tmp_path / "other").column("own") == ["1", "2"]


@pytest.mark.parametrize("query", UNNAMED)
def test_unfit_values_that_a_query_reads_by_no_name(tmp_path: Path, query: str) -> None:
    """A whole row, a place, another name and a star read the column, too."""
    with pytest.raises(SourceError, match=r"record 2, column v, '\{oops'"):
        staged(job_with(tmp_path, "u.parquet", parquet(BAD_JSON), query), tmp_path / "state")


@pytest.mark.parametrize(("name", "write", "said"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_unreadable_records(tmp_path: Path, name: str, write: Callable[[Path], Any], said: str) -> None:
    """One record that cannot be read is the end, and told, even where the query leaves its columns alone."""
    with pytest.raises(SourceError) as caught:
        staged(job_with(tmp_path, name, write, WITHOUT), tmp_path / "state")
    message = str(caught.value)
    assert f"{name}: 1 record of users, a further input of the query, cannot be read; first record 2" in message
    assert said in message


@pytest.mark.parametrize(("name", "write", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused_columns(tmp_path: Path, name: str, write: Callable[[Path], Any], said: str) -> None:
    """A column that cannot be held is refused before a row is read, where the query reads it; else it costs nothing."""
    with pytest.raises(JobError, match=r'column "users\.v" holds') as caught:
        inspect(job_with(tmp_path, name, write, ALL))
    assert said in str(caught.value)
    assert staged(job_with(tmp_path, name, write, WITHOUT), tmp_path / "state").column("own") == ["1", "2"]


def test_a_format_that_has_to_be_stated(tmp_path: Path) -> None:
    """A dump cannot be a further input, as nothing says which kind it is; the refusal names the field."""
    with pytest.raises(JobError, match=r"source\.files\.users: u\.sql is a script of SQL") as caught:
        inspect(job_with(tmp_path, "u.sql", content(b"-- MySQL dump 10.13\n"), ALL))
    assert "make it the source" in (caught.value.hint or "")


def test_a_rule_that_was_lowered(tmp_path: Path) -> None:
    """Rounding is the user's choice, as it is for the source."""
    job = job_with(tmp_path, "u.parquet", parquet(LONG), ALL).model_copy(update={"rules": {"BF133": "ignore"}})
    assert len(staged(job, tmp_path / "state").rows) == 2


JOB = """\
version: 1
name: people
source:
  path: rows.csv
  files: {{users: {name}}}
  query: SELECT s.id, u.v FROM source s LEFT JOIN users u ON s.id = u.id::VARCHAR ORDER BY 1
calls:
  - type: identify
    message_key: [id]
    userId: {{column: id}}
    timestamp: {{value: "2024-01-01T00:00:00Z"}}
    traits: {{v: {{column: v}}}}
"""


@pytest.mark.parametrize(
    ("name", "write", "codes"),
    [
        ("u.parquet", parquet(BAD_JSON), {"check": 0, "preview": 9, "dry-run": 9}),
        ("short.csv", content(b"id,v\n1,a\n2\n"), {"check": 0, "preview": 9, "dry-run": 9}),
        ("union.arrow", arrow(UNION), {"check": 2, "preview": 2, "dry-run": 2}),
    ],
)
def test_every_verb_says_so(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    write: Callable[[Path], Any],
    codes: dict[str, int],
) -> None:
    """What a look shows is refused by all verbs; of rows `check` says that none was judged, and the others refuse."""
    monkeypatch.chdir(project.folder)
    job = project.folder / "job.yaml"
    job.write_text(JOB.format(name=name), encoding="utf-8")
    (project.folder / "rows.csv").write_text("id\n1\n2\n")
    write(project.folder / name)
    for verb, code in codes.items():
        result = backfill(verb, job)
        assert result.code == code, result.err
        said = {0: "no row was judged", 9: f"{name}: 1 record of users", 2: 'column "users.v" holds a union'}[code]
        assert said in result.err + result.out
