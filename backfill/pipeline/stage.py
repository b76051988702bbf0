"""Stage: from the source to the frozen snapshot in the ledger, unless an earlier process has done it."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import polars as pl

from backfill.disk import sync_folder
from backfill.errors import ConnectionLostError, LedgerError, SourceError
from backfill.job.models import Job
from backfill.memory import STAGING_MEMORY_BYTES
from backfill.pipeline.context import RunContext
from backfill.pipeline.disk_forecast import forecast, measure_folder
from backfill.records import (
    Problem,
    RunRejects,
    RunState,
    RunWriter,
    Severity,
    Snapshot,
    SourceFile,
    StoredRun,
)
from backfill.sources import first_rows, load_snapshot, save_snapshot, stage
from backfill.state import ensure_space

LOG = logging.getLogger(__name__)
#: Seconds between two looks at the disk while staging.
SPACE_SECONDS = 0.5
#: Seconds before a database that went away is read again: long enough for it to be started anew.
AGAIN_SECONDS = (2, 10, 30)
#: How many problems of each code are kept as samples.
SAMPLES = 5
#: The unreadable records among the first rows, where only those are judged.
LIMITED_FILE = "limited.parquet"
#: The folder of a snapshot of the first rows until it is whole.
BEGUN_FOLDER = "first-rows"


def stage_source(
    job: Job,
    ledger: RunWriter,
    folder: StoredRun,
    files: tuple[SourceFile, ...],
    context: RunContext,
    *,
    limit: int | None = None,
    snapshot: Snapshot | None = None,
) -> Snapshot:
    """The frozen source of the run, made now unless it was before; recorded in the ledger, which is then `preparing`.

    `files` are what the fingerprint was made of: equal bytes may stand in a file that was touched since the snapshot
    was made, and it is today's stamp that must not change from here on. `limit` leaves its first rows, see
    `first_rows`. `snapshot` is one that was made elsewhere.

    Raises:
        SourceError: The source cannot be read.
        JobError: The job's SQL fails on it.
        StoppedError: The disk is too small.
        InterruptedRunError: A signal came.
    """
    folder.bring_snapshot()
    if ledger.reader.status().state is not RunState.STAGING:
        return replace(load_snapshot(folder.snapshot), files=files)
    snapshot = snapshot or load_or_clear_snapshot(folder.snapshot) or stage_now(job, folder, files, context)
    if limit is not None:
        snapshot = first_rows(job, snapshot, limit, folder.path / LIMITED_FILE)
    snapshot = replace(snapshot, files=files)
    problems, samples = unreadable_problems(snapshot, folder.rejects())
    LOG.info(
        "%s: %s rows staged, %s filtered, %s unreadable%s",
        job.name,
        f"{snapshot.rows:,}",
        f"{snapshot.filtered:,}",
        f"{snapshot.unreadable:,}",
        ", read in place" if snapshot.in_place else "",
    )
    if job.mask:
        from backfill.prepare.masks import Masks  # noqa: PLC0415 (polars, which staging of itself does not load)

        samples = list(map(Masks.of(job, snapshot).problem, samples))
    folder.keep_snapshot(stopping=context.stop.is_set)
    ledger.record_snapshot(snapshot, calls_per_row=len(job.calls), problems=problems, samples=samples)
    return snapshot


def stage_now(job: Job, folder: StoredRun, files: tuple[SourceFile, ...], context: RunContext) -> Snapshot:
    """Stage the source, from its start again where a database went away meanwhile; raises as `stage_source` does."""
    lost = False
    for pause in AGAIN_SECONDS:
        try:
            return stage_once(job, folder, files, context)
        except SourceError as error:
            lost = lost or isinstance(error, ConnectionLostError)  # which may not be to be had at once again
            if not lost:
                raise
            context.say(f"{job.name}: {error.message}. It is read from its start again in {pause} s.")
        context.stop.wait(pause)
    return stage_once(job, folder, files, context)


def stage_once(job: Job, folder: StoredRun, files: tuple[SourceFile, ...], context: RunContext) -> Snapshot:
    """Stage the source; raises as `stage_source` does."""
    need = forecast(job, files).with_room(folder.bytes_here)
    ensure_space(folder.path, need.bytes)
    last = time.monotonic()

    def advance(rows: int, size: int) -> None:
        nonlocal last
        context.progress.advance(rows, size)
        if time.monotonic() - last > SPACE_SECONDS:
            last = time.monotonic()
            ensure_space(folder.path, need.left(measure_folder(folder.snapshot)))

    context.progress.begin("stage", None, "rows")
    context.staging.set()
    try:
        snapshot = stage(
            job,
            folder.snapshot,
            files=files,
            memory_bytes=STAGING_MEMORY_BYTES,
            threads=None,
            progress=advance,
            stopping=context.stop.is_set,
        )
    finally:
        context.staging.clear()
    context.progress.end()
    return snapshot


def stage_first_rows(
    job: Job, folder: StoredRun, files: tuple[SourceFile, ...], context: RunContext, rows: int
) -> None:
    """Have a whole snapshot of the first rows in the run's folder, for `stage_source`; raises as that does."""
    with suppress(LedgerError):
        load_snapshot(folder.snapshot)
        return
    begun = folder.path / BEGUN_FOLDER
    for left in (folder.snapshot, begun):
        shutil.rmtree(left, ignore_errors=True)
    context.staging.set()
    try:
        found = stage(
            job,
            begun,
            files=files,
            memory_bytes=STAGING_MEMORY_BYTES,
            sample=None if job.needs_all else rows,
            stopping=context.stop.is_set,
        )
    finally:
        context.staging.clear()
    save_snapshot(first_rows(job, found, rows, begun / LIMITED_FILE), begun)
    begun.replace(folder.snapshot)
    sync_folder(folder.path)


def load_or_clear_snapshot(folder: Path) -> Snapshot | None:
    """The whole snapshot in the folder, of a process that ended before it was recorded or of a dry run.

    None where there is none; what is left of an unfinished one is deleted.
    """
    try:
        return load_snapshot(folder)
    except LedgerError:
        shutil.rmtree(folder, ignore_errors=True)
        return None


def unreadable_problems(snapshot: Snapshot, rejects: RunRejects) -> tuple[dict[tuple[str, str], int], list[Problem]]:
    """How many unreadable records of each (code, severity), and samples; their file is kept."""
    if snapshot.unreadable_file is None:
        return {}, []
    rejects.keep_unreadable(snapshot.unreadable_file)
    frame = pl.scan_parquet(snapshot.unreadable_file, glob=False)
    counts = frame.group_by("code", "severity").len().collect()
    return {(code, severity): count for code, severity, count in counts.iter_rows()}, unreadable_samples(snapshot)


def unreadable_samples(snapshot: Snapshot) -> list[Problem]:
    """The first unreadable records of each code."""
    if snapshot.unreadable_file is None:
        return []
    frame = pl.scan_parquet(snapshot.unreadable_file, glob=False)
    first = frame.group_by("code", maintain_order=True).head(SAMPLES).collect()
    return [
        Problem(
            code=row["code"],
            severity=Severity(row["severity"]),
            message=row["message"] or "",
            file=row["file"] or "",
            record=row["record"] or 0,
            line=row["line"] or 0,
            column=row["column"] or "",
            value=row["value"] or "",
        )
        for row in first.iter_rows(named=True)
    ]
