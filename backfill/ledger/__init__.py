"""The ledger: the durable record of one run, and the real deduplication (docs/ledger.md).

`Ledger` is for the one process that holds the run's lock, `LedgerReader` for everybody else.
"""

from backfill.ledger.sqlite_ledger import Ledger, LedgerReader

__all__ = ["Ledger", "LedgerReader"]
