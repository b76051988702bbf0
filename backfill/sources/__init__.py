"""Sources: from whatever an export is to a frozen snapshot (see docs/sources.md)."""

from backfill.sources.files import locate, resolve, unchanged
from backfill.sources.freeze import stage
from backfill.sources.inspect import Schema, inspect
from backfill.sources.snapshot import load_snapshot
from backfill.sources.sqltext import SqlFault

__all__ = ["Schema", "SqlFault", "inspect", "load_snapshot", "locate", "resolve", "stage", "unchanged"]
