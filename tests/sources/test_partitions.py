"""Columns of folders' names, and files of one source whose columns differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from backfill.errors import JobError, SourceError
from backfill.job.models import Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources import inspect, locate, stage
from backfill.sources.columns import SourceColumn, aligned, united
from backfill.sources.freeze import freeze_stream
from backfill.sources.partitions import partitions_of
from backfill.sources.reader import CompleteReader, UnreadableSink
from backfill.sources.sql.engine import open_engine
from backfill.sources.staging import Staging
from tests.support.sourcing import Staged, job_over, read, staged

ODD = "région=São%20Tom%C3%A9 1+1=2%25"


def found(folder: Path, *written: str, union: str | None = None) -> dict[str, tuple[str | None, ...]]:
    """The columns of the folders on the way to the files of those paths, the job file standing in the folder."""
    job = job_over(*written, union=union).model_copy(update={"path": str(folder / "job.yaml")})
    return dict(partitions_of(job, locate(job), folder))


def made(folder: Path, *names: str) -> None:
    """Files of those names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x\n1\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("files", "written", "columns"),
    [
        (["a.csv"], "a.csv", {}),
        (["year=2024/a.csv"], "year=2024/a.csv", {"year": ("2024",)}),
        (["year=2024/a.csv"], "year=2024", {"year": ("2024",)}),
        (["year=2024/a.csv", "year=2023/a.csv"], "*/*.csv", {"year": ("2023", "2024")}),
        (["d/y=1/m=02/a.csv"], "d", {"y": ("1",), "m": ("02",)}),
        (["y=1/n=2.csv"], "*/*.csv", {"y": ("1",)}),
        (["y=__HIVE_DEFAULT_PARTITION__/a.csv", "y=/a.csv"], "*/*.csv", {"y": ("", None)}),
        ([f"{ODD}/a.csv"], "*/*.csv", {"région": ("São Tomé 1+1=2%",)}),
        (["a%3Db=c%2Fd/a.csv"], "*/*.csv", {"a=b": ("c/d",)}),
        (["=x/a.csv", "100%=1/a.csv"], "[!=]*/*.csv", {"100%": ("1",)}),
        (["=x/a.csv"], "*/*.csv", {}),
    ],
)
def test_columns_of_folders(
    tmp_path: Path, files: list[str], written: str, columns: dict[str, tuple[str | None, ...]]
) -> None:
    """Names and values as Hive means them, of the folders between the job file and the file."""
    folder = tmp_path / "above=1"  # how the project's own folders are called is no matter
    made(folder, *files)
    assert found(folder, written) == columns


def test_folders_that_do_not_agree(tmp_path: Path) -> None:
    """Files with and without a folder of a name are refused, or united; one name twice is refused."""
    made(tmp_path, "y=1/a.csv", "b.csv", "z/y=1/y=2/c.csv", "w/y=%FF/d.csv")
    with pytest.raises(SourceError, match=r"b\.csv lies in no folder y=\.\.\., unlike y=1/a\.csv") as caught:
        found(tmp_path, "y=1/a.csv", "b.csv")
    assert "union: by_name" in caught.value.hint
    assert set(found(tmp_path, "y=1/a.csv", "b.csv", union="by_name")["y"]) == {"1", None}
    with pytest.raises(SourceError, match="two folders"):
        found(tmp_path, "z")
    with pytest.raises(SourceError, match="percent-encoded"):
        found(tmp_path, "w")


@dataclass
class Plain(CompleteReader):
    """A reader of one column with a row from each file, all in one batch."""

    files: tuple[SourceFile, ...]
    name: str = "x"

    @property
    def columns(self) -> tuple[SourceColumn, ...]:
        """One column of text."""
        return (SourceColumn(self.name, pa.string()),)

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """The file's key as the only value."""
        del unreadable
        yield pa.record_batch(
            {
                self.name: pa.array([file.key for file in self.files], pa.string()),
                FILE_COLUMN: pa.array(range(len(self.files)), pa.uint32()),
                RECORD_COLUMN: pa.array([1] * len(self.files), pa.uint64()),
            }
        )


def frozen(folder: Path, job: Job, name: str = "x") -> Staged:
    """The job staged over such a reader."""
    job = job.model_copy(update={"path": str(folder / "job.yaml")})
    files = locate(job)
    with open_engine(folder) as engine:
        staging = Staging(job, folder, files, engine, lambda _rows, _size: None)
        return read(freeze_stream(staging, Plain(files, name)))


def test_every_row_gets_what_its_folders_say(tmp_path: Path) -> None:
    """The columns stand behind the file's own, text or as declared, and can be used in SQL."""
    made(tmp_path, "y=007/c=de/a.csv", "y=8/c=fr/a.csv", "y=x/c=__HIVE_DEFAULT_PARTITION__/a.csv")
    plain = frozen(tmp_path, job_over("*/*/*.csv"))
    assert plain.rows == [
        ("y=007/c=de/a.csv", "007", "de"),
        ("y=8/c=fr/a.csv", "8", "fr"),
        ("y=x/c=__HIVE_DEFAULT_PARTITION__/a.csv", "x", None),
    ]
    assert (plain.kind("y"), plain.kind("c")) == ("text", "text")
    typed = frozen(tmp_path, job_over("*/*/*.csv", columns={"y": "integer"}, where="y > 7 OR c IS NULL"))
    assert typed.column("y") == [8, None]
    assert typed.kind("y") == "integer"
    with pytest.raises(JobError, match="no such column"):
        frozen(tmp_path, job_over("*/*/*.csv", columns={"month": "integer"}))


def test_the_file_knows_better(tmp_path: Path) -> None:
    """A column that the files hold is not altered by a folder of that name, in whatever case."""
    made(tmp_path, "STATUS=final/a.csv")
    assert frozen(tmp_path, job_over("*/*.csv"), "status").rows == [("STATUS=final/a.csv",)]


def test_files_of_different_columns() -> None:
    """An error that names the way on, unless the job unites them; one name of two types always is."""
    one, other = {"a": "text", "b": "text"}, {"c": "text", "a": "text"}
    apart, by_name = job_over("x"), job_over("x", union="by_name")
    assert united(apart, [("1.csv", one), ("2.csv", dict(reversed(one.items())))]) == one
    with pytest.raises(SourceError, match=r"^2\.csv lacks b and has c, unlike 1\.csv$") as caught:
        united(apart, [("1.csv", one), ("2.csv", other)])
    assert "union: by_name" in caught.value.hint
    assert list(united(by_name, [("1.csv", one), ("2.csv", other)])) == ["a", "b", "c"]
    with pytest.raises(SourceError, match=r"3\.csv differs from 2\.csv: the column c is integer here, text there"):
        united(by_name, [("1.csv", one), ("2.csv", other), ("3.csv", {"c": "integer"})])


def test_batches_are_aligned_by_name() -> None:
    """Other orders are put right, missing columns are null."""
    schema = pa.schema([("a", pa.string()), ("b", pa.int64()), ("c", pa.string())])
    batch = pa.record_batch({"c": ["z"], "a": ["x"]})
    assert aligned(batch, schema).to_pylist() == [{"a": "x", "b": None, "c": "z"}]
    whole = aligned(batch, schema)
    assert aligned(whole, schema) is whole


def write(path: Path, columns: dict[str, list[str]]) -> None:
    """Columns of text in the format of the file's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pl.DataFrame(columns).write_parquet(path)
    elif path.suffix == ".csv":
        pl.DataFrame(columns).write_csv(path)
    else:
        pl.DataFrame(columns).write_ndjson(path)


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
def test_in_every_format(tmp_path: Path, kind: str) -> None:
    """The same columns and values; what the files hold wins; stated types are read; check sees it all."""
    write(tmp_path / f"d/year=2023/status=final/a.{kind}", {"id": ["1", "2"], "status": ["draft", "sent"]})
    write(tmp_path / f"d/year=2024/status=final/a.{kind}", {"id": ["3"], "status": ["new"]})
    job = job_over(tmp_path / "d", columns={"year": "integer"}, where="year >= 2023").model_copy(
        update={"path": str(tmp_path / "job.yaml")}
    )
    found = staged(job, tmp_path / "state")
    assert found.rows == [("1", "draft", 2023), ("2", "sent", 2023), ("3", "new", 2024)]
    assert found.records == [1, 2, 1]
    assert [(one.name, one.kind.value) for one in inspect(job).columns][:3] == [
        ("id", "text"),
        ("status", "text"),
        ("year", "integer"),
    ]


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
def test_united_in_every_format(tmp_path: Path, kind: str) -> None:
    """By name where the job says so; else an error that names the way on, in formats whose files have columns."""
    write(tmp_path / f"a.{kind}", {"id": ["1"], "x": ["x1"]})
    write(tmp_path / f"b.{kind}", {"y": ["y2"], "id": ["2"]})
    found = staged(job_over(tmp_path / f"*.{kind}", union="by_name"), tmp_path / "state")
    assert found.frame.columns[:3] == ["id", "x", "y"]
    assert found.rows == [("1", "x1", None), ("2", None, "y2")]
    apart = job_over(tmp_path / f"*.{kind}")
    if kind == "ndjson":
        assert staged(apart, tmp_path / "apart").rows == found.rows
        return
    for look in (inspect, lambda job: stage(job, tmp_path / "apart")):
        with pytest.raises(SourceError, match="lacks x and has y") as caught:
            look(apart)
        assert "union: by_name" in caught.value.hint
