"""A table of dumps as a source: what all kinds of dumps have in common."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import SourceError
from backfill.frozen import frozen
from backfill.job.models import ColumnSpec, Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources.columns import SourceColumn, aligned, check_names, united
from backfill.sources.dumps import TAR_MAGIC
from backfill.sources.dumps.archive import CONTENTS, MAGIC, open_archive
from backfill.sources.dumps.definitions import Name, names
from backfill.sources.dumps.postgres import PostgresDump
from backfill.sources.dumps.rows import Rows
from backfill.sources.dumps.sqlite import SqliteDump
from backfill.sources.origins.content import Watch, first_bytes, origin_of, plain_pieces, unwatched
from backfill.sources.reader import CompleteReader, UnreadableSink


@frozen
class DumpColumn:
    """A column as a dump defines it: what it is read as (None: text), and what it holds where it is refused."""

    spec: ColumnSpec | None = None
    refused: str = ""

    def __str__(self) -> str:
        return self.refused or (self.spec.type if self.spec else "text")


class OpenDump(Protocol):
    """A dump opened at its beginning, to be asked one of the two, once."""

    def columns(self) -> dict[str, tuple[ColumnSpec | None, str]]:
        """The table's columns, in their order: what each is read as, and what it holds where that is refused.

        Raises:
            SourceError: the dump has no such table, is none, or is damaged.
            JobError: the name may mean several tables.
        """

    def rows(self, wanted: frozenset[str]) -> Iterator[Rows]:
        """All rows of the table up to the end of the dump; `wanted` are the columns that are read.

        Raises:
            SourceError: the dump is damaged, or cut.
        """


#: Opens a dump of each format: of its pieces, by the name of the file, for that table.
_DUMPS: dict[str, Callable[[Iterator[bytes], str, Name], OpenDump]] = {
    "pg_dump": PostgresDump,
    "sqlite_dump": SqliteDump,
}


def _opened(kind: str, file: SourceFile, job: Job, watch: Watch) -> OpenDump:
    table = names(job.source.table or "", fold=kind == "pg_dump")
    if _is_archive(kind, file):
        return open_archive(file, table, watch)
    return _DUMPS[kind](plain_pieces(origin_of(file), watch), file.name, table)


def _is_archive(kind: str, file: SourceFile) -> bool:
    return kind == "pg_dump" and first_bytes(origin_of(file)).startswith((MAGIC, TAR_MAGIC))


def _dumps(files: Sequence[SourceFile]) -> list[tuple[int, SourceFile]]:
    """The files that are dumps, with their places: of an archive in a folder, the one that tells what is in it."""
    folders = {Path(file.path).parent for file in files if Path(file.path).name == CONTENTS}
    return [
        (index, file)
        for index, file in enumerate(files)
        if Path(file.path).name == CONTENTS or Path(file.path).parent not in folders
    ]


@frozen
class DumpReader(CompleteReader):
    """A table of dumps of one kind; see reader.Reader."""

    kind: str
    columns: tuple[SourceColumn, ...]
    job: Job
    files: Sequence[SourceFile]
    watch: Watch = unwatched

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All records in source order; raises as the protocol says."""
        schema = pa.schema([(column.name, column.type) for column in self.columns])
        wanted = frozenset(column.name for column in self.columns if not column.refused)
        for index, file in _dumps(self.files):
            first, with_lines = 1, not _is_archive(self.kind, file)
            for rows in _opened(self.kind, file, self.job, self.watch).rows(wanted):
                sound = rows.report(unreadable, index, first, with_lines=with_lines)
                numbers = np.flatnonzero(sound).astype(np.uint64) + np.uint64(first)
                first += len(rows.starts)
                values = {name: values for name, values in rows.columns() if name in wanted}
                if not len(numbers):
                    continue
                found = pa.RecordBatch.from_pydict(values) if values else _without_columns(len(numbers))
                placed = aligned(found, schema)
                places = [pa.array(np.full(len(numbers), index, np.uint32)), pa.array(numbers)]
                yield pa.RecordBatch.from_arrays(
                    [*placed.columns, *places], [*schema.names, FILE_COLUMN, RECORD_COLUMN]
                )


def _without_columns(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"": pa.nulls(rows)})


def open_dumps(kind: str, job: Job, files: Sequence[SourceFile], watch: Watch = unwatched) -> DumpReader:
    """A reader of that table of those files; looks for the definition in every file.

    Raises:
        SourceError: a file is of another kind or damaged, has no such table, or one with other columns than the first.
        JobError: the job does not fit the table.
    """
    found: list[tuple[str, dict[str, DumpColumn]]] = []
    for _, file in _dumps(files):
        columns = _opened(kind, file, job, unwatched).columns()
        if not columns:
            raise SourceError(f"{file.name}: the table {job.source.table} has no columns")
        found.append((file.name, {name: DumpColumn(*known) for name, known in columns.items()}))
    together = united(job, found)
    check_names(list(together))
    return DumpReader(kind, tuple(_column(job, name, known) for name, known in together.items()), job, files, watch)


def _column(job: Job, name: str, known: DumpColumn) -> SourceColumn:
    """The column as the job declares it, else as the dump defines it."""
    declared = job.source.columns.get(name)
    if declared is not None:
        return SourceColumn(name, pa.string(), None if declared.type == "text" else declared)
    refused = f"{known.refused}, unless `columns` declares it as text" if known.refused else ""
    return SourceColumn(name, pa.string(), known.spec, refused)


def lines_of(kind: str, file: SourceFile, job: Job, wanted: Sequence[int]) -> dict[int, int]:
    """The lines, from 1, that records of those numbers begin at; `wanted` is ascending."""
    lines: dict[int, int] = {}
    if _is_archive(kind, file):
        return lines
    first = 1
    for rows in _opened(kind, file, job, unwatched).rows(frozenset()):
        here = wanted[len(lines) : bisect_left(wanted, first + len(rows.starts))]
        lines |= zip(here, rows.lines(np.array(here, np.int64) - first).tolist(), strict=True)
        first += len(rows.starts)
        if len(lines) == len(wanted):
            break
    return lines
