"""Sources: from whatever an export is to a frozen snapshot (see docs/sources.md).

A name is imported when it is asked for: where only lines are looked up, no library for data is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.lazy import lazily

if TYPE_CHECKING:
    from backfill.sources.files import locate, resolve
    from backfill.sources.origins.stamps import unchanged, while_unchanged
    from backfill.sources.row_limit import first_rows
    from backfill.sources.schema import Schema, SqlFault
    from backfill.sources.snapshot import load_snapshot, save_snapshot
    from backfill.sources.stage import inspect, stage

__all__ = [
    "Schema",
    "SqlFault",
    "first_rows",
    "inspect",
    "load_snapshot",
    "locate",
    "resolve",
    "save_snapshot",
    "stage",
    "unchanged",
    "while_unchanged",
]

__getattr__ = lazily(
    __name__,
    {
        "files": ("locate", "resolve"),
        "row_limit": ("first_rows",),
        "stage": ("inspect", "stage"),
        "schema": ("Schema", "SqlFault"),
        "snapshot": ("load_snapshot", "save_snapshot"),
        "origins.stamps": ("unchanged", "while_unchanged"),
    },
)
