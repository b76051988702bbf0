"""The snapshot that a dry run leaves: the run of the same job and source begins with it instead of staging again."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from backfill.disk import make_folder, sync_folder
from backfill.errors import LedgerError, LockedError
from backfill.job.models import Job
from backfill.pipeline.fingerprint import Fingerprint, fingerprint_then
from backfill.pipeline.runs import REPLAY_MARK
from backfill.records import RunRecord, RunStore, SourceFile, StoredRun
from backfill.sources import load_snapshot

#: What stands in place of a target's kind and identity: a dry run is the same whatever the target.
DRY = "dry"
#: What the data of a job say that was made of mended rejects: the beginning of that file's digest.
REPLAYED = "replayed"


def dry_folder(state: RunStore, job: Job) -> tuple[RunStore, StoredRun]:
    """The state folder of dry runs, and the folder of this job's; one beside it where it is a replay of rejects."""
    dry = state.dry_runs
    own = dry.find(job.name, DRY, DRY, job.generation)
    replayed = job.raw.get(REPLAYED)
    return dry, dry.run(f"{own.run_id}{REPLAY_MARK}{replayed}") if replayed else own


def last_fingerprint(folder: StoredRun) -> Fingerprint | None:
    """What the last dry run was made from; None where there is none whose snapshot could be used."""
    if not folder.begun():
        return None
    try:
        with folder.open() as ledger:  # as its writer, which recovers what a killed process left
            status, snapshot = ledger.reader.status(), ledger.reader.snapshot()
    except LedgerError:
        return None
    return fingerprint_then(status, snapshot) if snapshot else None


def files_of_dry_run(state: RunStore, job: Job) -> tuple[SourceFile, ...]:
    """The source's files as the last dry run of the job has read them; none where one is under way, or was never."""
    dry, folder = dry_folder(state, job)
    if not folder.begun():
        return ()
    try:
        with dry.lock(folder.run_id):
            then = last_fingerprint(folder)
    except LockedError:
        return ()
    return then.files if then is not None else ()


def borrow_snapshot(state: RunStore, job: Job, now: Fingerprint, place: Path) -> None:
    """Make the snapshot of the last dry run of the same job and source appear in `place`; nothing where there is none.

    It is linked, not copied: its files are frozen, so that both may have the same bytes.
    """
    dry, folder = dry_folder(state, job)
    if not folder.begun():
        return
    try:
        with dry.lock(folder.run_id):
            then = last_fingerprint(folder)
            if then is not None and not then.differences(now):
                load_snapshot(folder.snapshot)
                make_folder(place)
                shutil.copytree(folder.snapshot, place, copy_function=_link, dirs_exist_ok=True)
                sync_folder(place)  # its files are durable, their names here are not: a ledger is to rely on them
    except (LedgerError, LockedError):
        shutil.rmtree(place, ignore_errors=True)


def rows_of_dry_run(state: RunStore, job: Job, after: RunRecord) -> tuple[float, int] | None:
    """When the last dry run of the same job began, and how many rows it read.

    None where that was before the run of the record `after`, of another job file, without a limit on rows, or is
    under way.
    """
    dry, folder = dry_folder(state, job)
    if not folder.snapshot.is_dir():
        return None
    try:
        with dry.lock(folder.run_id), folder.open() as ledger:
            record = ledger.reader.status().record
            is_later = record.created_at > after.created_at and record.job_fingerprint == after.job_fingerprint
            return (record.created_at, load_snapshot(folder.snapshot).read) if is_later else None
    except (LedgerError, LockedError):
        return None


def discard_snapshot(state: RunStore, job: Job) -> None:
    """Remove the snapshots of the job's dry runs: its run is finished. One under way keeps it."""
    dry, folder = dry_folder(state, job)
    kept = [run for run in [folder, *dry.earlier(folder.run_id)] if run.snapshot.exists()]
    if kept:
        with suppress(LockedError), dry.lock(folder.run_id):
            for run in kept:
                shutil.rmtree(run.snapshot, ignore_errors=True)
            shutil.rmtree(folder.intake, ignore_errors=True)


def _link(source: str, place: str) -> None:
    os.link(source, place)
