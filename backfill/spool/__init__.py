"""The spool: the exact bytes of every batch on disk before the first of them is sent; and the dry run's scales."""

from backfill.spool.counting import CountingSink
from backfill.spool.files import Spool, fill_rejects, raw_deflate

__all__ = ["CountingSink", "Spool", "fill_rejects", "raw_deflate"]
