"""Missing calls planned again, unless it is too early to call them that."""

from __future__ import annotations

from typing import Final

from backfill.errors import RefusedError, UsageError, counted
from backfill.escape import escaped
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.context import RunContext
from backfill.pipeline.requeue import Requeued, requeue
from backfill.reconcile.calls import RunCalls
from backfill.reconcile.compare import Comparison
from backfill.reconcile.result import Reconciled
from backfill.report.summary import time_text

#: Events that a note names.
_NAMED: Final = 5


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


def refuse_strange(result: Reconciled) -> None:
    """See to it that what was compared is the place where the calls were sent: it has some that runs here have sent.

    Raises:
        RefusedError: It has none. An export that is empty, of another schema or with other ids would have a whole run
            sent again.
    """
    counts = result.counts
    known = ("there", "in_doubt_there", "pending_there", "refused_there", "archived_rows")
    if any(counts[name] for name in known) or any(result.other_runs.values()):
        return
    if absent := counts["missing"] + counts["in_doubt_missing"]:
        rows, calls = counted(counts["rows"], "row", "rows"), counted(absent, "call", "calls")
        raise RefusedError(
            f"{result.source} has {rows}, and none of the {calls}, nor any that another run has sent there: it"
            " may be empty, another table, or have other ids",
            hint="look at it; where the calls are really not there, `--none-there` plans all of them again",
        )


def lacking_events(result: Reconciled) -> list[str]:
    """A note where all calls of some events are missing, and others are there: a table may not have been read."""
    totals = {result.events[event]: told for event, told in result.totals(0).items()}
    gone = [name for name, (delivered, missing, *_) in totals.items() if delivered and missing == delivered]
    if not gone or len(gone) == len(totals):
        return []
    some = ", ".join(map(escaped, gone[:_NAMED])) + (" ..." if len(gone) > _NAMED else "")
    return [f"not one call is there of {some}: if a table was left out, what it has would be there twice"]


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
