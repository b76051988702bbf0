"""The dry run: stage and prepare as a run would, weigh the batches instead of keeping them, send nothing.

It has a ledger of its own, in a state folder below the real one, so that its accounting is the run's, and so that
`status` and `resume` do not take it for something to be delivered. Its snapshot is kept: a run of the same job and
source uses it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import field, replace

from backfill.errors import BackfillError, ExitCode, LockedError, counted
from backfill.frozen import frozen
from backfill.identity import SANDBOX_SCOPE
from backfill.job import fingerprint
from backfill.job.gates import Gates
from backfill.job.models import Job
from backfill.limits import SEGMENT, Limits
from backfill.pipeline.changes import fingerprint_now
from backfill.pipeline.context import RunContext, RunResult
from backfill.pipeline.earlier_plans import make_room, prune_earlier
from backfill.pipeline.fingerprint import Fingerprint
from backfill.pipeline.gate import gate_error
from backfill.pipeline.new_run import new_record, open_delivered_ids
from backfill.pipeline.prepare import prepare_plan
from backfill.pipeline.sample import sample
from backfill.pipeline.snapshot_cache import DRY, dry_folder, last_fingerprint
from backfill.pipeline.stage import stage_source
from backfill.records import ArchivedIds, Counts, RunRecord, RunStore, Snapshot, StoredRun
from backfill.sources import locate
from backfill.sources.origins.stamps import stamp_of_file
from backfill.sources.origins.standard_input import STANDARD_INPUT
from backfill.state.plan_file import PlanConditions, write_conditions


@frozen
class DryRunRequest:
    """What a dry run is to be of."""

    job: Job
    context: RunContext
    target_name: str = SANDBOX_SCOPE
    id_scope: str = SANDBOX_SCOPE
    limits: Limits = SEGMENT
    envelope: str = ""  # what the target's profile adds to every body
    limit: int | None = None  # rows; None: all
    gates: Gates = field(default_factory=Gates)  # of the command line
    left_out: str | None = None  # the identity of a target: calls that the job has delivered to it are left out
    rate: float | None = None  # calls a second of the target, for the forecast


def dry_run_job(request: DryRunRequest) -> RunResult:
    """Prepare a job without keeping its bytes or sending any; the counts are in the end's ledger.

    Raises:
        SourceError: The source cannot be read.
        JobError: The job does not fit its source.
        LockedError: Another dry run of the job is under way.
        InterruptedRunError: A signal came.
    """
    began = time.monotonic()
    with dry_run_folder(request) as (folder, now, first_rows):
        counts = count_plan(request, folder, now, first_rows)
        record = dry_run_record(request, folder, now)
        with folder.read() as reader:
            error = gate_error(reader, request.job.gates.with_those_of(request.gates), folder.run_id, dry=True)
        code = ExitCode.REJECTS if counts.rejected + counts.unreadable else ExitCode.DELIVERED
        seconds = time.monotonic() - began
        return RunResult(record, folder, ExitCode(error.exit_code) if error else code, seconds, error=error)


def dry_run_jobs(requests: Sequence[DryRunRequest]) -> list[RunResult | BackfillError]:
    """Dry-run some jobs, one after the other; the end of each, in their order: its result, or what kept it from one.

    A signal is the end of them: those behind have none. What only all plans together tell is noted in each.
    """
    ends: list[RunResult | BackfillError] = []
    for request in requests:
        request.context.on_turn()
        try:
            ends.append(dry_run_job(request))
        except BackfillError as error:
            request.context.progress.end()
            ends.append(error)
        if request.context.stop.is_set():
            return ends
    planned = [(one, end) for one, end in zip(requests, ends, strict=True) if isinstance(end, RunResult)]
    if len(planned) < 2:  # noqa: PLR2004
        return ends
    from backfill.pipeline.unidentified import Planned, note_unidentified  # noqa: PLC0415 (of one job nothing is said)

    with suppress(LockedError), ExitStack() as held:  # another process has begun another dry run of one of them
        for one, end in planned:
            held.enter_context(one.context.store.dry_runs.lock(end.run.run_id))
        note_unidentified([Planned(end.run, one.context) for one, end in planned])
    return ends


def count_plan(request: DryRunRequest, folder: StoredRun, now: Fingerprint, snapshot: Snapshot | None = None) -> Counts:
    """Stage the source, unless a snapshot is there, and prepare it, only weighing; raises as `dry_run` does."""
    job, context = request.job, request.context
    record = dry_run_record(request, folder, now)
    with folder.create(record) as ledger:
        snapshot = stage_source(job, ledger, folder, now.files, context, limit=request.limit, snapshot=snapshot)
        prepare_plan(
            job,
            snapshot,
            ledger,
            folder.counting_sink(),
            folder,
            context,
            id_scope=request.id_scope,
            limits=request.limits,
            delivered=delivered_by_runs(request, record),
        )
        conditions = PlanConditions(
            request.limits, request.envelope, request.limit, request.left_out is not None, request.rate
        )
        write_conditions(folder, conditions)
        prune_earlier(request.context.store.dry_runs, folder)
        return ledger.reader.counts()


def delivered_by_runs(request: DryRunRequest, record: RunRecord) -> ArchivedIds | None:
    """What runs of the job have delivered, where that is to be left out."""
    if request.left_out is None:
        return None
    run = replace(record, target_identity=request.left_out, only_new=True)
    return open_delivered_ids(request.context.store, run, request.context)


@contextmanager
def dry_run_folder(request: DryRunRequest) -> Iterator[tuple[StoredRun, Fingerprint, Snapshot | None]]:
    """The folder of the job's dry run, locked and cleared for another, and today's fingerprint of job and source.

    Where a limit says that the first rows are enough they are staged, for as long as the context lasts.

    Raises:
        SourceError: The source cannot be read.
        LockedError: Another dry run of the job is under way.
    """
    outer = request.context.store
    if outer.make_usable():
        request.context.on_state_made(outer.path)
    state, folder = dry_folder(outer, request.job)
    state.make_usable()
    with state.lock(folder.run_id):
        if not first_rows_do(request, folder):
            yield folder, clear_last_dry_run(request, state, folder), None
            return
        make_room(state, folder, keep_snapshot=False)
        place = folder.path / "first-rows"  # not where a run or another dry run would look for the whole source
        try:
            # One more than is asked for tells whether there are more.
            rows = sample(request.job, place, (request.limit or 0) + 1, request.context)
            request.context.say(f"Of the source {counted(rows.read, 'record was', 'records were')} read, for --limit.")
            yield folder, Fingerprint(fingerprint(request.job), request.job.raw, rows.files), rows
        finally:
            shutil.rmtree(place, ignore_errors=True)


def first_rows_do(request: DryRunRequest, folder: StoredRun) -> bool:
    """Whether the first rows of the source are enough; not where the last dry run's snapshot has them already."""
    job = request.job
    if request.limit is None:
        return False
    if job.needs_all or STANDARD_INPUT in job.source.path:
        why = f"its {job.needs_all} may need all of it" if job.needs_all else "it is standard input"
        request.context.say(f"The source is read whole, --limit or not: {why}.")
        return False
    then = last_fingerprint(folder) if folder.snapshot.is_dir() else None
    staged_before = (
        then is not None
        and not then.is_live
        and then.job == fingerprint(job)
        and [stamp_of_file(file) for file in locate(job)] == [stamp_of_file(file) for file in then.files]
    )
    if staged_before:
        request.context.say("These are the first rows of what the last dry run has staged.")
    return not staged_before


def clear_last_dry_run(request: DryRunRequest, state: RunStore, folder: StoredRun) -> Fingerprint:
    """Today's fingerprint, and the folder cleared of the last dry run but for a snapshot that is still of use."""
    then = last_fingerprint(folder)
    known = then.files if then else ()
    now = fingerprint_now(request.job, folder.intake, request.context, known)
    same = then is not None and not then.differences(now) and not then.is_live
    make_room(state, folder, keep_snapshot=same)
    return now


def dry_run_record(request: DryRunRequest, folder: StoredRun, now: Fingerprint) -> RunRecord:
    """What the ledger of a dry run is to know."""
    return new_record(
        request.job,
        folder,
        now,
        target_name=request.target_name,
        target_kind=DRY,
        target_identity=DRY,
        live=False,
        id_scope=request.id_scope,
    )
