"""Staging of NDJSON: with columns that are guessed, or, where the guess was wrong, with those of all records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from backfill.errors import JobError
from backfill.job.references import references
from backfill.records import Snapshot
from backfill.sources.freeze_stream import freeze_stream
from backfill.sources.ndjson import NdjsonReader, WidenedError, all_found
from backfill.sources.partitioned import with_partition_columns
from backfill.sources.staging import Staging


def freeze_ndjson(staging: Staging, in_query: Sequence[str] = ()) -> Snapshot:
    """One part of all records; see freeze_stream for what is raised."""
    open_reader = partial(NdjsonReader, staging.engine, staging.job, staging.files, staging.count)
    reader = open_reader(sampled=staging.sample is not None)
    if staging.sample is not None and reader.seen < staging.sample and not reader.complete:
        reader = open_reader()
    read = staging.rows
    found = None if reader.complete or not _lacks(reader, staging) else all_found(staging.files, staging.count)
    try:
        return freeze_stream(staging, reader if found is None else open_reader(found=found), in_query)
    except WidenedError as widened:
        found = widened.found
    except JobError:
        if reader.complete or found is not None:
            raise
        found = all_found(staging.files, staging.count)  # what the job names may come after the beginnings
    staging.rows = read
    return freeze_stream(staging, open_reader(found=found), in_query)


def _lacks(reader: NdjsonReader, staging: Staging) -> bool:
    """Whether the job takes values from a column that the beginnings do not have."""
    known = {column.name for column in with_partition_columns(reader.columns, staging.job, staging.files)}
    return any(each.column is not None and each.column not in known for each in references(staging.job))
