"""A reader's records with the columns that folders' names give (see partitions); no format has to know of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa  # type: ignore[import-untyped]
from duckdb.sqltypes import VARCHAR

from backfill.job.models import Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, SourceFile
from backfill.sources.files import base_folder
from backfill.sources.partitions import Partitions, partitions_of
from backfill.sources.reader import Reader, UnreadableSink
from backfill.sources.sql.layout import SourceColumn

_PLACES = (FILE_COLUMN, RECORD_COLUMN)


def with_partitions(reader: Reader, job: Job, files: Sequence[SourceFile]) -> Reader:
    """The reader, with the columns of the folders behind its own.

    Raises:
        SourceError: the folders do not agree (see partitions_of).
    """
    found = partitions_of(job, files, base_folder(job))
    own = {column.name.casefold() for column in reader.columns}
    further = {name: values for name, values in found.items() if name.casefold() not in own}
    return PartitionedReader(reader, job, further) if further else reader


def with_partition_columns(
    columns: Sequence[SourceColumn], job: Job, files: Sequence[SourceFile]
) -> tuple[SourceColumn, ...]:
    """The same for columns alone."""
    own = {column.name.casefold() for column in columns}
    names = [name for name in partitions_of(job, files, base_folder(job)) if name.casefold() not in own]
    return (*columns, *(_column(name, job) for name in names))


@dataclass(frozen=True, slots=True)
class PartitionedReader:
    """Adds constant columns of text to the rows of each file."""

    reader: Reader
    job: Job
    partitions: Partitions

    @property
    def columns(self) -> tuple[SourceColumn, ...]:
        """The reader's own columns, then those of the folders."""
        return (*self.reader.columns, *(_column(name, self.job) for name in self.partitions))

    @property
    def complete(self) -> bool:
        """As the reader says: folders' names are known."""
        return self.reader.complete

    def batches(self, unreadable: UnreadableSink) -> Iterator[pa.RecordBatch]:
        """The reader's batches, each row with what the folders of its file say; raises what the reader does."""
        values = {name: pa.array(texts, pa.string()) for name, texts in self.partitions.items()}
        for batch in self.reader.batches(unreadable):
            places = {name: batch.column(batch.schema.get_field_index(name)) for name in _PLACES}
            rows = batch.drop_columns(_PLACES)
            columns = [*rows.columns, *(texts.take(places[FILE_COLUMN]) for texts in values.values())]
            yield pa.RecordBatch.from_arrays([*columns, *places.values()], [*rows.schema.names, *values, *places])


def _column(name: str, job: Job) -> SourceColumn:
    spec = job.source.columns.get(name)
    return SourceColumn(name, VARCHAR, spec if spec is not None and spec.type != "text" else None)
