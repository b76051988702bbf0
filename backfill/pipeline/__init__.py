"""The order of the steps: stages, prepares and delivers runs, finds them, and decides whether one may go on.

A name is imported when it is asked for: `status` loads no polars, a dry run no HTTP client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.lazy import lazily

if TYPE_CHECKING:
    from backfill.pipeline.context import Confirmation, Options, Progress, RunContext, RunRequest, RunResult
    from backfill.pipeline.dry_run import DryRunRequest, dry_run_job
    from backfill.pipeline.find_call import find_calls, ids_of_key
    from backfill.pipeline.parts import Part, PartResult, prepare_part
    from backfill.pipeline.refused import RefusedBatch, refused_batches
    from backfill.pipeline.run import resume_run, run_job, run_jobs
    from backfill.pipeline.sample import Preview, preview_job

__all__ = [
    "Confirmation",
    "DryRunRequest",
    "Options",
    "Part",
    "PartResult",
    "Preview",
    "Progress",
    "RefusedBatch",
    "RunContext",
    "RunRequest",
    "RunResult",
    "dry_run_job",
    "find_calls",
    "ids_of_key",
    "prepare_part",
    "preview_job",
    "refused_batches",
    "resume_run",
    "run_job",
    "run_jobs",
]

__getattr__ = lazily(
    __name__,
    {
        "run": ("resume_run", "run_job", "run_jobs"),
        "parts": ("Part", "PartResult", "prepare_part"),
        "refused": ("RefusedBatch", "refused_batches"),
        "dry_run": ("DryRunRequest", "dry_run_job"),
        "sample": ("Preview", "preview_job"),
        "find_call": ("find_calls", "ids_of_key"),
        "context": ("Confirmation", "Options", "Progress", "RunResult", "RunContext", "RunRequest"),
    },
)
