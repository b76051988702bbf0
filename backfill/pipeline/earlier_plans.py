"""Earlier plans of a job's dry runs: kept small, so that a later plan can be compared with one that was looked at.

A dry run takes the place of the last one, which is put with the earlier ones: its ledger, what was rejected, and of
each call 33 bytes. Only the newest of them keeps its snapshot, where that is small beside the disk: so what an edit of
the job has changed can be told to the last member.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from backfill.disk import PRIVATE_FOLDER
from backfill.errors import LedgerError
from backfill.pipeline.disk_forecast import measure_folder
from backfill.records import PlanFacts, RunStore, StoredRun
from backfill.state.plan_file import plan_facts

#: How many earlier plans of one job are kept.
KEPT = 5
#: The snapshot of an earlier plan may take this part of what is free.
PART_OF_FREE = 10


def make_room(state: RunStore, folder: StoredRun, *, keep_snapshot: bool) -> None:
    """Put the last dry run with the earlier ones, where its plan is whole; else clear it away. Hold its lock.

    Its snapshot stays where it is still of use, `keep_snapshot`.
    """
    if whole_plan(folder) is None:
        _clear(state, folder, keep_snapshot=keep_snapshot)
        return
    earlier = state.put_away(folder)
    folder.make()
    if keep_snapshot and earlier.snapshot.is_dir():
        try:
            shutil.copytree(earlier.snapshot, folder.snapshot, copy_function=os.link)
        except OSError:  # a disk without links: it is staged again
            shutil.rmtree(folder.snapshot, ignore_errors=True)


def prune_earlier(state: RunStore, folder: StoredRun) -> None:
    """Throw earlier plans away that say no more than the new one, and those that are too many. Hold the lock."""
    new = plan_facts(folder)
    if new is None or new.rows is not None:
        return  # the next whole one does
    left = 0
    for run in reversed(state.earlier(folder.run_id)):
        plan = whole_plan(run)
        if plan is None or left == KEPT or plan.digest == new.digest:
            state.discard(run)
            continue
        left += 1
        free = shutil.disk_usage(run.path).free
        if left > 1 or (run.snapshot.is_dir() and measure_folder(run.snapshot) > free / PART_OF_FREE):
            shutil.rmtree(run.snapshot, ignore_errors=True)


def whole_plan(run: StoredRun) -> PlanFacts | None:
    """The plan of a dry run of the whole source; None where there is none, or its ledger cannot be read."""
    with suppress(LedgerError):
        plan = plan_facts(run)
        return plan if plan is not None and plan.rows is None else None
    return None


def _clear(state: RunStore, folder: StoredRun, *, keep_snapshot: bool) -> None:
    """Make room for a dry run: of the last one the snapshot stays, and that only where it is still of use."""
    if not keep_snapshot:
        state.discard(folder)
    folder.path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    for path in sorted(folder.path.iterdir(), key=Path.is_file):  # the ledger last: without it a spool would be lost
        if path == folder.snapshot:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
