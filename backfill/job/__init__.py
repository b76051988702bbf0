"""Job files: what a source is and which calls its rows become (reference: docs/job-file.md).

A name is imported when it is asked for: what asks only whether a path is a URL loads no models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.lazy import lazily

if TYPE_CHECKING:
    from backfill.job.columns import check_columns
    from backfill.job.fields import Role
    from backfill.job.file import job_schema
    from backfill.job.load import fault_at, fingerprint, load_job, positions
    from backfill.job.models import Job
    from backfill.job.references import Reference, expression_paths

__all__ = [
    "Job",
    "Reference",
    "Role",
    "check_columns",
    "expression_paths",
    "fault_at",
    "fingerprint",
    "job_schema",
    "load_job",
    "positions",
]

__getattr__ = lazily(
    __name__,
    {
        "columns": ("check_columns",),
        "fields": ("Role",),
        "file": ("job_schema",),
        "load": ("fault_at", "fingerprint", "load_job", "positions"),
        "models": ("Job",),
        "references": ("Reference", "expression_paths"),
    },
)
