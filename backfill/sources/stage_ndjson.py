"""Staging of NDJSON: with columns that are guessed, or, where the guess was wrong, with those of all records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from backfill.errors import JobError
from backfill.records import Snapshot
from backfill.sources.freeze_stream import freeze_stream
from backfill.sources.ndjson import NdjsonReader, WidenedError, all_found
from backfill.sources.staging import Staging


def freeze_ndjson(staging: Staging, in_query: Sequence[str] = ()) -> Snapshot:
    """One part of all records; see freeze_stream for what is raised."""
    open_reader = partial(NdjsonReader, staging.engine, staging.job, staging.files, staging.count)
    reader = open_reader(sampled=staging.sample is not None)
    read = staging.rows
    try:
        return freeze_stream(staging, reader, in_query)
    except WidenedError as widened:
        found = widened.found
    except JobError:
        if reader.complete or reader.sampled:
            raise
        found = all_found(staging.files, staging.count)  # what the job names may come after the beginnings
    staging.rows = read
    return freeze_stream(staging, open_reader(found=found), in_query)
