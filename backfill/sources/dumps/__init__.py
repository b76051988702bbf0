"""Dumps: the rows of one table of a script of SQL that a database's own program has written.

script (where statements end) -> postgres, sqlite (what they say, in which order) -> copy, inserts (where rows and
fields are, by arithmetic) -> rows, fields (what of them is sound, as columns) -> reader. An archive is made a script by
pg_restore. A dump is read from the beginning to its end, since only its last lines tell that it is whole; up to the
table's definition it is read twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import Described, Format, Reader

#: The name of the first member of a tar that pg_dump has written.
TAR_MAGIC = b"toc.dat\0"


class Dump(Format):
    """One table of a dump; `source.table` names it."""

    spool_per_byte = 1.0

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader that has looked for the table's columns in every file."""
        from backfill.sources.dumps.reader import open_dumps

        del sample  # rows come as they are asked for
        return open_dumps(self.name, job, files, watch)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns as the table's definition says."""
        return Described(self.open(job, files).columns)

    def lines(self, file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
        """The line that each record begins in."""
        from backfill.sources.dumps.reader import lines_of

        return lines_of(self.name, file, job, records)


class PgDump(Dump):
    """Of PostgreSQL: a script, or an archive that pg_restore makes one of."""

    magic = b"PGDMP"
    heading = rb"\s*--\s+-- PostgreSQL database (?:cluster )?dump"

    def begins(self, head: bytes) -> bool:
        """Whether an archive begins so, a tar one included."""
        return super().begins(head) or head.startswith(TAR_MAGIC)


class SqliteDumps(Dump):
    """Of SQLite: by `.dump` of its shell, or `iterdump` of Python."""

    heading = rb"\s*(?:PRAGMA foreign_keys=OFF;\s*BEGIN TRANSACTION;|BEGIN TRANSACTION;\n(?:CREATE TABLE|COMMIT))"


PG_DUMP = PgDump("pg_dump")
SQLITE_DUMP = SqliteDumps("sqlite_dump")
