"""Runs: every job is staged and prepared, then all are delivered; each step only where an earlier process has not.

Rule 1: nothing of any job is sent before the plan of each is recorded, the gates passed and, where one is live,
somebody has confirmed.
Rule 2: a step is recorded after what it made is durable; a process killed at any instant goes on from the last record.
Rule 3: what is prepared is compared with the job and the source of today before anything is done with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from backfill.errors import BackfillError, ExitCode, RefusedError, UsageError
from backfill.job.models import Job
from backfill.pipeline.changes import decide_run
from backfill.pipeline.context import Options, RunContext, RunRequest, RunResult
from backfill.pipeline.deliver import clean_up, left_in_doubt, needs_clean_up
from backfill.pipeline.disk_forecast import RESERVE_BYTES, files_at_once, forecast
from backfill.pipeline.fingerprint import Fingerprint
from backfill.pipeline.new_run import begin_run, open_delivered_ids, record_of
from backfill.pipeline.plans import plan_error
from backfill.pipeline.prepare import prepare_plan
from backfill.pipeline.refused import NOTHING_REFUSED
from backfill.pipeline.release import release
from backfill.pipeline.settling import bytes_here
from backfill.pipeline.snapshot_cache import rows_of_dry_run
from backfill.pipeline.stage import stage_first_rows, stage_source
from backfill.pipeline.target_check import Reach, connect_targets
from backfill.pipeline.turns import JobEnd, JobRun, may_go_on, take_turns
from backfill.records import NotReadAgain, RunRecord, RunState, RunStatus, RunStore, RunWriter, StoredRun
from backfill.state import ensure_space
from backfill.targets import Target

if TYPE_CHECKING:
    from backfill.pipeline.cluster import Cluster

#: States in which a run has its whole plan.
PLANNED = frozenset({RunState.PREPARED, RunState.DELIVERING, RunState.STOPPED})


def run_jobs(requests: Sequence[RunRequest]) -> Iterator[tuple[RunRequest, JobEnd]]:
    """Bring the runs of some jobs as far as they go: from nothing, or from where an earlier process left them.

    Gives each job once, when nothing more becomes of it: with its result, with the error that kept it from being
    prepared, or with None where another job's error came before its turn. What can be prepared is, also beside a job
    that cannot; but then nothing of any job is sent, nor where one does not pass its gate. A job waits for those of an
    earlier phase before it, except for canaries. The locks of all are held until the last of them has ended.

    A run that was finished from the same job and source ends with its first exit code, and sends nothing.
    """
    runs = [JobRun(run_of(one), one.target, one.options, one.context, one) for one in requests]
    with ExitStack() as held, connect_targets() as reach:
        for step in (partial(hold, held=held), partial(make_plan, runs=runs, reach=reach)):
            for ended in take_turns(runs, step):
                yield requests[runs.index(ended)], ended.end
            if not may_go_on(runs):
                break
        for ended in release(runs):
            yield requests[runs.index(ended)], ended.end


def run_job(request: RunRequest) -> RunResult:
    """Bring one job's run as far as it goes; see `run_jobs`.

    Raises:
        LockedError: Another process holds the run, or the store of the sandbox inside this one.
        RefusedError: It was prepared from another job, source or key.
        SourceError: The source cannot be read.
        JobError: The job does not fit its source.
        StoppedError: The disk is too small.
        UsageError: It is for a sandbox, and none of ours answers at its endpoint.
        InterruptedRunError: A signal came before the plan was complete.
    """
    [(_, end)] = run_jobs([request])
    return result_of(end)


def result_of(end: JobEnd) -> RunResult:
    """The result of a run; raises the error with which it ended instead."""
    if isinstance(end, BackfillError):
        raise end
    assert end is not None  # it was the only one
    return end


def own_run(request: RunRequest) -> StoredRun:
    """The run of the job itself."""
    job, target = request.job, request.target
    return request.context.store.find(job.name, target.kind, target.identity, job.generation)


def run_of(request: RunRequest) -> StoredRun:
    """The run that is meant: the job's own, or one beside it, which is named."""
    named = request.options.run_id
    return request.context.store.run(named) if named else own_run(request)


def hold(one: JobRun, held: ExitStack) -> None:
    """Take the lock of a run, until `held` is closed; raises as `run_job` does."""
    assert one.request is not None
    store = one.context.store
    if store.make_usable():
        one.context.on_state_made(store.path)
    for run_id in dict.fromkeys((own_run(one.request).run_id, one.run.run_id)):  # two replays may hold the same rows
        held.enter_context(store.lock(run_id))


def make_plan(one: JobRun, runs: Sequence[JobRun], reach: Reach) -> RunResult | None:
    """Stage and prepare a run as far as an earlier process has not; its result where it was finished before.

    `runs` are all that are to have room on the disk. Of each the source is read at once, from its hashing to its
    snapshot: what a process has fetched or unpacked of one is gone before the next.
    """
    request, run, context, target = one.request, one.run, one.context, one.target
    assert request is not None
    store, job = context.store, request.job
    now, status = decide_run(request, store, run)
    if status is not None and status.state is RunState.FINISHED:
        end = repeat_result(one, status)
        return replace(end, not_read_again=not_read_again(store, job, run, status.record)) if now.is_live else end
    one.target = reach(target, store.path)  # before the work of preparing, which would be in vain
    if not target.live:
        context.on_sandbox(one.target.batch_url.rpartition("/v1/")[0])
    if status is not None and store.bytes_at and not run.bytes_at.startswith(f"{store.bytes_at}/"):
        where = run.bytes_at or "on this machine"
        context.say(f"{job.name}: its run has begun, and its bytes stay where they are, {where}.")
    with preparing_cluster(one, status) as cluster:  # before the run begins, which would be in vain
        if status is None:
            begin_run(store, run, record_of(request, store, run, now), job, now)
        with run.open(clock=context.clock.now) as ledger:
            if ledger.reader.status().state not in PLANNED:
                if one.options.rows is None:
                    ensure_room(runs[runs.index(one) :])
                else:
                    stage_first_rows(job, run, now.files, context, one.options.rows)
                stage_and_prepare(one, now, ledger, cluster)
                run.free_snapshot()
    one.prepared = True
    return None


@contextmanager
def preparing_cluster(one: JobRun, status: RunStatus | None) -> Iterator[Cluster | None]:
    """The cluster that is to prepare a run, as long as the block; None where this process does, or it is prepared.

    Raises:
        UsageError: The workers would not reach the run's bytes, or the address is none.
        StoppedError: No scheduler answers there.
    """
    scheduler, place = one.options.scheduler, one.run.bytes_at if status else one.context.store.bytes_at
    if not scheduler or (status is not None and status.state in PLANNED):
        yield None
        return
    if not place:
        raise bytes_here("a cluster can prepare a run only where its workers reach its bytes")
    from backfill.pipeline.cluster import connected  # noqa: PLC0415 (for those who have one)

    with connected(scheduler, one.context.say) as cluster:
        yield cluster


def stage_and_prepare(one: JobRun, now: Fingerprint, ledger: RunWriter, cluster: Cluster | None) -> None:
    """Stage a run, then prepare it, by this process or on a cluster."""
    assert one.request is not None
    job, run, context, limits = one.request.job, one.run, one.context, one.target.limits
    snapshot = stage_source(job, ledger, run, now.files, context)
    if cluster is not None:
        from backfill.pipeline.cluster import prepare_on_cluster  # noqa: PLC0415 (as above)

        prepare_on_cluster(job, snapshot, ledger, run, context, limits=limits, cluster=cluster)
        return
    delivered = open_delivered_ids(context.store, ledger.reader.status().record, context)
    spool = run.spool(stopping=context.stop.is_set)
    prepare_plan(
        *(job, snapshot, ledger, spool, run, context), id_scope=one.target.id_scope, limits=limits, delivered=delivered
    )


def ensure_room(runs: Sequence[JobRun]) -> None:
    """Refuse to stage the first of these where what all of them will take does not fit the disk.

    Raises:
        StoppedError: It does not.
    """
    path = runs[0].context.store.path
    needs = [bytes_to_come(one) for one in runs if one.context.store.path == path]
    if len(needs) > 1:  # one alone is weighed while it is staged
        ensure_space(path, sum(needs) + RESERVE_BYTES)


def bytes_to_come(one: JobRun) -> int:
    """About how many bytes staging and preparing a run will take, by the sizes of its files; 0 where there is a plan.

    0 also where its files cannot be told without reading any: that is weighed when its turn comes.
    """
    assert one.request is not None
    with suppress(BackfillError):
        if one.run.begun():
            with one.run.read() as reader:
                state = reader.status().state
            if state in PLANNED | {RunState.FINISHED}:
                return 0
        need = forecast(one.request.job, files_at_once(one.request.job)).with_room(one.run.bytes_here)
        return need.spool if one.run.snapshot.is_dir() else need.snapshot + need.spool
    return 0


def repeat_result(one: JobRun, status: RunStatus) -> RunResult:
    """The end of a run that was finished before: its first exit code, nothing sent."""
    run = one.run
    if needs_clean_up(run) and len(run.holders()) <= 1:  # else whoever ended it is at that
        clean_up(run, one.options)
    code = ExitCode(status.exit_code or 0)
    with run.read() as reader:
        error: BackfillError | None = plan_error(reader, one.options.plans, one.context.store)
    if error is not None:
        return RunResult(status.record, run, ExitCode(error.exit_code), one.seconds, error=error)
    error = left_in_doubt(status.detail, run.run_id) if code is ExitCode.STOPPED else None
    return RunResult(status.record, run, code, one.seconds, error=error, repeated=True)


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
    one = JobRun(run, target, options, context)
    with store.lock(run.run_id, together=may_share(run, options)), connect_targets() as reach:
        one.take(partial(find_plan, reach=reach))
        for _ in release([one]):
            pass
    return result_of(one.end)


def may_share(run: StoredRun, options: Options) -> bool:
    """Whether others may deliver the run at once: not what is decided or tried for all, nor where order counts."""
    if not options.together or options.canary or options.in_doubt is not None:
        return False
    with run.read() as reader:
        return not reader.status().record.facts.ordered


def find_plan(one: JobRun, reach: Reach) -> RunResult | None:
    """See to it that a run can be resumed, and reach its target; its result where it was finished before."""
    run, options, context = one.run, one.options, one.context
    with run.open(clock=context.clock.now) as ledger:
        status = ledger.reader.status()
        refuse_other_target(status.record, one.target)
        if status.state is RunState.FINISHED and not retries_refused(ledger, run, options, context):
            return repeat_result(one, status)
    if status.state not in PLANNED | {RunState.FINISHED}:
        raise UsageError(
            f"{run.run_id} is {status.state}: there is no complete plan to send",
            hint="`backfill run JOB` goes on with it",
        )
    one.target = reach(one.target, context.store.path)
    one.prepared = True
    return None


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
