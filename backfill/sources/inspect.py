"""A job's source and SQL looked at without staging: what columns there are, and what is wrong with the SQL."""

from __future__ import annotations

from backfill.job.models import Job
from backfill.sources.files import extra_files, locate
from backfill.sources.in_place import in_place
from backfill.sources.schema import Schema


def inspect(job: Job) -> Schema:
    """Look at headers, footers or a sample, and bind the job's SQL against what is there; no row is staged.

    Raises:
        SourceError: a file is missing or not what it should be.
        JobError: the declared columns do not fit the source, or its query does not bind.
    """
    files, further = extra_files(job, locate(job))
    found = in_place(job, files)
    if found is not None:
        return Schema(found.columns)
    from backfill.sources.looking import look  # DuckDB

    return look(job, files, further)
