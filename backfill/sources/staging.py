"""What all kinds of staging share: the job, the files, the engine, and what is known so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from backfill.errors import BackfillError, JobError
from backfill.job import expression_paths
from backfill.job.models import Job
from backfill.records import RECORD_COLUMN, SourceFile
from backfill.sources.checksum import until
from backfill.sources.engine import PARQUET, Engine, literal, quoted, reason, storage_failure, unreadable_source
from backfill.sources.layout import KEEP, Layout
from backfill.sources.rejects import numbered, reject_changes

UNREADABLE = "unreadable.parquet"


@dataclass(slots=True)
class Staging:
    """One staging at work. `progress` is told rows, and the bytes of all passes over the files."""

    job: Job
    folder: Path
    files: tuple[SourceFile, ...]
    engine: Engine
    progress: Callable[[int, int], None]
    rows: int = 0
    bytes: int = 0

    @property
    def unreadable_file(self) -> Path:
        """Where unreadable records go."""
        return self.folder / UNREADABLE

    def part(self, index: int) -> Path:
        """The snapshot's part of that number."""
        return self.folder / f"part-{index:05}.parquet"

    def copy(self, select: str, path: Path, size: int = 0) -> int:
        """Write a result as Parquet, telling the progress of `size` source bytes; returns its rows."""
        done = self.bytes
        count = self.engine.run(
            f"COPY ({select}) TO {literal(str(path))} ({PARQUET})",
            lambda share: self.progress(self.rows, done + int(share * size)),
        )[0][0]
        return int(count)

    def watch(self, size: int) -> None:
        """Count the bytes of a piece of a file that is gone through; raises InterruptedRunError if that is to end."""
        until(self.engine.cancelled, lambda more: self.advance(0, more))(size)

    def advance(self, rows: int, size: int) -> None:
        """A file, or a piece of one, is done: tell the progress."""
        self.rows, self.bytes = self.rows + rows, self.bytes + size
        self.progress(self.rows, self.bytes)

    def number(self, layout: Layout, path: Path, rows: int, rejected: Sequence[int]) -> int:
        """Rewrite a part with each row's record number, without the rows `where` does not keep; returns its rows."""
        names = ", ".join(quoted(column.name) for column in layout.columns)
        record = numbered("file_row_number + 1", rows, reject_changes(rejected))
        tail = f" WHERE {KEEP}" if layout.keep is not None else ""
        target = path.with_suffix(".numbered")
        kept = self.copy(
            f"SELECT {names}, CAST({record} AS UBIGINT) AS {RECORD_COLUMN} "
            f"FROM read_parquet({literal(str(path))}, file_row_number = true){tail}",
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
