"""Deliver: from the complete plan to the last answer, or to where it stops; and what is tidied away after."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from backfill.advice import advise, in_plan
from backfill.deliver import DeliveryEnd, DeliveryOptions, EndKind, TargetAccess, deliver, undecided
from backfill.errors import (
    BackfillError,
    ExitCode,
    InterruptedRunError,
    LedgerError,
    StopAskedError,
    StoppedError,
    TargetRefusedError,
    counted,
)
from backfill.limits import CANARY_CALLS
from backfill.pipeline.context import Confirmation, Options, RunContext
from backfill.pipeline.refused import list_refused, retry_refused
from backfill.pipeline.runs import late_warning
from backfill.pipeline.supersede import delivered_elsewhere, key_warning
from backfill.pipeline.target_check import rate_of, source_in_words, target_access
from backfill.records import (
    PLAN_ID_DIGITS,
    Batch,
    Counts,
    Decision,
    DeliveryTotals,
    RunRecord,
    RunSpool,
    RunState,
    RunWriter,
    StoredRun,
)
from backfill.records.profile import PlanProfile
from backfill.targets import Target
from backfill.verdict import Patience, StopReason

if TYPE_CHECKING:
    from backfill.pipeline.canary import Chosen

LOG = logging.getLogger(__name__)


def deliver_run(
    ledger: RunWriter,
    run: StoredRun,
    there: Target,
    options: Options,
    context: RunContext,
    canary: Sequence[Chosen] = (),
) -> tuple[ExitCode, DeliveryTotals, BackfillError | None]:
    """Send what is planned; returns the exit code, what this process sent, and why it ended early where it did.

    `there` is the target as `connect_target` gives it; `canary` are the calls that `choose_canary` gives.

    The ledger is `finished` or `stopped` after it. Where it is finished, snapshot and segments are removed, unless
    they are to be kept; the calls and rejects files stay.

    Raises:
        LedgerError: A segment is not what was prepared.
    """
    spool = run.spool()
    before = ledger.reader.counts()
    if not nothing_to_send(before) or options.retry_rejected:
        verify_bytes(ledger, spool)
    if options.retry_rejected:
        retry_refused(ledger, run.rejects(), context.say)
        before = ledger.reader.counts()
    if ledger.reader.status().state is not RunState.DELIVERING:
        ledger.set_state(RunState.DELIVERING)
    record = ledger.reader.status().record
    reached = target_access(there, options, record.envelope, rehearsal_name(record))
    chosen: tuple[Batch, ...] = ()
    if canary and options.chooses:
        from backfill.pipeline.canary import cut_canary  # noqa: PLC0415 (polars, where there is one)

        chosen = cut_canary(ledger, spool, canary)
    end = send_batches(ledger, spool, reached, options, context, before, there.dedup_window, chosen=chosen)
    code, error = conclude(ledger, run, end, options, context)
    return code, end.totals, error


def verify_bytes(ledger: RunWriter, spool: RunSpool) -> None:
    """Compare what is still to be sent with what was prepared.

    All of it, each time: bytes that went bad since would be sent as they are where the body is gzip. A second for each
    gigabyte, and a run just prepared has it in memory.

    Raises:
        LedgerError: A segment is not what was prepared.
    """
    needed = ledger.reader.shards_in_use()
    spool.verify([plan for shard, plan in ledger.reader.shards().items() if shard in needed])


def conclude(
    ledger: RunWriter, run: StoredRun, end: DeliveryEnd, options: Options, context: RunContext
) -> tuple[ExitCode, BackfillError | None]:
    """Finish or stop the run as its delivery ended; returns the exit code, and why it ended early where it did."""
    code, error = exit_of(ledger, end, run.run_id, context.signal_code())
    if end.kind is EndKind.FINISHED:
        list_refused(ledger, run)
        ledger.finish(code, detail=error.message if error else "")
        clean_up(run, options)
    else:
        ledger.set_state(RunState.STOPPED, exit_code=code, detail=end.message)
        if not context.abort.is_set():
            with suppress(LedgerError):  # what made it stop is the news
                list_refused(ledger, run)
    return code, error


def rehearsal_name(record: RunRecord) -> str:
    """What a sandbox calls the run: its id and when it began, since one that begins afresh has the same id."""
    began = datetime.fromtimestamp(record.created_at, UTC).replace(tzinfo=None)
    return f"{record.run_id} of {began.isoformat(' ', 'milliseconds')}"


def clean_up(run: StoredRun, options: Options) -> None:
    """Remove what a finished run needs no more.

    The bytes of shards that hold refused calls stay, so that these can be tried again. The snapshot goes last, and when
    refused calls were tried again there is none, but rows set aside, which go after the bytes: see `needs_clean_up`.
    """
    if not options.keep_spool:
        with run.read() as reader:
            run.spool().remove_segments(keep=reader.shards_in_use())
    run.rejects().forget_aside()
    shutil.rmtree(run.intake, ignore_errors=True)
    run.forget_snapshot()


def needs_clean_up(run: StoredRun) -> bool:
    """Whether the process that finished this run was killed in `clean_up`."""
    return run.has_snapshot() or run.rejects().has_aside()


def send_batches(
    ledger: RunWriter,
    spool: RunSpool,
    target: TargetAccess,
    options: Options,
    context: RunContext,
    before: Counts,
    window: float,
    *,
    chosen: tuple[Batch, ...] = (),
    first_alone: bool | None = None,
) -> DeliveryEnd:
    """Deliver, telling the progress; the target drops ids that it has seen within `window` seconds.

    `first_alone` says whether the first batch goes alone, where that is not told by what was delivered before.
    """
    if before.requests:
        were = counted(before.delivered, "call was", "calls were")
        LOG.info("%s delivered before, %s in doubt", were, f"{before.in_doubt:,}")
    LOG.info("sending %s to %s", counted(open_calls(before), "call", "calls"), target.batch_url)
    context.progress.begin("deliver", open_calls(before), "calls")
    settings = DeliveryOptions(
        first_alone=before.delivered == 0 if first_alone is None else first_alone,
        canary=options.canary,
        chosen=chosen,
        window_seconds=window,
        in_doubt=options.in_doubt,
        patience=Patience() if options.attempts is None else Patience(attempts=options.attempts),
    )
    if ledger.reader.status().record.facts.ordered:
        settings = replace(settings, concurrency=1, ordered=True)  # one request at a time keeps the order of the source
    elif options.concurrency is not None:
        settings = replace(settings, concurrency=options.concurrency)
    context.sending.set()
    try:
        return deliver(
            ledger=ledger,
            spool=spool,
            target=target,
            options=settings,
            stop=context.stop,
            abort=context.abort,
            progress=lambda totals: context.progress.advance(totals.calls, totals.json_bytes),
            clock=context.clock,
            shared_pace=ledger.together,
        )
    finally:
        context.sending.clear()
        context.progress.end()


def exit_of(
    ledger: RunWriter, end: DeliveryEnd, run_id: str, signal_code: ExitCode
) -> tuple[ExitCode, BackfillError | None]:
    """The exit code of an end, and the error that tells it where it is not the good one."""
    if end.kind is EndKind.FINISHED:
        counts = ledger.reader.counts()
        if counts.in_doubt:
            return ExitCode.STOPPED, left_in_doubt(
                f"{counted(counts.in_doubt, 'call is', 'calls are')} left in doubt, as --in-doubt skip asked: nobody"
                f" knows whether {'it' if counts.in_doubt == 1 else 'they'} arrived",
                run_id,
            )
        return (ExitCode.REJECTS if counts.rejected + counts.unreadable else ExitCode.DELIVERED), None
    hint = end.hint or f"`backfill resume {run_id}` sends the rest"
    if end.kind is EndKind.INTERRUPTED:
        return signal_code, InterruptedRunError(
            "interrupted; what was sent is recorded", exit_code=signal_code, hint=hint
        )
    message = f"{end.message}: {end.answer}" if end.answer else end.message
    if end.reason is StopReason.CANARY:
        return end.exit_code, StopAskedError(message, hint=hint)
    kind = TargetRefusedError if end.exit_code is ExitCode.TARGET_REFUSED else StoppedError
    return end.exit_code, kind(message, hint=hint)


def left_in_doubt(message: str, run_id: str) -> StoppedError:
    """The error of a finished run that has left calls in doubt; its message is kept as the run's detail."""
    return StoppedError(message, hint=f"`backfill status {run_id}` lists their batches; look in the source for them")


def nothing_to_send(counts: Counts) -> bool:
    """Nothing is left to be sent."""
    return open_calls(counts) == 0


def open_calls(counts: Counts) -> int:
    """Calls still to be sent, those in doubt included unless they are never to be sent."""
    return counts.pending + counts.in_doubt - counts.left_in_doubt


def canary_over(counts: Counts, target: Target, options: Options) -> StoppedError | None:
    """Why there is nothing that --canary could send: calls were delivered before. None where it is to go.

    Where nothing is left to be sent at all the run only ends, with --canary as without.
    """
    left = open_calls(counts) or (options.retry_rejected and counts.refused)
    if options.canary_user is not None or not (options.canary and counts.delivered and left):
        return None
    received = counted(counts.delivered, "call of this run was", "calls of this run were")
    return StopAskedError(
        f"--canary: calls were sent before, {received} received; nothing was sent now",
        hint=f"look in {source_in_words(target)} whether they arrived; the rest is sent where --canary is left out",
    )


def doubt_text(old: Sequence[Batch], decision: Decision | None, window: float) -> str:
    """What becomes of these batches in doubt, which are past the window (in seconds); empty where there are none."""
    if not old:
        return ""
    calls = sum(batch.calls for batch in old)
    are, they = ("is", "it") if calls == 1 else ("are", "they")
    becomes = {
        Decision.RESEND: f"{are} sent again, as --in-doubt resend asks: {they} may arrive twice",
        Decision.SKIP: f"{are} never sent again, as --in-doubt skip asks",
        None: f"{are} not sent again unless --in-doubt resend says so",
    }
    how = "for longer than the target remembers ids (or nobody knows how long)"
    if not window:
        how = "which the target is not known to drop where it has them already"
    return f"{counted(calls, 'call', 'calls')}, {how}, {becomes[decision]}"


def confirmation(
    ledger: RunWriter, target: Target, options: Options, context: RunContext, *, canary: int = 0
) -> Confirmation:
    """What a live delivery is about to do, from the plan in the ledger; `canary`: so many calls before it stops."""
    old = undecided(ledger.in_doubt(), ledger.clock_mark(), context.clock, target.dedup_window)
    held = 0 if options.in_doubt is Decision.RESEND else sum(batch.calls for batch in old)
    counts, days = ledger.reader.counts(), sorted(day for _, day in ledger.reader.days())
    again = counts.refused if options.retry_rejected else 0
    calls = open_calls(counts) - held + again
    rate = rate_of(target, options)
    record, store = ledger.reader.status().record, context.store
    return Confirmation(
        job=record.job_name,
        target=target.name,
        kind=target.kind,
        region=target.region,
        endpoint=target.batch_url,
        key_digest=target.key_digest,
        envelope=record.envelope,
        plan=(ledger.reader.status().plan_digest or "")[:PLAN_ID_DIGITS],
        calls=calls,
        delivered_before=counts.already_delivered,
        earlier=delivered_elsewhere(store, record),
        warning=key_warning(store, record) or late_warning(record.run_id, target.dedup_window),
        now=min(calls, canary or CANARY_CALLS) if options.canary else calls,
        rejected=counts.rejected - counts.refused,
        refused=counts.refused - again,
        unreadable=counts.unreadable,
        first_day=days[0] if days else "",
        last_day=days[-1] if days else "",
        rate=rate,
        seconds=calls / rate if rate else None,
        state=store.name,
        advice=advise(in_plan(ledger.reader.profile() or PlanProfile()), context.clock.now()),
        doubt=doubt_text(old, options.in_doubt, target.dedup_window),
    )
