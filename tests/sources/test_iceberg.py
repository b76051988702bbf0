"""Iceberg tables: the files of a snapshot, columns that were renamed, added and widened, and what is refused."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, IntegerType, LongType, NestedField, StringType, StructType

from backfill.errors import JobError, SourceError
from backfill.sources import inspect, resolve
from tests.support.sourcing import Staged, job_over, staged

SCHEMA = Schema(
    NestedField(1, "id", IntegerType()), NestedField(2, "name", StringType()), NestedField(3, "day", DateType())
)
PARTITIONS = PartitionSpec(PartitionField(3, 1000, IdentityTransform(), "day"))
DAYS = dt.date(2024, 1, 2), dt.date(2024, 1, 3)


def read(folder: Path, **source: Any) -> Staged:
    """What staging makes of the table."""
    return staged(job_over(folder, format="iceberg", **source), folder.parent / "state")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A table, and the ids of its snapshots: rows, more of them behind changes of the columns, one row deleted."""
    home = tmp_path_factory.mktemp("iceberg")
    catalog = SqlCatalog("test", uri=f"sqlite:///{home}/catalog.db", warehouse=f"file://{home}")
    catalog.create_namespace("n")
    table = catalog.create_table("n.events", SCHEMA, partition_spec=PARTITIONS)
    table.append(pa.table({"id": pa.array([1, 2], pa.int32()), "name": ["a", None], "day": pa.array(DAYS)}))
    with table.update_schema() as update:
        update.rename_column("name", "title")
        update.add_column("new", StringType())
        update.update_column("id", LongType())
    more = {"id": pa.array([2**40]), "title": ["c"], "day": pa.array(DAYS[:1]), "new": ["z"]}
    table.append(pa.table(more))
    table.delete("id = 1")
    catalog.engine.dispose()
    return home / "n" / "events", [one.snapshot_id for one in table.snapshots()]


@pytest.fixture
def table(written: tuple[Path, list[int]], tmp_path: Path) -> Path:
    """A copy of the table, elsewhere than its metadata says."""
    return Path(shutil.copytree(written[0], tmp_path / "events"))


def test_latest_snapshot(table: Path) -> None:
    """Columns are known by their numbers, whatever they were called when a file was written."""
    found = read(table)
    assert sorted(found.rows) == [(2, None, DAYS[1], None), (2**40, "c", DAYS[0], "z")]
    promised = {column.name: column.kind for column in inspect(job_over(table, format="iceberg")).columns}
    made = {column.name: column.kind for column in found.snapshot.columns}
    assert promised.items() <= made.items()
    assert all(file.path.startswith(str(table)) for file in found.snapshot.files)


def test_stated_snapshot(table: Path, written: tuple[Path, list[int]]) -> None:
    """A snapshot has the rows and the columns that it had."""
    found = read(table, version=written[1][0])
    assert sorted(found.rows) == [(1, "a", DAYS[0]), (2, None, DAYS[1])]
    with pytest.raises(SourceError, match="has no snapshot 5") as raised:
        read(table, version=5)
    assert str(written[1][0]) in raised.value.hint
    with pytest.raises(JobError, match="id of a snapshot"):
        read(table, version="2024-01-01")


def test_version_hint(table: Path) -> None:
    """The metadata that the hint names is the table, not the newest."""
    oldest = min((table / "metadata").glob("0000*.json"))
    (table / "metadata" / "version-hint.text").write_text(oldest.name, encoding="utf-8")
    with pytest.raises(SourceError, match="no file"):
        resolve(job_over(table, format="iceberg"))


def test_no_table(tmp_path: Path) -> None:
    """A folder without metadata is no table."""
    with pytest.raises(SourceError, match="no Iceberg table"):
        read(tmp_path / "events")


@pytest.mark.parametrize("pattern", ["", "data", "data/**/*.parquet"])
def test_files_alone_are_not_the_table(table: Path, pattern: str) -> None:
    """The files of a table are not read without its log: deleted rows are among them."""
    with pytest.raises(JobError, match="is a table of Iceberg") as raised:
        resolve(job_over(table / pattern, format="parquet"))
    assert "format: iceberg" in raised.value.hint


def made(folder: Path, schema: Schema, **options: Any) -> tuple[Any, Path]:
    """A table without rows, and its folder."""
    catalog = SqlCatalog("test", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("n")
    catalog.engine.dispose()
    return catalog.create_table("n.rows", schema, **options), folder / "n" / "rows"


def added(table: Any, file: Path, columns: dict[str, Any]) -> None:
    """Make a file of another writer, which knows no numbers, one of the table's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)
    table.add_files([f"file://{file}"])


def closed(table: Any) -> None:
    """Let go of the catalogue's database."""
    table.catalog.engine.dispose()


def test_renamed_since_files_were_added(tmp_path: Path) -> None:
    """A file without numbers of columns has them by the table's name mapping, whatever they are called by now."""
    table, folder = made(tmp_path, Schema(NestedField(1, "id", LongType()), NestedField(2, "name", StringType())))
    added(table, folder / "data" / "rows.parquet", {"id": [1], "name": ["a"]})
    with table.update_schema() as update:
        update.rename_column("name", "title")
    assert read(folder).rows == [(1, "a")]
    with table.transaction() as change:
        change.remove_properties("schema.name-mapping.default")
    closed(table)
    with pytest.raises(SourceError, match="columns have no numbers"):
        read(folder)


def test_files_elsewhere(tmp_path: Path) -> None:
    """A table that has files outside of its folder is refused."""
    table, folder = made(tmp_path, Schema(NestedField(1, "id", LongType())))
    added(table, tmp_path / "other" / "rows.parquet", {"id": [1]})
    closed(table)
    with pytest.raises(SourceError, match="has files elsewhere"):
        resolve(job_over(folder, format="iceberg"))


def test_partitions_that_changed(tmp_path: Path) -> None:
    """Folders inside of a table say nothing, be they of partitions that were changed, renamed or dropped since."""
    table, folder = made(tmp_path, SCHEMA, partition_spec=PARTITIONS)
    table.append(pa.table({"id": pa.array([1], pa.int32()), "name": ["a"], "day": pa.array(DAYS[:1])}))
    with table.update_spec() as update:
        update.remove_field("day")
        update.add_field("id", IdentityTransform(), "by_id")
    table.append(pa.table({"id": pa.array([2], pa.int32()), "name": ["b"], "day": pa.array(DAYS[1:])}))
    with table.update_schema() as update:
        update.rename_column("day", "booked")
    closed(table)
    found = read(folder)
    assert sorted(found.rows) == [(1, "a", DAYS[0]), (2, "b", DAYS[1])]


def test_member_of_the_same_name(tmp_path: Path) -> None:
    """A member that was dropped is not the one that was given its name since."""
    inner = StructType(NestedField(2, "a", LongType()), NestedField(3, "b", LongType()))
    table, folder = made(tmp_path, Schema(NestedField(1, "s", inner)))
    table.append(pa.table({"s": [{"a": 1, "b": 2}]}))
    assert read(folder).rows == [({"a": 1, "b": 2},)]
    with table.update_schema() as update:
        update.delete_column(("s", "b"))
    with table.update_schema() as update:
        update.add_column(("s", "b"), LongType())
    closed(table)
    with pytest.raises(JobError, match="members of s have changed"):
        read(folder)
