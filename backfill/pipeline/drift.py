"""Finding the run of a job, and refusing to go on with it where job, source or key are no longer those it came from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from backfill.errors import RefusedError
from backfill.job import fingerprint
from backfill.job.models import Job
from backfill.ledger import Ledger, RunState, RunStatus, SnapshotRecord
from backfill.pipeline.fingerprint import Fingerprint, named
from backfill.pipeline.work import Progress, Surroundings, Work
from backfill.records import SourceFile
from backfill.sources import resolve
from backfill.state import RunFolder, StateFolder

#: Nothing is prepared yet: such a run holds nothing that starting afresh could lose.
BEGINNING = frozenset({RunState.STAGING, RunState.PREPARING})
INTAKE_FOLDER = "intake"
#: Hashing fewer bytes is over before anybody could read how far it is.
TOLD_BYTES = 250_000_000


def intake_of(state_folder: Path, folder: RunFolder) -> Path:
    """Where the copy of standard input is kept for a run, which may not have a folder yet."""
    return state_folder / INTAKE_FOLDER / folder.run_id


class _Hashing:
    """The hashing of a source as a step of the progress, which begins once it is worth telling."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.begun = False

    def advance(self, _rows: int, size: int) -> None:
        """So many bytes were gone through."""
        if size < TOLD_BYTES:
            return
        if not self.begun:
            self.begun = True
            self.progress.begin("hash", None, "B")
        self.progress.advance(size, size)

    def end(self) -> None:
        """It is over."""
        if self.begun:
            self.progress.end()


def fingerprint_now(job: Job, intake: Path, around: Surroundings, known: Sequence[SourceFile] = ()) -> Fingerprint:
    """The fingerprint of the job and its source as they are; files whose stamp is in `known` are not read again.

    Standard input is copied to the folder `intake`, since it cannot be read twice; what was there is of another time.

    Raises:
        SourceError: A file is missing, corrupt or truncated.
        InterruptedRunError: A signal came.
    """
    shutil.rmtree(intake, ignore_errors=True)
    hashing = _Hashing(around.progress)
    files = resolve(job, folder=intake, trusted=known, progress=hashing.advance, cancelled=around.stop.is_set)
    hashing.end()
    return Fingerprint(fingerprint(job), job.raw, files)


def settled(work: Work, state: StateFolder, folder: RunFolder) -> tuple[Fingerprint, RunStatus | None]:
    """What the job and source are now, and the run to go on with; None where it is to begin (again).

    Called with the run's lock held. A run that is to begin again is discarded here: one that was abandoned, one that
    was interrupted before its plan was complete and whose job has changed since, and a rehearsal of another job.

    Raises:
        RefusedError: The run's scope of ids, job or source differ from today's, and that is the user's to settle.
        SourceError: The source cannot be read.
        InterruptedRunError: A signal came.
    """
    intake = intake_of(state.path, folder)
    if not folder.begun:
        state.discard(folder)  # what a process left that died before its ledger was made
        return fingerprint_now(work.job, intake, work.around), None
    # Opened as its writer: a process that was killed may have left work of recovery, which SQLite's readers cannot do.
    with Ledger.open(folder.ledger) as ledger:
        status, snapshot = ledger.reader.status(), ledger.reader.snapshot()
        counts = ledger.reader.counts()
    arrived = counts.delivered + counts.in_doubt > 0
    now = fingerprint_now(work.job, intake, work.around, snapshot.files if snapshot else ())
    if snapshot is not None and goes_on(work, status, snapshot, now, arrived=arrived):
        return now, status
    state.discard(folder)
    return now, None


def goes_on(work: Work, status: RunStatus, snapshot: SnapshotRecord, now: Fingerprint, *, arrived: bool) -> bool:
    """Whether the run that is there is the one to go on with; False where it is to be thrown away.

    Raises:
        RefusedError: Neither.
    """
    record = status.record
    if status.state is RunState.ABANDONED and not arrived:
        return False
    if work.options.abandon and not status.over:
        if arrived and record.live:
            raise RefusedError(
                f"{record.run_id}: some of it has arrived, or may have, so it cannot be given up",
                hint=f"`backfill resume {record.run_id}` sends the rest of what was prepared",
            )
        return False
    differences = fingerprint_then(status, snapshot).differences(now)
    if record.id_scope != work.target.id_scope:
        differences.insert(0, f"the scope of its message ids was {record.id_scope}, now it is {work.target.id_scope}")
    if not differences:
        return True
    if status.state in BEGINNING or not record.live:
        work.around.say(f"{record.job_name}: begins afresh, since {named(differences)}")
        return False
    raise refusal(status, differences, arrived=arrived)


def fingerprint_then(status: RunStatus, snapshot: SnapshotRecord) -> Fingerprint:
    """The fingerprint that a run was prepared from, as its ledger has it."""
    return Fingerprint(status.record.job_fingerprint, json.loads(status.record.job_data), snapshot.files)


def refusal(status: RunStatus, differences: Sequence[str], *, arrived: bool) -> RefusedError:
    """The error that names what differs and the ways on."""
    record = status.record
    ways = []
    if not status.over:
        ways.append(f"`backfill resume {record.run_id}` finishes what was prepared")
        if not arrived:
            ways.append("`--abandon` gives it up and prepares again")
    if record.id_scope and differences[0].startswith("the scope of its message ids"):
        ways.append(f"`id_scope: {record.id_scope}` in the target's profile keeps the ids")
    ways.append(f"`generation: {record.generation + 1}` in the job file sends all of it again under new ids")
    standing = "finished" if status.state is RunState.FINISHED else "prepared"
    return RefusedError(
        f"the run {record.run_id} was {standing} from something else: {named(differences)}", hint="; ".join(ways)
    )
