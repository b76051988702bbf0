"""Staging of Parquet: in place where nothing is to be computed and polars reads every column as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from backfill.records import RECORD_COLUMN, Snapshot, SnapshotPart
from backfill.sources import parquet
from backfill.sources.binding import bound_layout
from backfill.sources.in_place import partitioned, read_alike
from backfill.sources.layout import Layout, place_columns, settled_zones
from backfill.sources.staging import Staging


def freeze_parquet(staging: Staging, in_query: Sequence[str] = ()) -> Snapshot:
    """The files as they are, or a part made of each."""
    footers = parquet.read_footers(staging.engine, staging.files)
    columns = parquet.source_columns(staging.job, footers.columns)
    layout = bound_layout(staging.engine, staging.job, columns, in_query=in_query)
    alone = parquet.can_stay(staging.job, footers) and not partitioned(staging.job, staging.files)
    if alone and read_alike(staging.files, layout.columns):
        return _in_place(staging, layout, footers.rows)
    parts = []
    for index, file in enumerate(staging.files):
        numbered = f"(SELECT *, CAST(file_row_number + 1 AS UBIGINT) AS {RECORD_COLUMN} FROM {parquet.clause(file)})"
        select = layout.select(numbered, filtered=True, extra=[RECORD_COLUMN])
        try:
            rows = staging.copy(select, staging.part(index), file.bytes)
        except duckdb.Error as error:
            raise staging.failure(layout, error, parquet.clause(file, numbered=False), file.name) from error
        staging.advance(footers.rows[index], file.bytes)
        parts.append(SnapshotPart(staging.part(index), rows, index))
    read, kept = sum(footers.rows), sum(part.rows for part in parts)
    settled = settled_zones(staging.engine, [part.path for part in parts], layout.columns)
    described = (*settled, *place_columns(file=False))
    return Snapshot(tuple(parts), described, staging.files, read, read - kept, 0, in_place=False)


def _in_place(staging: Staging, layout: Layout, rows: Sequence[int]) -> Snapshot:
    parts = tuple(
        SnapshotPart(Path(file.path), count, index)
        for index, (file, count) in enumerate(zip(staging.files, rows, strict=True))
    )
    staging.advance(sum(rows), sum(file.bytes for file in staging.files))
    return Snapshot(parts, layout.columns, staging.files, sum(rows), 0, 0, in_place=True)
