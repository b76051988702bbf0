"""Staging of Parquet that is not read where it is (see in_place): its records streamed into the snapshot."""

from __future__ import annotations

from collections.abc import Sequence

from backfill.records import Snapshot
from backfill.sources.freeze_stream import freeze_stream
from backfill.sources.parquet import parquet_reader
from backfill.sources.staging import Staging


def freeze_parquet(staging: Staging, in_query: Sequence[str] = ()) -> Snapshot:
    """One part of the rows of all files; raises as freeze_stream and parquet_reader do."""

    def advance(size: int) -> None:
        staging.bytes += size

    reader = parquet_reader(staging.engine, staging.job, staging.files, advance)
    return freeze_stream(staging, reader, in_query)
