"""The ledger: the durable record of one run, and the real deduplication (docs/ledger.md).

`Ledger` is for the one process that holds the run's lock, `LedgerReader` for everybody else.
"""

from backfill.ledger.reader import LedgerReader
from backfill.ledger.writer import Ledger

__all__ = ["Ledger", "LedgerReader"]
