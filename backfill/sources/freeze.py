"""Staging: whatever the source is becomes a frozen snapshot, durable before anybody is told of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb

from backfill.disk import make_folder
from backfill.errors import JobError, SourceError
from backfill.job.models import Job
from backfill.records import Snapshot, SourceFile
from backfill.sources.engine import ignore_progress, never, open_engine, reason, storage_failure
from backfill.sources.files import one_format, resolve, unchanged
from backfill.sources.snapshot import save_snapshot
from backfill.sources.staging import Staging


def stage(
    job: Job,
    folder: Path,
    *,
    files: Sequence[SourceFile] | None = None,
    memory_bytes: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] = ignore_progress,
    cancelled: Callable[[], bool] = never,
) -> Snapshot:
    """Freeze the source in `folder`, which is the snapshot's own, and return the snapshot once it is durable.

    `files` are what `resolve` gave, where that was done before. `progress` is told rows so far and the
    bytes of all passes over the source, from this thread. An unfinished snapshot in the folder is started afresh.

    Raises:
        SourceError: the source is missing, corrupt, truncated, or changed while it was read.
        JobError: the job's SQL or columns do not fit the source.
        InterruptedRunError: `cancelled` became true.
        StoppedError: the disk or the memory given is full.
    """
    make_folder(folder)
    resolved = tuple(files) if files is not None else resolve(job, folder=folder, cancelled=cancelled)
    paths = [file.path for file in resolved]
    zone = job.source.timezone
    with open_engine(
        folder, paths, memory_bytes=memory_bytes, threads=threads, cancelled=cancelled, timezone=zone
    ) as engine:
        try:
            snapshot = freeze(Staging(job, folder, resolved, engine, progress))
        except duckdb.Error as error:
            raise storage_failure(error) or JobError(f"the source cannot be staged: {reason(error)}") from error
    changed = [file.name for file in resolved if not unchanged(file)]
    if changed:
        raise SourceError(f"{changed[0]} changed while it was read", hint="run again once nothing writes to it")
    save_snapshot(snapshot, folder)
    shutil.rmtree(folder / "spill", ignore_errors=True)
    return snapshot


def freeze(staging: Staging) -> Snapshot:
    """The snapshot, its files not durable yet."""
    if staging.job.source.database is None and staging.job.source.query is not None:
        from backfill.sources.stage_query import freeze_query

        return freeze_query(staging, freeze_rows)
    return freeze_rows(staging)


def freeze_rows(staging: Staging, in_query: Sequence[str] = ()) -> Snapshot:
    """The rows as the source has them; `in_query` are the columns that a query is to read.

    Each format's reader is imported where its turn comes: a run uses one.
    """
    kind = one_format(staging.job, staging.files)
    match kind:
        case "csv" | "tsv":
            from backfill.sources.stage_delimited import freeze_delimited

            return freeze_delimited(staging, kind, in_query)
        case "parquet":
            from backfill.sources.stage_parquet import freeze_parquet

            return freeze_parquet(staging, in_query)
        case "ndjson":
            from backfill.sources.stage_ndjson import freeze_ndjson

            return freeze_ndjson(staging, in_query)
        case "sqlite":
            from backfill.sources.stage_database import freeze_database

            return freeze_database(staging)
        case _:
            raise JobError(f"source.format: {kind!r} is not read", hint="csv, tsv, parquet or ndjson")
