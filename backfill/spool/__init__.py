"""The spool: the exact bytes of every batch on disk before the first of them is sent; and the dry run's scales."""

from backfill.spool.counting import CountingSink
from backfill.spool.files import Spool, fill_rejects, raw_deflate
from backfill.spool.shared import SharedSpool

__all__ = ["CountingSink", "SharedSpool", "Spool", "fill_rejects", "raw_deflate"]
