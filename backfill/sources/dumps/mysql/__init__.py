"""Dumps of MySQL and MariaDB (mysqldump, mariadb-dump, and tools that write the like): the rows of one table.

script (statements, settings, where rows are) -> values (rows taken apart) -> columns (of their types) -> reader; types
tells those from CREATE TABLE. A dump is read once; of several files, each is read up to the table's first row before.
"""

from __future__ import annotations

from collections.abc import Sequence

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import Described, Format, Reader


class Mysqldump(Format):
    """The literal rows of INSERT statements."""

    heading = (
        rb"\s*(?:/\*M?!999999\\- enable the sandbox mode \*/\s*)?-- (?:MySQL dump|MariaDB dump|phpMyAdmin SQL Dump)\b"
    )
    snapshot_per_byte = 0.4
    spool_per_byte = 1.2

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader that looks for the table in every file first."""
        from backfill.sources.dumps.mysql.reader import open_dump

        del sample  # rows come as they are asked for
        return open_dump(job, files, watch)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns by CREATE TABLE and the first row, as far as that is among the first LOOK_BYTES."""
        from backfill.sources.dumps.mysql.reader import describe

        return describe(job, files)

    def lines(self, file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
        """The line that each row begins in."""
        from backfill.sources.dumps.mysql.reader import lines_of

        return lines_of(file, job, records)

    def emptiness(self, job: Job) -> str:
        """That a dump is wanted."""
        del job
        return ": not even a statement is in it"


MYSQLDUMP = Mysqldump("mysqldump")
