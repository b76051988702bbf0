"""Job files: what a source is and which calls its rows become (reference: docs/job-file.md)."""

from __future__ import annotations

from backfill.job.columns import check_columns
from backfill.job.fields import Role
from backfill.job.file import job_schema
from backfill.job.load import fault_at, fingerprint, load_job, positions
from backfill.job.models import Job
from backfill.job.notices import notices
from backfill.job.references import Reference, expression_paths, references

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
    "notices",
    "positions",
    "references",
]
