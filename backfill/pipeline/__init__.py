"""The line: it alone knows the order of the steps, finds runs, and decides whether one may go on."""

from backfill.pipeline.gate import Gate
from backfill.pipeline.line import resume_run, run_job
from backfill.pipeline.refused import RefusedBatch, refused_batches
from backfill.pipeline.rehearsal import Rehearsal, dry_run, preview_job
from backfill.pipeline.work import Confirmation, Options, Progress, RunEnd, Surroundings, Work

__all__ = [
    "Confirmation",
    "Gate",
    "Options",
    "Progress",
    "RefusedBatch",
    "Rehearsal",
    "RunEnd",
    "Surroundings",
    "Work",
    "dry_run",
    "preview_job",
    "refused_batches",
    "resume_run",
    "run_job",
]
