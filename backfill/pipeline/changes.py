"""Finding the run of a job, and refusing to go on with it where job, source or key are no longer those it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path

from backfill.errors import RefusedError
from backfill.frozen import frozen
from backfill.job import fingerprint
from backfill.job.models import Job
from backfill.pipeline.context import Progress, RunContext, RunRequest
from backfill.pipeline.fingerprint import Fingerprint, fingerprint_then, list_differences
from backfill.pipeline.plans import refuse_other_basis
from backfill.pipeline.snapshot_cache import files_of_dry_run
from backfill.pipeline.supersede import (
    delivered_elsewhere,
    discard_sandbox_runs,
    refuse_other_scope,
    scope_ways,
    supersede,
)
from backfill.records import RunState, RunStatus, RunStore, SnapshotRecord, SourceFile, StoredRun
from backfill.sources import locate, resolve
from backfill.sources.origins.standard_input import discard_standard_input

#: Nothing is prepared yet: such a run holds nothing that starting afresh could lose.
BEGINNING = frozenset({RunState.STAGING, RunState.PREPARING})
#: Hashing fewer bytes is over before its progress could be read.
SHOWN_BYTES = 250_000_000


class HashingProgress:
    """The hashing of a source as a step of the progress, which is shown once it is large enough."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.begun = False

    def advance(self, _rows: int, size: int) -> None:
        """Hear how many bytes are hashed."""
        if size < SHOWN_BYTES:
            return
        if not self.begun:
            self.begun = True
            self.progress.begin("hash", None, "B")
        self.progress.advance(size, size)

    def end(self) -> None:
        """It is over."""
        if self.begun:
            self.progress.end()


def fingerprint_now(job: Job, intake: Path, context: RunContext, known: Sequence[SourceFile] = ()) -> Fingerprint:
    """The fingerprint of the job and its source as they are; files whose stamp is in `known` are not read again.

    Standard input is copied to the folder `intake`, since it cannot be read twice; what was there is of another time.
    Copies of objects in buckets are kept there, too; those that an earlier process left are used where they still hold.

    Raises:
        SourceError: A file is missing, corrupt or truncated.
        InterruptedRunError: A signal came.
    """
    discard_standard_input(intake)
    hashing = HashingProgress(context.progress)
    files = resolve(job, folder=intake, trusted=known, progress=hashing.advance, stopping=context.stop.is_set)
    hashing.end()
    return Fingerprint(fingerprint(job), job.raw, files)


def source_now(request: RunRequest, intake: Path, known: Sequence[SourceFile]) -> Fingerprint:
    """The fingerprint of today, of a run that is about all of its source; else the files are not read to be hashed."""
    job = request.job
    if request.options.rows is None:
        return fingerprint_now(job, intake, request.context, known)
    return Fingerprint(fingerprint(job), job.raw, locate(job, stopping=request.context.stop.is_set))


def decide_run(request: RunRequest, store: RunStore, run: StoredRun) -> tuple[Fingerprint, RunStatus | None]:
    """What the job and source are now, and the run to go on with; None where it is to begin (again).

    Called with the run's lock held. A run that is to begin again is out of the way then: thrown away where nothing of
    it may have arrived and where it is a sandbox run of another job, else put with the earlier ones (`earlier`).

    Raises:
        RefusedError: The run's scope of ids, job or source differ from today's, and that is the user's to settle.
        SourceError: The source cannot be read.
        InterruptedRunError: A signal came.
    """
    intake = run.intake
    if not run.begun():
        refuse_other_scope(store, run, request.target.id_scope)
        store.discard(run)  # what a process left that died before its ledger was made
        now = source_now(request, intake, files_of_dry_run(store, request.job))
        refuse_other_basis(request, now)
        return now, None
    # Opened as its writer: a process that was killed may have left work of recovery, which SQLite's readers cannot do.
    with run.open() as ledger:
        status, snapshot = ledger.reader.status(), ledger.reader.snapshot()
        counts = ledger.reader.counts()
    arrived, follows = counts.delivered + counts.in_doubt > 0, bool(store.earlier(run.run_id))
    found = PresentRun(status, snapshot, arrived=arrived, follows=follows)
    now = source_now(request, intake, snapshot.files if snapshot else ())
    refuse_other_basis(request, now)
    step = choose_step(request, found, now, alone=lambda: not delivered_elsewhere(store, status.record))
    if step is NextStep.GOES_ON:
        return now, status
    if step is NextStep.MAKES_ROOM:
        supersede(request, store, run)
    elif step is NextStep.FORGOTTEN:
        discard_sandbox_runs(store, run, status.record)
    else:
        store.discard(run)
    refuse_other_scope(store, run, request.target.id_scope)
    return now, None


class NextStep(Enum):
    """What becomes of the run that is there."""

    GOES_ON = "goes on"
    THROWN_AWAY = "thrown away"  # nothing of it may have arrived
    MAKES_ROOM = "makes room"  # for a run that leaves out what it delivered
    FORGOTTEN = "forgotten"  # a sandbox run that begins afresh


@frozen
class PresentRun:
    """The run that is there."""

    status: RunStatus
    snapshot: SnapshotRecord | None  # None: it was interrupted while it was staged
    arrived: bool  # some of it has arrived, or may have
    follows: bool = False  # it came in the place of an earlier one, whose scope of ids is its own


def choose_step(request: RunRequest, found: PresentRun, now: Fingerprint, *, alone: Callable[[], bool]) -> NextStep:
    """What becomes of the run that is there; `alone` tells whether no other run has delivered calls of the job.

    Raises:
        RefusedError: That is for the user to say.
    """
    status, record, options = found.status, found.status.record, request.options
    out = NextStep.MAKES_ROOM if found.arrived or status.state is RunState.FINISHED else NextStep.THROWN_AWAY
    if found.snapshot is None or status.state is RunState.ABANDONED:
        return out  # the latter: a process was killed while it made room
    giving_up = options.abandon and not status.over
    if giving_up and not found.arrived:
        return NextStep.THROWN_AWAY
    leaving_out = options.only_new or giving_up
    differences = fingerprint_then(status, found.snapshot).differences(now)
    if record.id_scope != request.target.id_scope:
        differences.insert(
            0, f"the scope of its message ids was {record.id_scope}, now it is {request.target.id_scope}"
        )
        if status.state not in BEGINNING and (record.live or leaving_out):
            raise refusal(found, differences, other_scope=True)
    if (envelope := record.envelope) != request.target.envelope:
        differences.append(f"the target's envelope was {{{envelope}}}, now it is {{{request.target.envelope}}}")
    differences += ["the database may hold other rows by now"] * (options.only_new and status.over and now.is_live)
    if giving_up:
        return out
    if not differences:
        again = options.only_new and not record.only_new and not status.over and not alone()
        return out if again else NextStep.GOES_ON
    if status.state in BEGINNING or not (record.live or leaving_out):
        request.context.say(f"{record.job_name}: begins afresh, since {list_differences(differences)}")
        return NextStep.FORGOTTEN if not record.live and not leaving_out else NextStep.THROWN_AWAY
    if leaving_out:
        request.context.say(
            f"{record.job_name}: is prepared again without what was delivered: {list_differences(differences)}"
        )
        return out
    raise refusal(found, differences)


def refusal(found: PresentRun, differences: Sequence[str], *, other_scope: bool = False) -> RefusedError:
    """The error that names what differs, and those ways on that work; `other_scope`: that of the message ids does."""
    status, record = found.status, found.status.record
    ways = []
    if other_scope:  # `resume` would be refused for it, too
        ways.append(scope_ways(record))
        if not (status.over or found.arrived or found.follows):
            ways.append("`--abandon` gives it up, of which nothing has arrived, and begins again")
    else:
        if not status.over:
            ways.append(f"`backfill resume {record.run_id}` finishes what was prepared")
        ways.append("`--only-new` prepares again and leaves out every call that was delivered")
        if not status.over:
            ways.append("`--abandon` gives up what was not sent and begins again; what was delivered stays left out")
        ways.append(f"`generation: {record.generation + 1}` in the job file sends all of it again under new ids")
    standing = "finished" if status.state is RunState.FINISHED else "prepared"
    return RefusedError(
        f"the run {record.run_id} was {standing} from something else: {list_differences(differences)}",
        hint="; ".join(ways),
    )
