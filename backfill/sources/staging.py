"""What all kinds of staging share: the job, the files, the engine, and what is known so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from backfill.errors import BackfillError, JobError
from backfill.job import expression_paths
from backfill.job.models import Job
from backfill.records import RECORD_COLUMN, SourceFile
from backfill.sources.checksum import until
from backfill.sources.engine import (
    Engine,
    literal,
    own_parquet,
    parquet_for,
    quoted,
    reason,
    storage_failure,
    unreadable_source,
)
from backfill.sources.layout import KEEP, Layout

UNREADABLE = "unreadable.parquet"


@dataclass(slots=True)
class Staging:
    """One staging at work. `progress` is told rows, and the bytes of all passes over the files."""

    job: Job
    folder: Path
    files: tuple[SourceFile, ...]
    engine: Engine
    progress: Callable[[int, int], None]
    sample: int | None = None  # only the first so many rows are wanted; None: all
    rows: int = 0
    bytes: int = 0

    @property
    def unreadable_file(self) -> Path:
        """Where unreadable records go."""
        return self.folder / UNREADABLE

    def part(self, index: int) -> Path:
        """The snapshot's part of that number."""
        return self.folder / f"part-{index:05}.parquet"

    def copy_counted(self, select: str, path: Path, row_bytes: float = 0.0) -> int:
        """Write a result as Parquet, telling what `count` and the stream have counted; returns its rows."""
        count = self.engine.run(
            f"COPY ({select}) TO {literal(str(path))} ({parquet_for(row_bytes)})",
            lambda _: self.progress(self.rows, self.bytes),
        )[0][0]
        self.progress(self.rows, self.bytes)
        return int(count)

    def count(self, size: int) -> None:
        """Count the bytes of a piece that a reader takes, in whatever thread; raises InterruptedRunError to end it."""
        until(self.engine.cancelled)(size)
        self.bytes += size

    def number(self, layout: Layout, path: Path) -> int:
        """Rewrite a part with each row's place as its record, without those `where` leaves out; returns how many."""
        names = [quoted(column.name) for column in layout.columns]
        place = f"CAST(file_row_number + 1 AS UBIGINT) AS {RECORD_COLUMN}"
        target = path.with_suffix(".numbered")
        kept = self.copy_counted(
            f"SELECT {', '.join([*names, place])} FROM {own_parquet([path], 'file_row_number = true')} WHERE {KEEP}",
            target,
        )
        target.replace(path)
        return kept

    def failure(self, layout: Layout, error: duckdb.Error, relation: str, name: str) -> BackfillError:
        """The error to raise for a statement that failed over a relation: the disk's, an expression's, the file's."""
        found = storage_failure(error)
        if found is not None:
            return found
        columns = self.job.expressions()
        for text, path in expression_paths(self.job).items():
            column = quoted(columns[text]) if text in columns else KEEP
            try:
                self.engine.run(f"SELECT count({column}) FROM ({layout.select(relation, filtered=False)})")
            except duckdb.Error as inner:
                return JobError(
                    f"{path}: the expression fails on a row: {reason(inner)}",
                    hint="guard it, for example with TRY_CAST, nullif or CASE WHEN",
                )
        return unreadable_source(name, error)
