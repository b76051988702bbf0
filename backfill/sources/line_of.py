"""Lines of records, looked up when a problem is shown."""

from __future__ import annotations

from collections.abc import Sequence

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.formats import format_of
from backfill.sources.origins.stamps import unchanged


def line_of(file: SourceFile, job: Job, records: Sequence[int]) -> dict[int, int]:
    """The line, from 1, that each of those records of a text file begins at.

    The file is read again, so nothing is told of one that has changed since, and nothing of formats without lines.
    Records are numbered as problems number them.
    """
    if not records or not unchanged(file):
        return {}
    return format_of(job, file.path).lines(file, job, sorted(set(records)))
