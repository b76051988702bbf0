"""The polars types of a snapshot's columns."""

from __future__ import annotations

import polars as pl

from backfill.prepare.faults import naming
from backfill.records import Kind, Snapshot


def snapshot_schema(snapshot: Snapshot) -> dict[str, pl.DataType]:
    """Column name -> polars type, of the columns that can be read (an INTERVAL of Parquet cannot)."""
    wanted = [column.name for column in snapshot.columns if column.kind is not Kind.INTERVAL]
    if not snapshot.parts:
        return dict.fromkeys(wanted, pl.String())
    with naming(snapshot, snapshot.parts[0]):
        stored = pl.scan_parquet(snapshot.parts[0].path, glob=False, hive_partitioning=False).collect_schema()
    texts = (pl.Categorical, pl.Enum)  # read as text, see frames
    return {name: pl.String() if isinstance(stored[name], texts) else stored[name] for name in wanted}
