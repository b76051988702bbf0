"""Columns and members whose names polars takes for patterns, or SQL for its own words: each is itself, everywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import JobError
from backfill.job.models import Call, ColumnValue, ConstantValue, Job, ObjectSpec, Source, Star, TimestampSpec
from backfill.limits import SEGMENT
from backfill.prepare.rows import map_rows, preview
from backfill.records import LONG_INTEGER_MEMBER, frame_name
from backfill.sources import inspect, stage
from tests.support.sourcing import job_over as sourcing_job
from tests.support.sourcing import staged

KEYWORDS = ["order", "group", "select", "from", "end", "default", "table", "column"]
NAMES = [KEYWORDS, ["*", "a"], ["^x$", "x"], ["^.*$", "*", "a.b"], ["^a", "b$", "^", "$"], ["**", "^$"]]


def job_over(path: Path, *, where: str | None, **call: Any) -> Job:
    """A job that sends every column, computing something or nothing."""
    made = Call(
        type="track",
        event=ConstantValue(value="Seen"),
        timestamp=TimestampSpec(value="2024-01-01T00:00:00Z"),
        **{"userId": ConstantValue(value="u1"), "message_key": "row", "properties": ObjectSpec(star=Star()), **call},
    )
    return Job(version=1, name="names", source=Source(path=(str(path),)), where=where, calls=(made,))


def mapped(job: Job, folder: Path) -> list[dict[str, Any]]:
    """The calls of a job's rows."""
    rows = map_rows(job, stage(job, folder), id_scope="sandbox", library_version="1", now=1_700_000_000.0)
    return rows.to_dicts()


@pytest.mark.parametrize("names", NAMES, ids=" ".join)
@pytest.mark.parametrize("where", [None, "true"], ids=["in place", "staged"])
class TestColumns:
    """Names of columns."""

    def table(self, names: list[str], path: Path) -> Path:
        """Two rows, each cell of the first its own, the second without any."""
        pq.write_table(pa.table({name: [f"cell {place}", None] for place, name in enumerate(names)}), path)
        return path

    def test_properties(self, tmp_path: Path, names: list[str], where: str | None) -> None:
        """Each column is a property with its own value."""
        job = job_over(self.table(names, tmp_path / "rows.parquet"), where=where)
        calls = [json.loads(row["json"])["properties"] for row in mapped(job, tmp_path / "state")]
        assert calls == [{name: f"cell {place}" for place, name in enumerate(names)}, {}]

    def test_ids_and_keys(self, tmp_path: Path, names: list[str], where: str | None) -> None:
        """An id and a key are those of the column named."""
        path = self.table(names, tmp_path / "rows.parquet")
        job = job_over(path, where=where, userId=ColumnValue(column=names[0]), message_key=(ConstantValue(value="x"),))
        first, second = mapped(job, tmp_path / "state")
        assert json.loads(first["json"])["userId"] == "cell 0"
        assert second["codes"] == ["BF101"]

    def test_rows_shown(self, tmp_path: Path, names: list[str], where: str | None) -> None:
        """A preview shows the row with every column."""
        job = job_over(self.table(names, tmp_path / "rows.parquet"), where=where)
        snapshot = stage(job, tmp_path / "state")
        first, _ = preview(job, snapshot, id_scope="sandbox", library_version="1", now=0.0, rows=2, limits=SEGMENT)
        assert first.row == {name: f"cell {place}" for place, name in enumerate(names)}


@pytest.mark.parametrize("names", NAMES, ids=" ".join)
@pytest.mark.parametrize("whole", [False, True], ids=["member", "whole"])
def test_members(tmp_path: Path, names: list[str], whole: bool) -> None:
    """Members of structs, as a property and as the whole object."""
    value = {name: f"cell {place}" for place, name in enumerate(names)}
    inner = pa.struct([(name, pa.string()) for name in names])
    outer = pa.struct([*inner, ("within", inner)])
    pq.write_table(pa.table({"o": pa.array([{**value, "within": value}], outer)}), tmp_path / "rows.parquet")
    spec = ObjectSpec(column=ColumnValue(column="o")) if whole else ObjectSpec(star=Star())
    (row,) = mapped(job_over(tmp_path / "rows.parquet", where=None, properties=spec), tmp_path / "state")
    sent = json.loads(row["json"])["properties"]
    assert (sent if whole else sent["o"]) == {**value, "within": value}


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"query": "SELECT list({'order': x, 'Group': 1}) AS l, any_value({'group': x}) AS g FROM source"},
        {"query": "SELECT map {'a': {'end': x, 'big': CAST(1 AS HUGEINT)}} AS m FROM source"},
    ],
    ids=["expression", "list", "map"],
)
def test_keywords_in_sql(tmp_path: Path, source: dict[str, str]) -> None:
    """Members that SQL names so, and those of columns inside of lists and structs."""
    value = [{"order": 1, "select": {"from": 2}}]
    pq.write_table(pa.table({"x": [value]}), tmp_path / "a.parquet")
    sql = () if source else ("{'table': x, 'column': CAST(1 AS HUGEINT)}",)
    rows = staged(sourcing_job(tmp_path / "a.parquet", sql=sql, **source), tmp_path / "snapshot")
    wanted = {
        "x": value,
        "l": [{"order": value, "Group": 1}],
        "g": {"group": value},
        "m": {"a": {"end": value, "big": {LONG_INTEGER_MEMBER: "1"}}},
        "__bf_sql_0": {"table": value, "column": {LONG_INTEGER_MEMBER: "1"}},
    }
    made = [name for name in wanted if name in rows.frame.columns]
    assert made
    for name in made:
        assert json.loads(json.dumps(rows.column(name), default=int)) == [wanted[name]]


@pytest.mark.parametrize("source", [{}, {"where": "n = 1"}], ids=["as it is", "where"])
def test_members_equal_but_for_case(tmp_path: Path, source: dict[str, str]) -> None:
    """Members `a` and `A` of a struct are two, in a call as in the source; SQL that reads them is refused."""
    value = {"a": 1, "A": 2, "l": [{"b": 3, "B": 4}]}
    pq.write_table(pa.table({"n": [1], "s": [value]}), tmp_path / "rows.parquet")
    job = job_over(tmp_path / "rows.parquet", where=source.get("where"), properties=ObjectSpec(star=Star()))
    (row,) = mapped(job, tmp_path / "state")
    assert json.loads(row["json"])["properties"]["s"] == value
    said = r"members that are one to SQL \('a' and 'A'\)"
    (fault,) = inspect(sourcing_job(tmp_path / "rows.parquet", sql=("s.a",))).faults
    assert re.search(said, fault.message)
    with pytest.raises(JobError, match=said):
        inspect(sourcing_job(tmp_path / "rows.parquet", query="SELECT n, s FROM source"))
    assert not inspect(sourcing_job(tmp_path / "rows.parquet", query="SELECT n FROM source")).faults


def test_frame_name() -> None:
    """Only patterns have another name, and that is none."""
    for name in ("a", "^a", "a$", "a*", "a.b", ""):
        assert frame_name(name) == name
    for name in ("*", "^$", "^a$"):
        assert frame_name(frame_name(name)) == frame_name(name) != name
