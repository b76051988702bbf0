"""The reader of every format whose files say the types of their columns, and hand out batches of Arrow.

Such a format says two things of a file: its head (columns, and rows where the file states them) and its batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import SourceError, counted
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.memory import BATCH_BYTES
from backfill.records import SourceFile
from backfill.sources.arrow_records import Field, Placing, Wrong, common_field, field_of, refuse_names, typed_columns
from backfill.sources.columns import SourceColumn, united
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import CompleteReader, UnreadableSink

#: Rows of a batch at most, however small they look: a dictionary unfolds only once it is read.
MOST_ROWS = 8_192


@frozen
class Head:
    """What one file says of itself."""

    fields: dict[str, Field]
    rows: int | None = None  # None where the file does not say
    batch_rows: int = MOST_ROWS  # that are read at once


@frozen
class Marked:
    """Rows of which some cannot be read: their places, each with the column at fault and what it holds."""

    rows: pa.RecordBatch
    wrong: Mapping[int, tuple[str, str]]


class TypedFiles(ABC):
    """How the files of one format are opened."""

    @abstractmethod
    def head(self, file: SourceFile) -> Head:
        """The file's columns.

        Raises:
            SourceError: the file is damaged, or has no columns that can be named.
            JobError: its columns cannot be told apart.
        """

    @abstractmethod
    def batches(self, file: SourceFile, head: Head) -> Iterator[pa.RecordBatch | Marked]:
        """The file's own batches; raises SourceError where it is damaged or gone."""

    def lines(self, file: SourceFile, records: Sequence[int]) -> dict[int, int]:
        """Where each of those records stands, as `Format.lines` says; nowhere, in most of these formats."""
        del file, records
        return {}

    def data_files(self, path: Path) -> Sequence[Path] | None:
        """The files that a path stands for, see `Format.data_files`."""
        del path
        return None

    def in_turn(self, files: Sequence[SourceFile]) -> Iterable[SourceFile]:
        """The files, one after the other."""
        return files


@frozen
class ArrowReader(CompleteReader):
    """The records of typed files (see reader.Reader)."""

    files: tuple[SourceFile, ...]
    heads: tuple[Head, ...]
    fields: dict[str, Field]
    columns: tuple[SourceColumn, ...]
    opened: TypedFiles
    watch: Watch

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All records in order; those with a value that is not what its type says are unreadable.

        Raises:
            SourceError: a file is damaged or gone, or has not as many rows as it says.
        """
        placing = Placing(self.fields, unreadable)
        for index, (file, head) in enumerate(zip(self.opened.in_turn(self.files), self.heads, strict=True)):
            rows = told = 0
            for found in self.opened.batches(file, head):
                batch, wrong = (found.rows, found.wrong) if isinstance(found, Marked) else (found, {})
                placed = _placed(placing, file, batch, (index, rows), wrong)
                rows += batch.num_rows
                size = file.bytes if head.rows is None else file.bytes * rows // max(head.rows, 1)
                self.watch(min(size, file.bytes) - told)
                told = min(size, file.bytes)
                if placed is not None:
                    yield placed
            if head.rows is not None:
                check_rows(file, head.rows, rows)


def _placed(
    placing: Placing, file: SourceFile, batch: pa.RecordBatch, place: tuple[int, int], wrong: Wrong
) -> pa.RecordBatch | None:
    """What `Placing.place` gives; raises SourceError where the batch is broken."""
    try:
        return placing.place(batch, *place, wrong)
    except pa.ArrowInvalid as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise SourceError(
            f"{file.name} is damaged: {said}", hint="fetch or export the file again; nothing was sent"
        ) from error


def check_rows(file: SourceFile, stated: int, read: int) -> None:
    """Raise SourceError where another number of rows was read than the footer states."""
    if read != stated:
        raise SourceError(
            f"{file.name} is damaged: its footer says {counted(stated, 'row', 'rows')}, and {read:,} could be read",
            hint="write the file again",
        )


def head_of(file: SourceFile, schema: pa.Schema, rows: int | None = None) -> Head:
    """The head of a file with that schema; raises as `TypedFiles.head` does."""
    refuse_names(file, schema.names)
    return Head({field.name: field_of(field.type) for field in schema}, rows)


def arrow_reader(job: Job, files: Sequence[SourceFile], opened: TypedFiles, watch: Watch = unwatched) -> ArrowReader:
    """The reader of these files.

    Raises:
        SourceError: a file is damaged, or the files' columns differ.
        JobError: a column is declared that holds no text.
    """
    heads = tuple(_alike(map(opened.head, opened.in_turn(files))))
    fields = united(job, [(file.name, head.fields) for file, head in zip(files, heads, strict=True)], common_field)
    return ArrowReader(tuple(files), heads, fields, typed_columns(job, fields), opened, watch)


def _alike(heads: Iterable[Head]) -> Iterator[Head]:
    """The heads, those with the first one's fields sharing them: there may be ten thousand."""
    first: Head | None = None
    for head in heads:
        first = first or head
        yield replace(head, fields=first.fields) if head.fields == first.fields else head


def sliced(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in pieces of about BATCH_BYTES: who wrote the file chose how large its own are."""
    rows = max(1, min(MOST_ROWS, batch.num_rows * BATCH_BYTES // max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)
