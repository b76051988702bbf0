"""Sources: from whatever an export is to a frozen snapshot (see docs/sources.md)."""

from backfill.sources.files import locate, resolve
from backfill.sources.freeze import stage
from backfill.sources.inspect import inspect
from backfill.sources.schema import AbsentColumns, Schema, SqlFault
from backfill.sources.snapshot import load_snapshot
from backfill.sources.stamps import unchanged, while_unchanged

__all__ = [
    "AbsentColumns",
    "Schema",
    "SqlFault",
    "inspect",
    "load_snapshot",
    "locate",
    "resolve",
    "stage",
    "unchanged",
    "while_unchanged",
]
