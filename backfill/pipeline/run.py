"""A run: stage, prepare, deliver, one after the other, each only where an earlier process has not done it.

Rule 1: nothing is sent before the plan is recorded, the gate passed and, where it is live, somebody has confirmed.
Rule 2: a step is recorded after what it made is durable; a process killed at any instant goes on from the last record.
Rule 3: what is prepared is compared with the job and the source of today before anything is done with it.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from backfill.disk import out_of_space
from backfill.errors import BackfillError, ExitCode, InterruptedRunError, RefusedError, UsageError
from backfill.job.models import Job
from backfill.pipeline.changes import decide_run
from backfill.pipeline.context import Options, RunContext, RunRequest, RunResult
from backfill.pipeline.deliver import (
    canary_over,
    clean_up,
    confirmation,
    deliver_run,
    left_in_doubt,
    needs_clean_up,
    nothing_to_send,
)
from backfill.pipeline.delivered_ids import is_archived
from backfill.pipeline.fingerprint import Fingerprint
from backfill.pipeline.gate import gate_error, gates_of_record
from backfill.pipeline.new_run import new_record, open_delivered_ids
from backfill.pipeline.plans import plan_error
from backfill.pipeline.prepare import prepare_plan
from backfill.pipeline.refused import NOTHING_REFUSED
from backfill.pipeline.snapshot_cache import borrow_snapshot, discard_snapshot, rows_of_dry_run
from backfill.pipeline.stage import stage_source
from backfill.pipeline.target_check import connect_target, duplicates_held
from backfill.records import NotReadAgain, RunRecord, RunState, RunStatus, RunStore, RunWriter, StoredRun
from backfill.targets import Target

#: States in which a run has its whole plan.
PLANNED = frozenset({RunState.PREPARED, RunState.DELIVERING, RunState.STOPPED})


def run_job(request: RunRequest) -> RunResult:
    """Bring one job's run as far as it goes: from nothing, or from where an earlier process left it.

    A run that was finished from the same job and source ends at once, with its first exit code, and sends nothing.

    Raises:
        LockedError: Another process holds the run, or the store of the sandbox inside this one.
        RefusedError: It was prepared from another job, source or key.
        SourceError: The source cannot be read.
        JobError: The job does not fit its source.
        StoppedError: The disk is too small.
        UsageError: It is for a sandbox, and none of ours answers at its endpoint.
        InterruptedRunError: A signal came before the plan was complete.
    """
    began = time.monotonic()
    job, target, context = request.job, request.target, request.context
    store = context.store
    if store.make_usable():
        context.on_state_made(store.path)
    own = store.find(job.name, target.kind, target.identity, job.generation)
    run = store.run(request.options.run_id) if request.options.run_id else own
    with ExitStack() as held, out_of_space(store.path):
        for run_id in dict.fromkeys((own.run_id, run.run_id)):  # two replays may hold the same rows
            held.enter_context(store.lock(run_id))
        now, status = decide_run(request, store, run)
        if status is not None and status.state is RunState.FINISHED:
            end = repeat_result(store, run, status, request.options, began)
            return replace(end, not_read_again=not_read_again(store, job, run, status.record)) if now.is_live else end
        with connect_target(target, store.path) as there:  # before the work of preparing, which would be in vain
            if status is None:
                begin(store, run, record_of(request, store, run, now), request.job, now)
            with run.open(clock=context.clock.now) as ledger:
                if ledger.reader.status().state not in PLANNED:
                    snapshot = stage_source(job, ledger, run, now.files, context)
                    prepare_plan(
                        job,
                        snapshot,
                        ledger,
                        run.spool(),
                        run,
                        context,
                        id_scope=target.id_scope,
                        limits=target.limits,
                        delivered=open_delivered_ids(store, ledger.reader.status().record, context),
                    )
                gates = job.gates.with_those_of(request.options.gates)
                end = send(ledger, run, there, replace(request.options, gates=gates), context, began)
        if end.error is None:
            discard_snapshot(store, job)
        return end


def send(
    ledger: RunWriter, run: StoredRun, target: Target, options: Options, context: RunContext, began: float
) -> RunResult:
    """Deliver a prepared run once the gate is passed and, where it is live, somebody has confirmed.

    `target` is as `connect_target` gives it. The end's seconds leave out how long somebody thought about it.
    """
    record = ledger.reader.status().record
    asked = time.monotonic()
    error = confirm_or_refuse(ledger, run, target, options, context)
    began += time.monotonic() - asked
    if error is not None:
        return RunResult(record, run, ExitCode(error.exit_code), time.monotonic() - began, error=error)
    held = duplicates_held(target)
    code, totals, error = deliver_run(ledger, run, target, options, context)
    now = duplicates_held(target)
    duplicates = None if held is None or now is None else now - held
    seconds = time.monotonic() - began
    return RunResult(record, run, code, seconds, totals, error, sandbox_duplicates=duplicates)


def confirm_or_refuse(
    ledger: RunWriter, run: StoredRun, target: Target, options: Options, context: RunContext
) -> BackfillError | None:
    """Ask whether to send the prepared run, where it is live; returns why it is not to be sent, None where it is.

    That is: it is not the plan that was named, its canary was sent before, a gate is not passed, the answer was no, or
    a signal came.
    """
    counts, gates = ledger.reader.counts(), options.gates
    other = plan_error(ledger.reader, options.plans, context.store)
    over = canary_over(counts, target, options)
    error = other or over or gate_error(ledger.reader, gates, run.run_id)
    if error is not None:
        return error
    context.on_planned()
    nothing = nothing_to_send(counts) and not options.retry_rejected
    silent = not target.live or nothing
    go = silent or context.confirm(confirmation(ledger, target, options, context))
    if go and not context.stop.is_set():
        return None
    hint = f"what was prepared is kept: `backfill resume {run.run_id}` goes on with it"
    if context.stop.is_set():
        return InterruptedRunError("interrupted; nothing was sent", hint=hint)
    return InterruptedRunError("nothing was sent, as the answer was no", hint=hint)


def record_of(request: RunRequest, store: RunStore, run: StoredRun, now: Fingerprint) -> RunRecord:
    """What the ledger is to know of a run that begins now.

    One that comes after another of its id leaves out what was delivered, whether that is asked for or not: else a
    process that was killed between the two, or a ledger that was removed, would have everything sent again.
    """
    record = new_record(
        request.job,
        run,
        now,
        target_name=request.target.name,
        target_kind=request.target.kind,
        target_identity=request.target.identity,
        live=request.target.live,
        id_scope=request.target.id_scope,
        envelope=request.target.envelope,
        only_new=request.options.only_new or bool(store.earlier(run.run_id)),
    )
    # A sandbox run whose folder was removed begins afresh.
    follows = record.live and is_archived(store, record)
    return replace(record, only_new=True) if follows else record


def begin(store: RunStore, run: StoredRun, record: RunRecord, job: Job, now: Fingerprint) -> None:
    """Make the ledger of a new run; a dry run's snapshot of the same job and source is used again."""
    run.make()
    borrow_snapshot(store, job, now, run.snapshot)
    run.create(record).close()


def repeat_result(store: RunStore, run: StoredRun, status: RunStatus, options: Options, began: float) -> RunResult:
    """The end of a run that was finished before: its first exit code, nothing sent."""
    if needs_clean_up(run):
        clean_up(run, options)
    code = ExitCode(status.exit_code or 0)
    with run.read() as reader:
        error: BackfillError | None = plan_error(reader, options.plans, store)
    if error is not None:
        return RunResult(status.record, run, ExitCode(error.exit_code), time.monotonic() - began, error=error)
    error = left_in_doubt(status.detail, run.run_id) if code is ExitCode.STOPPED else None
    return RunResult(status.record, run, code, time.monotonic() - began, error=error, repeated=True)


def not_read_again(store: RunStore, job: Job, run: StoredRun, record: RunRecord) -> NotReadAgain:
    """What is known of the live database of a finished run, which a fingerprint tells only by its URL and query."""
    with run.read() as reader:
        read = reader.counts().read
    began, rows = rows_of_dry_run(store, job, record) or (None, 0)
    return NotReadAgain(record.created_at, read, began, rows)


def resume_run(store: RunStore, run: StoredRun, target: Target, options: Options, context: RunContext) -> RunResult:
    """Send what a run has prepared and not sent; neither its job file nor its source is looked at.

    Raises:
        LockedError: Another process holds the run.
        RefusedError: The target's scope of ids or its endpoint is not the run's.
        UsageError: The run's plan is not complete: nothing was prepared that could be sent.
    """
    began = time.monotonic()
    clock = context.clock.now
    with store.lock(run.run_id), out_of_space(store.path), run.open(clock=clock) as ledger:
        status = ledger.reader.status()
        refuse_other_target(status.record, target)
        if status.state is RunState.FINISHED and not retries_refused(ledger, run, options, context):
            return repeat_result(store, run, status, options, began)
        if status.state not in PLANNED | {RunState.FINISHED}:
            raise UsageError(
                f"{run.run_id} is {status.state}: there is no complete plan to send",
                hint="`backfill run JOB` goes on with it",
            )
        with connect_target(target, store.path) as there:
            gates = gates_of_record(status.record).with_those_of(options.gates)
            return send(ledger, run, there, replace(options, gates=gates), context, began)


def retries_refused(ledger: RunWriter, run: StoredRun, options: Options, context: RunContext) -> bool:
    """Whether a finished run is to be delivered once more: for the calls that the target refused, as it was asked."""
    if not options.retry_rejected:
        return False
    if needs_clean_up(run):
        clean_up(run, options)
    if not ledger.reader.counts().refused:
        context.say(NOTHING_REFUSED)
        return False
    return True


def refuse_other_target(record: RunRecord, target: Target) -> None:
    """Raise RefusedError where the target of today is not the one that the run was prepared for."""
    if record.target_identity != target.identity:
        raise RefusedError(
            f"{record.run_id} was prepared for {record.target_identity}, {target.name} is now {target.identity}",
            hint="--target names another profile, --endpoint another endpoint",
        )
    if record.id_scope != target.id_scope:
        raise RefusedError(
            f"{record.run_id}: the scope of its message ids was {record.id_scope}, now it is {target.id_scope}",
            hint=f"`id_scope: {record.id_scope}` in the target's profile keeps the ids",
        )
