"""Snapshots that DuckDB makes, or says that none has to be made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb

from backfill.errors import JobError
from backfill.job.models import Job
from backfill.records import Snapshot, SourceFile
from backfill.sources.engine import open_engine, reason, storage_failure
from backfill.sources.formats import one_format
from backfill.sources.freeze_stream import freeze_stream
from backfill.sources.staging import Staging


def computed(
    job: Job,
    folder: Path,
    files: tuple[SourceFile, ...],
    *,
    memory_bytes: int | None,
    threads: int | None,
    sample: int | None,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> Snapshot:
    """The snapshot of these files in `folder`, not durable yet; for the rest see `stage`."""
    zone = job.source.timezone
    with open_engine(folder, memory_bytes=memory_bytes, threads=threads, cancelled=cancelled, timezone=zone) as engine:
        try:
            return freeze(Staging(job, folder, files, engine, progress, sample))
        except duckdb.Error as error:
            raise storage_failure(error) or JobError(f"the source cannot be staged: {reason(error)}") from error


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
            from backfill.sources.csv.reader import open_csv

            reader = open_csv(staging.engine, staging.job, staging.files, kind, staging.count)
            return freeze_stream(staging, reader, in_query)
        case "parquet":
            from backfill.sources.parquet.reader import freeze_parquet

            return freeze_parquet(staging, in_query)
        case "ndjson":
            from backfill.sources.ndjson.reader import freeze_ndjson

            return freeze_ndjson(staging, in_query)
        case "sqlite":
            from backfill.sources.sqlite.reader import freeze_database

            return freeze_database(staging)
        case _:
            raise JobError(f"source.format: {kind!r} is not read", hint="csv, tsv, parquet or ndjson")
