"""A snapshot cut after its first rows, for a dry run with --limit and for a preview."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from backfill.disk import fill_in_place
from backfill.job.models import Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Snapshot, SnapshotPart


def first_rows(job: Job, snapshot: Snapshot, rows: int, place: Path) -> Snapshot:
    """The snapshot's first rows and the unreadable records before their last, counted as if there were no others.

    What `where` leaves out is not counted, unless those rows are all. With a query the unreadable records, which are of
    its inputs, stay all.
    The unreadable records are written to the file `place`.
    """
    parts: list[SnapshotPart] = []
    left = rows
    for part in snapshot.parts:
        kept = min(part.rows, left)
        left -= kept
        if kept:
            parts.append(SnapshotPart(part.path, kept, part.file))
    cut = replace(snapshot, parts=tuple(parts), filtered=0)
    if left or (cut.rows == snapshot.rows and snapshot.unreadable_file is None):
        return snapshot
    if snapshot.unreadable_file is not None and job.source.query is None:
        before = _unreadable_before(snapshot, parts[-1])
        fill_in_place(place, before.write_parquet)
        cut = replace(cut, unreadable=len(before), unreadable_file=place)
    return replace(cut, read=cut.rows + cut.unreadable)


def _unreadable_before(snapshot: Snapshot, last: SnapshotPart) -> pl.DataFrame:
    """The unreadable records that stand before the last row of this part, which may be cut short."""
    places = pl.scan_parquet(last.path, glob=False).select(FILE_COLUMN, RECORD_COLUMN)
    file, record = places.slice(last.rows - 1, 1).collect().row(0)
    order = {one.name: place for place, one in reversed([*enumerate(snapshot.files)])}
    place = pl.col("file").replace_strict(order, return_dtype=pl.UInt32)
    here = (place < file) | ((place == file) & (pl.col("record") < record))
    return pl.read_parquet(snapshot.unreadable_file, glob=False).filter(here)  # type: ignore[arg-type] # there is one
