"""Delta tables: the files of a version, partitions with their types, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from backfill.errors import JobError, SourceError
from backfill.sources import inspect, resolve, stage
from tests.support.sourcing import Staged, job_over, staged

DAY = dt.date(2024, 1, 2)


def write(folder: Path, columns: dict[str, Any], **options: Any) -> None:
    """Write rows into the table in a folder."""
    deltalake.write_deltalake(str(folder), pa.table(columns), **options)


def read(folder: Path, **source: Any) -> Staged:
    """What staging makes of the table."""
    return staged(job_over(folder, format="delta", **source), folder.parent / "state")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of three versions: rows, more of them with one more column, all of one partition deleted."""
    folder = tmp_path / "events"
    rows = {"id": [1, 2, 3], "p": ["a b", "é/=%:", None], "d": pa.array([DAY] * 3), "n": pa.array([5, 6, None])}
    write(folder, rows, partition_by=["p", "d", "n"])
    more = {"id": [4], "p": ["x"], "d": pa.array([DAY]), "n": pa.array([5]), "new": ["y"]}
    write(folder, more, mode="append", schema_mode="merge")
    deltalake.DeltaTable(str(folder)).delete("p = 'a b'")
    return folder


def test_latest_version(table: Path) -> None:
    """The files of the latest version, with the table's columns, partitions by their types, null what files lack."""
    found = read(table)
    assert sorted(found.rows, key=str) == [
        (2, "é/=%:", DAY, 6, None),
        (3, None, DAY, None, None),
        (4, "x", DAY, 5, "y"),
    ]
    promised = {column.name: column.kind for column in inspect(job_over(table, format="delta")).columns}
    made = {column.name: column.kind for column in found.snapshot.columns}
    assert promised.items() <= made.items()


def test_stated_version(table: Path) -> None:
    """A version is the rows it had, whatever came later."""
    assert sorted(found[0] for found in read(table, version=0).rows) == [1, 2, 3]
    assert sorted(found[0] for found in read(table, version=1).rows) == [1, 2, 3, 4]
    with pytest.raises(SourceError, match="events has no version 9") as caught:
        read(table, version=9)
    assert caught.value.hint == "it has versions 0 to 2"


def test_version_of_a_time(table: Path) -> None:
    """A time means the version of then by the commits; a copy, whose log files are all newer, is refused."""
    second = next(one["timestamp"] for one in deltalake.DeltaTable(str(table)).history() if one["version"] == 1)
    then = dt.datetime.fromtimestamp(second / 1_000, dt.UTC).isoformat()
    for number in range(3):
        instant = (second + 1_000 * (number - 1)) * 1_000_000
        os.utime(table / "_delta_log" / f"{number:020}.json", ns=(instant, instant))
    assert sorted(found[0] for found in read(table, version=then).rows) == [1, 2, 3, 4]
    with pytest.raises(SourceError, match="had no version at 1990"):
        read(table, version="1990-01-01T00:00:00Z")
    for log in (table / "_delta_log").glob("*.json"):
        os.utime(log)
    with pytest.raises(SourceError, match="had version 1 by its commits") as raised:
        read(table, version=then)
    assert "number" in raised.value.hint


def test_new_version_is_another_source(table: Path) -> None:
    """What is added later makes other files, and so another fingerprint; the files of a version stay."""
    job, pinned = job_over(table, format="delta"), job_over(table, format="delta", version=1)
    before, held = resolve(job), resolve(pinned)
    write(table, {"id": [9], "p": ["z"], "d": pa.array([DAY]), "n": pa.array([1]), "new": ["y"]}, mode="append")
    assert len(resolve(job)) == len(before) + 1
    assert resolve(pinned) == held


def test_sql_and_file_names(table: Path) -> None:
    """SQL is asked of the rows, and records are those of their files."""
    found = staged(job_over(table, format="delta", where="n = 5", sql=("p || id",)), table.parent / "state")
    assert found.column("__bf_sql_0") == ["x4"]
    assert found.records == [1]
    assert Path(found.files[0]).resolve().is_relative_to(table)


def test_no_table(tmp_path: Path) -> None:
    """A folder without a log is no table."""
    (tmp_path / "events").mkdir()
    with pytest.raises(SourceError, match="cannot be read as a Delta table"):
        read(tmp_path / "events")


def test_column_mapping(table: Path) -> None:
    """A table whose columns have other names in its files is refused."""
    log = table / "_delta_log" / f"{3:020}.json"
    first = (table / "_delta_log" / f"{1:020}.json").read_text(encoding="utf-8").splitlines()
    meta = next(json.loads(line) for line in first if "metaData" in line)
    meta["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"
    protocol = {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}
    log.write_text("\n".join(map(json.dumps, (protocol, meta))), encoding="utf-8")
    with pytest.raises((JobError, SourceError), match=r"maps the names of columns|cannot be read"):
        read(table)


def test_changed_behind_the_log(table: Path) -> None:
    """A file with fewer rows than its footer says, or that is gone, is an error of the source."""
    job = job_over(table, format="delta")
    files = resolve(job)
    Path(files[0].path).unlink()
    with pytest.raises(SourceError):
        stage(job, table.parent / "state", files=files)
