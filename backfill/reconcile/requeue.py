"""Missing calls planned again, unless it is too early to call them that."""

from __future__ import annotations

from backfill.errors import RefusedError, UsageError
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.context import RunContext
from backfill.pipeline.requeue import Requeued, requeue
from backfill.reconcile.calls import RunCalls
from backfill.reconcile.compare import Comparison
from backfill.report.summary import time_text


def refuse_early(plan: PlanCalls, late_ms: int, context: RunContext) -> None:
    """See to it that calls of a run may be found missing: it is over, and its last answer came so long ago.

    Raises:
        UsageError: It is not over.
        RefusedError: It was live, and ended later than that: what seems to be missing may be on its way.
    """
    record = plan.status.record
    if not plan.status.over:
        raise UsageError(
            f"{record.run_id} is {plan.status.state}: its own calls are to be sent first",
            hint=f"`backfill resume {record.run_id}` sends them",
        )
    with plan.run.read() as reader:
        ended = reader.counts().last_ended_at
    if record.live and ended is not None and context.clock.now() < ended + late_ms / 1000:
        raise RefusedError(
            f"{record.run_id} sent its last call at {time_text(ended)}: what seems to be missing may only be late, and"
            " would be there twice",
            hint="reconcile with --requeue once --late is over; a shorter --late says that nothing takes so long",
        )


def plan_absent(plan: PlanCalls, calls: RunCalls, comparison: Comparison, context: RunContext) -> Requeued:
    """Plan what is not there again, delivered by the ledger or in doubt; raises as `requeue` does."""
    return requeue(plan, lambda: calls.shards_of(comparison.absent), context)


def requeue_notes(plan: PlanCalls, newest_ms: int | None) -> list[str]:
    """What to mind before calls are sent again; `newest_ms` is when the newest row was received, if that is known."""
    with plan.run.read() as reader:
        ended = reader.counts().last_ended_at
    if ended is None or newest_ms is None or newest_ms / 1000 >= ended:
        return []
    told = f"the newest row was received at {time_text(newest_ms / 1000)}, the last call sent at {time_text(ended)}"
    return [
        f"{told}: if the source was not loaded since, what is missing may be there by now, and would be there twice"
    ]
