"""Parquet: what the footers of all files say, and the files' records as batches that a snapshot can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.arrow_records import Field, Placing, common_field, field_of, refuse_names, typed_columns
from backfill.sources.columns import SourceColumn, united
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.parquet.file import batch_rows, check_rows, in_turn, opened, raw_batches, stated_rows
from backfill.sources.reader import CompleteReader, UnreadableSink


@dataclass(frozen=True, slots=True)
class Footer:
    """What the footer of one file says."""

    fields: dict[str, Field]
    rows: int
    batch_rows: int  # that are read at once


def read_footer(file: SourceFile) -> Footer:
    """The file's columns and rows.

    Raises:
        SourceError: the file is damaged, says two things of how many rows it has, or has no columns that can be named.
        JobError: its columns cannot be told apart.
    """
    with opened(file) as content:
        rows = stated_rows(file, content)
        schema = content.schema_arrow
        refuse_names(file, schema.names)
        return Footer(_fields(schema, content.schema), rows, batch_rows(content.metadata))


def _fields(schema: pa.Schema, own: Any) -> dict[str, Field]:  # noqa: ANN401
    stated = (own.column(place) for place in range(len(own)))
    intervals_held = {leaf.path for leaf in stated if leaf.converted_type == "INTERVAL"}
    return {field.name: field_of(field.type, is_interval=field.name in intervals_held) for field in schema}


@dataclass(frozen=True, slots=True)
class ParquetReader(CompleteReader):
    """The records of Parquet files (see reader.Reader)."""

    files: tuple[SourceFile, ...]
    footers: tuple[Footer, ...]
    fields: dict[str, Field]
    columns: tuple[SourceColumn, ...]
    watch: Watch

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """All records in order; those with a value that is not what its type says are unreadable.

        Raises:
            SourceError: a file is damaged or gone, or has not as many rows as its footer says.
        """
        placing = Placing(self.fields, unreadable)
        for index, (file, footer) in enumerate(zip(in_turn(self.files), self.footers, strict=True)):
            rows = 0
            for batch in raw_batches(file, footer.batch_rows):
                placed = placing.place(batch, index, rows)
                rows += batch.num_rows
                self.watch(file.bytes * batch.num_rows // max(footer.rows, 1))
                if placed is not None:
                    yield placed
            check_rows(file, footer.rows, rows)


def parquet_reader(job: Job, files: Sequence[SourceFile], watch: Watch = unwatched) -> ParquetReader:
    """The reader of these files.

    Raises:
        SourceError: a file is damaged, or the files' columns differ.
        JobError: a column is declared that holds no text.
    """
    footers = tuple(_alike(map(read_footer, in_turn(files))))
    fields = united(
        job, [(file.name, footer.fields) for file, footer in zip(files, footers, strict=True)], common_field
    )
    return ParquetReader(tuple(files), footers, fields, typed_columns(job, fields), watch)


def _alike(footers: Iterable[Footer]) -> Iterator[Footer]:
    """The footers, those with the first one's fields sharing them: there may be ten thousand."""
    first: Footer | None = None
    for footer in footers:
        first = first or footer
        yield replace(footer, fields=first.fields) if footer.fields == first.fields else footer
