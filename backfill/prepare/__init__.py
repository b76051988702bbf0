"""Prepare: the snapshot's rows become finished batches, problems and counts. Column-wise; shards in parallel."""

from __future__ import annotations

from backfill.prepare.rows import map_rows, preview
from backfill.prepare.shards import prepare

__all__ = ["map_rows", "prepare", "preview"]
