"""A job's source and SQL looked at without staging: what columns there are, and what is wrong with the SQL."""

from __future__ import annotations

from backfill.job.models import Job
from backfill.sources.files import extra_files, locate, look_through
from backfill.sources.formats import one_format
from backfill.sources.schema import Schema


def inspect(job: Job) -> Schema:
    """Look at headers, footers or a sample, and bind the job's SQL against what is there; no row is staged.

    Raises:
        SourceError: a file is missing or not what it should be; compressed ones are unpacked as far as the first
            megabytes go, so that those of a small source are judged whole.
        JobError: the declared columns do not fit the source, or its query does not bind.
    """
    located = locate(job)
    look_through(located)
    files, further = extra_files(job, located)
    found = one_format(job, files).in_place(job, files)
    if found is not None:
        return Schema(found.columns)
    from backfill.sources.look import look  # DuckDB

    return look(job, files, further)
