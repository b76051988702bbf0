"""Parquet read in place without DuckDB: whatever is said of it is what a copy by DuckDB would hold."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import JobError, SourceError
from backfill.job.models import Job, TimestampSpec
from backfill.records import Snapshot, SourceFile
from backfill.sources import inspect, resolve, stage
from backfill.sources.files import extra_files
from backfill.sources.formats import one_format
from backfill.sources.freeze import freeze_source
from backfill.sources.look import look
from backfill.sources.origins.content import never
from backfill.sources.parquet.in_place import MANY_FILES
from backfill.sources.reader import InPlace
from backfill.sources.sql.kept import kept_engine
from tests.support.sourcing import job_over, staged

USUAL = {
    "flag": [True, None],
    "text": ["a", None],
    "small": pl.Series([1, None], dtype=pl.Int8),
    "unsigned": pl.Series([2**32 - 1, None], dtype=pl.UInt32),
    "large": pl.Series([2**63 - 1, None], dtype=pl.Int64),
    "huge": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
    "single": pl.Series([0.5, None], dtype=pl.Float32),
    "double": [0.25, None],
    "money": [Decimal("12.50"), None],
    "day": [date(2024, 1, 1), None],
    "local": [datetime(2024, 1, 1), None],  # noqa: DTZ001 (wall clock)
    "instant": [datetime(2024, 1, 1, tzinfo=UTC), None],
    "millis": pl.Series([1_704_067_200_123, None], dtype=pl.Datetime("ms", "Europe/Berlin")),
}
#: DuckDB's values of types for which it has to be asked, since they are not read as they are or are seldom.
SELDOM = [
    """'{"a":1}'::JSON""", "'5feceb66-ffc8-46f3-9d95-786c6d696c79'::UUID", "'a'::BLOB", "INTERVAL 1 DAY", "[1, 2]",
    "{'a': 1}", "MAP {'a': 1}", "TIMESTAMP_NS '2024-01-01'", "'10:00'::TIME", "'10:00:00+02'::TIMETZ",
]  # fmt: skip
#: Those that DuckDB writes as the usual types.
COMMON = [
    "true", "'a'", "1::TINYINT", "1::USMALLINT", "1::BIGINT", "1::UBIGINT", "0.5::FLOAT", "0.5::DOUBLE",
    "12.5::DECIMAL(4, 1)", "12.5::DECIMAL(18, 1)", "12.5::DECIMAL(38, 9)", "DATE '2024-01-01'",
    "TIMESTAMP '2024-01-01'", "TIMESTAMPTZ '2024-01-01 00:00:00+00'", "TIMESTAMP_MS '2024-01-01'",
    "TIMESTAMP_S '2024-01-01'", "'a'::ENUM ('a', 'b')", "1::HUGEINT", "'101'::BIT",
]  # fmt: skip


def found(job: Job) -> tuple[InPlace | None, tuple[SourceFile, ...]]:
    """What is said of the job's source without DuckDB, and its files."""
    files = resolve(job)
    own, _ = extra_files(job, files)
    return one_format(job, own).in_place(job, own), files


def by_duckdb(job: Job, folder: Path) -> Snapshot:
    """The snapshot as a copy."""
    folder.mkdir(exist_ok=True)
    return freeze_source(
        job,
        folder,
        resolve(job),
        memory_bytes=None,
        threads=1,
        progress=lambda *_: None,
        stopping=lambda: False,
        sample=None,
    )


def written(path: Path, select: str) -> Path:
    """A Parquet file of a DuckDB query."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
    return path


def agrees(job: Job, folder: Path) -> bool:
    """Whether something was said without DuckDB; if so, it is what DuckDB says."""
    said, files = found(job)
    if said is not None:
        with kept_engine(None) as kept:
            assert said.columns == look(job, files, {}, kept, never).columns
        copy, own = by_duckdb(job, folder), said.snapshot()
        names = [column.name for column in said.columns]
        rows = [pl.concat([pl.read_parquet(part.path).select(names) for part in each.parts]) for each in (own, copy)]
        assert rows[0].rows() == rows[1].rows()
        assert (own.read, own.files) == (copy.read, copy.files)
    return said is not None


@pytest.mark.parametrize("pyarrow", [False, True], ids=["polars", "pyarrow"])
def test_usual_types_are_known(tmp_path: Path, pyarrow: bool) -> None:
    """The types of most files, as polars and pyarrow write them, need no DuckDB."""
    path = tmp_path / "rows.parquet"
    pl.DataFrame(USUAL).write_parquet(path, use_pyarrow=pyarrow)
    assert agrees(job_over(path), tmp_path / "state")


@pytest.mark.parametrize("value", COMMON)
def test_common_types_of_duckdb(tmp_path: Path, value: str) -> None:
    """So do those that DuckDB writes."""
    assert agrees(job_over(written(tmp_path / "rows.parquet", f"SELECT {value} AS x")), tmp_path / "state")


@pytest.mark.parametrize("value", SELDOM)
def test_seldom_types_are_left_to_duckdb(tmp_path: Path, value: str) -> None:
    """Where a type is not known nothing is said of the whole file."""
    path = written(tmp_path / "rows.parquet", f"SELECT 1 AS i, {value} AS x")
    assert found(job_over(path))[0] is None


def test_several_files(tmp_path: Path) -> None:
    """Files of the same columns stay, each with its own rows; where types differ DuckDB says how."""
    written(tmp_path / "a.parquet", "SELECT i FROM range(3) t(i)")
    written(tmp_path / "b.parquet", "SELECT i FROM range(5) t(i)")
    job = job_over(tmp_path / "*.parquet")
    assert agrees(job, tmp_path / "state")
    assert [part.rows for part in stage(job, tmp_path / "snapshot").parts] == [3, 5]
    written(tmp_path / "b.parquet", "SELECT i::INTEGER AS i FROM range(5) t(i)")
    assert found(job)[0] is None
    with pytest.raises(SourceError, match="differs from"):
        inspect(job)


@pytest.mark.parametrize(
    "options",
    [
        {"sql": ("i + 1",)},
        {"where": "i > 1"},
        {"when": "i > 1"},
        {"columns": {"t": "integer"}},
        {"columns": {"t": "text"}},
        {"columns": {"missing": "text"}},
        {"query": "SELECT i FROM source"},
        {"timestamp": TimestampSpec(column="t", format="iso8601")},
        {"timestamp": TimestampSpec(sql="now()")},
    ],
    ids=str,
)
def test_jobs_that_need_duckdb(tmp_path: Path, options: dict[str, Any]) -> None:
    """SQL, declared columns and times in text are DuckDB's business."""
    path = written(tmp_path / "rows.parquet", "SELECT i, '2024-01-01' AS t FROM range(3) t(i)")
    assert found(job_over(path))[0] is not None
    assert found(job_over(path, **options))[0] is None


@pytest.mark.parametrize("names", [("a", "A"), ("__bf_x", "b"), ("__BF_x", "b")], ids=str)
def test_names_that_need_duckdb(tmp_path: Path, names: tuple[str, str]) -> None:
    """Names that are refused are refused by DuckDB's reader, in its words."""
    pl.DataFrame({name: [1] for name in names}).write_parquet(tmp_path / "rows.parquet")
    assert found(job_over(tmp_path / "rows.parquet"))[0] is None


@pytest.mark.parametrize("cut", [1, 4, 8, 50])
def test_damage(tmp_path: Path, cut: int) -> None:
    """A file cut short is told of as ever."""
    path = written(tmp_path / "rows.parquet", "SELECT i FROM range(3) t(i)")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(SourceError, match=r"rows\.parquet cannot be read"):
        inspect(job_over(path))


def test_large_row_groups_are_left_to_duckdb(tmp_path: Path) -> None:
    """It writes them anew, in smaller ones."""
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"i": pl.int_range(300_000, eager=True)}).write_parquet(path, row_group_size=300_000)
    assert found(job_over(path))[0] is None


def test_columns_of_folder_names(tmp_path: Path) -> None:
    """What DuckDB reads from a folder's name is no column of the file, which therefore is written anew with it."""
    folder = tmp_path / "year=2024"
    folder.mkdir()
    path = written(folder / "rows.parquet", "SELECT i FROM range(2) t(i)")
    assert found(job_over(path))[0] is None
    result = staged(job_over(path), tmp_path / "state")
    assert not result.snapshot.in_place
    assert result.rows == [(0, "2024"), (1, "2024")]


def test_duckdb_is_not_loaded(tmp_path: Path) -> None:
    """Looking at such a source and staging it loads no DuckDB, which takes a tenth of a second."""
    path = written(tmp_path / "rows.parquet", "SELECT i FROM range(2) t(i)")
    code = (
        "import sys\nfrom pathlib import Path\nfrom backfill.sources import inspect, stage\n"
        "from tests.support.sourcing import job_over\n"
        f"job = job_over({str(path)!r})\ninspect(job)\nstage(job, Path({str(tmp_path / 'state')!r}))\n"
        "assert 'duckdb' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class TestReadAlike:
    """What polars makes of a file may differ from what its footer says, by the Arrow schema that it holds."""

    @pytest.mark.parametrize(
        "other", [pl.Datetime("us", "Europe/Berlin"), pl.Datetime("ms", "UTC")], ids=["zone", "unit"]
    )
    def test_files_that_differ(self, tmp_path: Path, other: pl.Datetime) -> None:
        """The instants are the same whatever zone or unit each file has them in: a staged copy makes them alike."""
        instant = datetime(2024, 7, 1, 12, 30, 0, 250_000, tzinfo=UTC)
        for number, dtype in enumerate([pl.Datetime("us", "UTC"), other]):
            frame = pl.DataFrame({"id": [str(number)], "at": pl.Series([instant]).cast(dtype)})
            frame.write_parquet(tmp_path / f"{number}.parquet")
        job = job_over(tmp_path / "*.parquet")
        assert found(job)[0] is None
        snapshot = stage(job, tmp_path / "snapshot")
        assert not snapshot.in_place
        read = pl.concat([pl.read_parquet(part.path).select("at") for part in snapshot.parts])
        assert read["at"].dt.epoch("us").to_list() == [int(instant.timestamp() * 1_000_000)] * 2

    def test_a_duration(self, tmp_path: Path) -> None:
        """Its footer has integers, and so has the staged copy: polars would read a duration, which no JSON has."""
        pl.DataFrame({"id": ["a"], "took": [timedelta(seconds=2)]}).write_parquet(tmp_path / "data.parquet")
        job = job_over(tmp_path / "data.parquet")
        assert found(job)[0] is None
        (part,) = stage(job, tmp_path / "snapshot").parts
        assert pl.read_parquet(part.path)["took"].to_list() == [2_000_000]

    def test_a_type_of_arrow_alone(self, tmp_path: Path) -> None:
        """An extension type that polars does not know is read as what Parquet has it stored as."""
        flags = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8()))
        pq.write_table(pa.table({"id": ["a"], "flag": flags}), tmp_path / "data.parquet")
        job = job_over(tmp_path / "data.parquet")
        assert found(job)[0] is None
        (part,) = stage(job, tmp_path / "snapshot").parts
        assert pl.read_parquet(part.path)["flag"].to_list() == [1]

    @pytest.mark.parametrize("names", [["id", "ID"], ["id", "id"]])
    def test_names_that_sql_cannot_tell_apart(self, tmp_path: Path, names: list[str]) -> None:
        """They are a fault of the job, whatever DuckDB makes of the second one."""
        table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=names)
        pq.write_table(table, tmp_path / "data.parquet")
        for ask in (inspect, lambda job: stage(job, tmp_path / "snapshot")):
            with pytest.raises(JobError, match="two columns that SQL cannot tell apart: 'id' and"):
                ask(job_over(tmp_path / "data.parquet"))


def test_many_small_files_are_copied(tmp_path: Path) -> None:
    """Preparing would open each of them several times; the rows and their places are the same."""
    for index in range(MANY_FILES + 1):
        pl.DataFrame({"id": [f"{index}-1", f"{index}-2"]}).write_parquet(tmp_path / f"{index:04}.parquet")
    files = sorted(tmp_path.glob("*.parquet"))
    many, few = (
        staged(job_over(tmp_path / "*.parquet"), tmp_path / "many"),
        staged(job_over(*files[:-1]), tmp_path / "few"),
    )
    assert (many.snapshot.in_place, few.snapshot.in_place) == (False, True)
    assert many.rows[:-2] == few.rows
    assert many.records[:-2] == few.records
    assert many.files[:-2] == few.files
