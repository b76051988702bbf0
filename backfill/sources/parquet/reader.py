"""Parquet: what the footers of all files say, and the files' records as batches that a snapshot can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.arrow_reader import ArrowReader, Head, TypedFiles, arrow_reader
from backfill.sources.arrow_records import Field, field_of, refuse_names
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.parquet.file import batch_rows, in_turn, opened, raw_batches, stated_rows


class ParquetFiles(TypedFiles):
    """How Parquet files are opened."""

    def head(self, file: SourceFile) -> Head:
        """What the footer says; raises SourceError also where it says two things of how many rows there are."""
        with opened(file) as content:
            rows = stated_rows(file, content)
            schema = content.schema_arrow
            refuse_names(file, schema.names)
            return Head(_fields(schema, content.schema), rows, batch_rows(content.metadata))

    def batches(self, file: SourceFile, head: Head) -> Iterator[pa.RecordBatch]:
        """The file's own batches."""
        return raw_batches(file, head.batch_rows)

    def in_turn(self, files: Sequence[SourceFile]) -> Iterator[SourceFile]:
        """The files, footers given back on the way."""
        return in_turn(files)


def _fields(schema: pa.Schema, own: Any) -> dict[str, Field]:  # noqa: ANN401
    stated = (own.column(place) for place in range(len(own)))
    intervals_held = {leaf.path for leaf in stated if leaf.converted_type == "INTERVAL"}
    return {field.name: field_of(field.type, is_interval=field.name in intervals_held) for field in schema}


def parquet_reader(job: Job, files: Sequence[SourceFile], watch: Watch = unwatched) -> ArrowReader:
    """The reader of these files, by their footers; raises as `arrow_reader` does."""
    return arrow_reader(job, files, ParquetFiles(), watch)
