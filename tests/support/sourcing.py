"""Jobs over sources, and what staging made of them, for the tests of backfill.sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from backfill.job.models import Call, ColumnSpec, CsvSpec, Job, ObjectSpec, Source, SqlValue, TimestampSpec
from backfill.records import FILE_COLUMN, INTERNAL_PREFIX, RECORD_COLUMN, Snapshot
from backfill.sources import stage


def job_over(
    *paths: Path | str,
    columns: dict[str, Any] | None = None,
    csv: dict[str, Any] | None = None,
    where: str | None = None,
    sql: tuple[str, ...] = (),
    when: str | None = None,
    timestamp: TimestampSpec | None = None,
    **source: Any,
) -> Job:
    """A job of one call over those files; `columns` may give a type alone, `sql` becomes properties."""
    specs = {
        name: spec if isinstance(spec, ColumnSpec) else ColumnSpec(type=spec) for name, spec in (columns or {}).items()
    }
    members = tuple(((f"p{index}",), SqlValue(sql=text)) for index, text in enumerate(sql))
    call = Call(
        type="track",
        when=when,
        timestamp=timestamp or TimestampSpec(value="2024-01-01T00:00:00Z"),
        properties=ObjectSpec(members=members),
    )
    return Job(
        version=1,
        name="test",
        source=Source(path=tuple(map(str, paths)), columns=specs, csv=CsvSpec(**(csv or {})), **source),
        where=where,
        calls=(call,),
    )


@dataclass(frozen=True)
class Staged:
    """A snapshot with its rows in memory."""

    snapshot: Snapshot
    frame: pl.DataFrame

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The source's own columns, row by row."""
        return self.frame.select(name for name in self.frame.columns if not name.startswith(INTERNAL_PREFIX)).rows()

    def column(self, name: str) -> list[Any]:
        """One column's values."""
        return self.frame[name].to_list()

    @property
    def records(self) -> list[int]:
        """Each row's record number."""
        if RECORD_COLUMN in self.frame.columns:
            return self.column(RECORD_COLUMN)
        return [number for part in self.snapshot.parts for number in range(1, part.rows + 1)]

    @property
    def files(self) -> list[str]:
        """Each row's file."""
        if FILE_COLUMN in self.frame.columns:
            return [self.snapshot.files[index].name for index in self.column(FILE_COLUMN)]
        return [self.snapshot.files[part.file].name for part in self.snapshot.parts for _ in range(part.rows)]

    @property
    def rejects(self) -> list[dict[str, Any]]:
        """The unreadable records."""
        return (
            [] if self.snapshot.unreadable_file is None else pl.read_parquet(self.snapshot.unreadable_file).to_dicts()
        )

    def kind(self, name: str) -> str:
        """A column's kind."""
        column = self.snapshot.column(name)
        assert column is not None
        return column.kind.value


def staged(job: Job, folder: Path, **options: Any) -> Staged:
    """Stage the job, check what holds of every snapshot, and read it."""
    return read(stage(job, folder, **options))


def read(snapshot: Snapshot) -> Staged:
    """The snapshot with its rows, what holds of every snapshot checked."""
    frame = pl.concat([pl.read_parquet(part.path, glob=False, hive_partitioning=False) for part in snapshot.parts])
    assert snapshot.read == snapshot.filtered + snapshot.unreadable + snapshot.rows
    assert len(frame) == snapshot.rows
    assert set(frame.columns) == {column.name for column in snapshot.columns}
    result = Staged(snapshot, frame)
    assert len(result.rejects) == snapshot.unreadable
    return result
