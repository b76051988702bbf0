"""The ledger: the durable record of one run, and the real deduplication (docs/ledger.md).

`Ledger` is for the one process that holds the run's lock, `LedgerReader` for everybody else.
"""

from backfill.ledger.calls import Attempt, CallReader, Calls
from backfill.ledger.doubts import Doubt, DoubtSpan
from backfill.ledger.reader import LedgerReader
from backfill.ledger.run import (
    TRANSITIONS,
    Counts,
    RefusedBatch,
    RunRecord,
    RunState,
    RunStatus,
    SnapshotRecord,
    plan_digest,
)
from backfill.ledger.writer import Ledger

__all__ = [
    "TRANSITIONS",
    "Attempt",
    "CallReader",
    "Calls",
    "Counts",
    "Doubt",
    "DoubtSpan",
    "Ledger",
    "LedgerReader",
    "RefusedBatch",
    "RunRecord",
    "RunState",
    "RunStatus",
    "SnapshotRecord",
    "plan_digest",
]
