"""CSV, TSV and fixed-width text, read exactly by the grammar in docs/sources.md.

text (bytes to UTF-8) -> scan (where records are; structure is its arithmetic) -> records (columns, faults) -> reader.
A file is read once for its header and once for its rows; pieces that a header is in are the only ones read twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import Described, Format, Reader


class Delimited(Format):
    """Text of one record a line, but for line ends in quotes."""

    def __init__(self, name: str, separator: str) -> None:
        super().__init__(name)
        self.separator = separator

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader that looks at every file's header first."""
        from backfill.sources.csv.reader import open_csv

        del sample  # rows come as they are asked for
        return open_csv(job, files, self.separator, watch)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns by the headers alone."""
        return Described(self.open(job, files).columns)

    def lines(self, file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
        """The line that each record begins in."""
        from backfill.sources.csv.reader import lines_of

        return lines_of(file, job, self.separator, records)

    def emptiness(self, job: Job) -> str:
        """That a header is wanted, where one is."""
        return ": not even a header is in it" if job.source.csv.header else ""


class FixedWidth(Format):
    """Text of one record a line, whose columns have their places in it."""

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader of lines that the job's widths cut."""
        from backfill.sources.csv.fixed_width import open_fixed_width

        del sample  # rows come as they are asked for
        return open_fixed_width(job, files, watch)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns, as the job names them."""
        return Described(self.open(job, files).columns)

    def lines(self, file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
        """The line that each record is."""
        from backfill.sources.csv.fixed_width import lines_of_records

        return lines_of_records(file, job, records)


CSV = Delimited("csv", ",")
TSV = Delimited("tsv", "\t")
FIXED_WIDTH = FixedWidth("fixed_width")
