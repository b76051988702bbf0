"""The line: it alone knows the order of the steps, finds runs, and decides whether one may go on.

A name is imported when it is asked for: `status` loads no polars, a dry run no HTTP client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.lazy import lazily

if TYPE_CHECKING:
    from backfill.pipeline.gate import Gate
    from backfill.pipeline.line import resume_run, run_job
    from backfill.pipeline.refused import RefusedBatch, refused_batches
    from backfill.pipeline.rehearsal import Rehearsal, dry_run
    from backfill.pipeline.sampling import Preview, preview_job
    from backfill.pipeline.whereabouts import Whereabouts, find_call, ids_of_key
    from backfill.pipeline.work import Confirmation, Options, Progress, RunEnd, Surroundings, Work

__all__ = [
    "Confirmation",
    "Gate",
    "Options",
    "Preview",
    "Progress",
    "RefusedBatch",
    "Rehearsal",
    "RunEnd",
    "Surroundings",
    "Whereabouts",
    "Work",
    "dry_run",
    "find_call",
    "ids_of_key",
    "preview_job",
    "refused_batches",
    "resume_run",
    "run_job",
]

__getattr__ = lazily(
    __name__,
    {
        "gate": ("Gate",),
        "line": ("resume_run", "run_job"),
        "refused": ("RefusedBatch", "refused_batches"),
        "rehearsal": ("Rehearsal", "dry_run"),
        "sampling": ("Preview", "preview_job"),
        "whereabouts": ("Whereabouts", "find_call", "ids_of_key"),
        "work": ("Confirmation", "Options", "Progress", "RunEnd", "Surroundings", "Work"),
    },
)
