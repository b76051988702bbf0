"""SQLite: a query in the database's own SQL.

session (a guarded connection to an unchanging file) -> query (types of its result) -> reader (its rows through ADBC).
The query runs twice, once for the classes of its values, since types belong to values in SQLite, and once for the rows;
before that the pages of the tables that it reads are looked through for damage.
"""

from __future__ import annotations

from collections.abc import Sequence

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.origins.content import Watch, unwatched
from backfill.sources.reader import Described, Format, Reader


class Sqlite(Format):
    """One query of one database."""

    packable = False
    is_database = True
    snapshot_per_byte = 0.5
    spool_per_byte = 1.0

    def open(
        self, job: Job, files: Sequence[SourceFile], *, watch: Watch = unwatched, sample: int | None = None
    ) -> Reader:
        """A reader of the query's rows, in the query's order; a row's record number is its place in the result."""
        from backfill.sources.sqlite.reader import open_sqlite

        return open_sqlite(job, files[0], watch, sample)

    def describe(self, job: Job, files: Sequence[SourceFile]) -> Described:
        """The columns by the first rows, as many as SQLite gives for a bounded effort."""
        from backfill.sources.sqlite.reader import describe

        return describe(job, files[0])


SQLITE = Sqlite("sqlite")
