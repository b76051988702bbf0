"""The line: it alone knows the order of the steps, finds runs, and decides whether one may go on.

What sends (`run_job`, `resume_run`) is imported when it is asked for: a dry run loads no HTTP client.
"""

from typing import TYPE_CHECKING, Any

from backfill.pipeline.gate import Gate
from backfill.pipeline.refused import RefusedBatch, refused_batches
from backfill.pipeline.rehearsal import Rehearsal, dry_run, preview_job
from backfill.pipeline.whereabouts import Whereabouts, find_call, ids_of_key
from backfill.pipeline.work import Confirmation, Options, Progress, RunEnd, Surroundings, Work

if TYPE_CHECKING:
    from backfill.pipeline.line import resume_run, run_job

__all__ = [
    "Confirmation",
    "Gate",
    "Options",
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


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name in ("resume_run", "run_job"):
        from backfill.pipeline import line  # noqa: PLC0415 (httpx and deliver)

        return getattr(line, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
