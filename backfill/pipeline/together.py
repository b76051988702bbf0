"""Deliver a run with other processes at once: what each does next, who ends the run, and what the others tell of it.

Each sends the batches that the ledger hands to it, as one process does that has the run alone. What the target said of
the run as a whole stops it for all; what is the matter with one process, or its machine, ends that one.
"""

from __future__ import annotations

from contextlib import suppress

from backfill.deliver import DeliveryEnd, EndKind
from backfill.deliver.endings import finished_end, interrupted_end, window_end
from backfill.errors import BackfillError, ExitCode, LedgerError, StoppedError, TargetRefusedError
from backfill.pipeline.context import Options, RunContext
from backfill.pipeline.deliver import (
    conclude,
    exit_of,
    left_in_doubt,
    nothing_to_send,
    send_batches,
    verify_bytes,
)
from backfill.pipeline.refused import list_refused
from backfill.pipeline.target_check import target_access
from backfill.records import (
    DeliveryStep,
    DeliveryTotals,
    RunSpool,
    RunState,
    RunStatus,
    RunWriter,
    SharedDelivery,
    StoredRun,
)
from backfill.targets import Target
from backfill.verdict import StopReason

#: Of these stops it is no use that another process tries.
FOR_ALL = frozenset({StopReason.TARGET_REFUSED, StopReason.FINAL_ANSWER, StopReason.SHAPE})
#: How often a process that waits for others looks how far they are, in seconds.
LOOK_SECONDS = 0.5

Outcome = tuple[ExitCode, DeliveryTotals, BackfillError | None]


def deliver_together(
    ledger: RunWriter, together: SharedDelivery, run: StoredRun, there: Target, options: Options, context: RunContext
) -> Outcome:
    """Send what others do not, until the run is over; as `deliver_run`, with the totals of this process.

    Whoever is the last with something to do finishes or stops the run, once; the others wait for that, and end with
    the same exit code.
    """
    spool = run.spool()
    verify_what_is_left(ledger, spool)
    together.begin()
    reached = target_access(there, options, ledger.reader.status().record.envelope)
    totals, told = DeliveryTotals(), False
    while True:
        step = together.next_step()
        if step is DeliveryStep.OVER:
            code, error = ended_by_others(ledger.reader.status(), run.run_id)
            return code, totals, error
        if step is DeliveryStep.END:
            code, error = conclude(ledger, run, end_of_all(ledger, totals, there.dedup_window), options, context)
            return code, totals, error
        if step is DeliveryStep.WAIT:
            if not told:
                context.say("Other processes deliver this run as well: this one waits for what they have in hand.")
                told = True
            if not context.stop.wait(LOOK_SECONDS):
                continue
            end = interrupted_end(totals)
        else:
            before, first = ledger.reader.counts(), step is DeliveryStep.FIRST
            end = send_batches(ledger, spool, reached, options, context, before, there.dedup_window, first_alone=first)
            totals = totals.plus(end.totals)
            if end.kind is EndKind.FINISHED or end.reason is StopReason.WINDOW:
                continue
        return part(ledger, together, end, totals, run, context)


def verify_what_is_left(ledger: RunWriter, spool: RunSpool) -> None:
    """As `verify_bytes`, while others may finish the run, and remove its bytes."""
    if nothing_to_send(ledger.reader.counts()):
        return
    try:
        verify_bytes(ledger, spool)
    except LedgerError:
        if ledger.reader.status().state is not RunState.FINISHED:
            raise


def end_of_all(ledger: RunWriter, totals: DeliveryTotals, window: float) -> DeliveryEnd:
    """The end of a delivery in which nobody has anything left that could be sent."""
    left = tuple(batch.id for batch in ledger.in_doubt())
    return window_end(totals, left, window) if left else finished_end(totals)


def part(
    ledger: RunWriter,
    together: SharedDelivery,
    end: DeliveryEnd,
    totals: DeliveryTotals,
    run: StoredRun,
    context: RunContext,
) -> Outcome:
    """Leave the others to it, or stop the run for all."""
    code, error = exit_of(ledger, end, run.run_id, context.signal_code())
    together.leave(code, end.message, for_all=end.reason in FOR_ALL)
    if ledger.reader.status().state is RunState.STOPPED and not context.abort.is_set():
        with suppress(LedgerError):  # what made it stop is the news
            list_refused(ledger, run)
    return code, totals, error


def ended_by_others(status: RunStatus, run_id: str) -> tuple[ExitCode, BackfillError | None]:
    """The exit code of a run that another process has finished or stopped for all, and the error that tells why."""
    code = ExitCode(status.exit_code or 0)
    if code in (ExitCode.DELIVERED, ExitCode.REJECTS):
        return code, None
    if status.state is RunState.FINISHED:
        return code, left_in_doubt(status.detail, run_id)
    kind = TargetRefusedError if code is ExitCode.TARGET_REFUSED else StoppedError
    return code, kind(
        f"stopped by another process: {status.detail}",
        hint=f"`backfill status {run_id}` shows how far it is; what that process says tells what to do",
    )
