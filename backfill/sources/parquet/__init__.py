"""Parquet: read where it lies when nothing is to be computed (in_place), else streamed like any format (reader).

The footers of all files are read first. In place the values are read once by pyarrow, which verifies the pages, before
polars prepares them; streamed, once.
"""

from __future__ import annotations

from collections.abc import Sequence

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import Described, Format, InPlace, Reader


class Parquet(Format):
    """Columns with types."""

    magic = b"PAR1"
    packable = False
    may_stay = True
    snapshot_per_byte = 1.0
    spool_per_byte = 2.7

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader by the footers of all files."""
        from backfill.sources.parquet.reader import parquet_reader

        del sample  # rows come as they are asked for
        return parquet_reader(job, files, watch)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns by the footers."""
        return Described(self.open(job, files).columns)

    def in_place(self, job: Job, files: Sequence[SourceFile]) -> InPlace | None:
        """The source, if it surely can be read where it is."""
        from backfill.sources.parquet.in_place import in_place

        return in_place(job, files)


PARQUET = Parquet("parquet")
