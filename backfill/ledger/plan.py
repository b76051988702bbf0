"""Whether a ledger still says what was planned. SQLite has no checksum of a page: a flipped digit is a number, too."""

from __future__ import annotations

from itertools import accumulate

from backfill.errors import LedgerError
from backfill.ledger.database import DAMAGED
from backfill.ledger.reader import LedgerReader
from backfill.records import plan_digest


def check_plan(reader: LedgerReader) -> None:
    """Raise LedgerError where the plan is recorded, and batches or counts are not those that it was made of.

    It takes some 10 ms for a million calls.
    """
    try:
        fault = _fault(reader)
    except (ValueError, TypeError, LookupError) as error:  # of values that nobody has written
        fault = f"{type(error).__name__}: {error}"
    if fault:
        raise LedgerError(f"{reader.path} is damaged: {fault}", hint=DAMAGED)


def _fault(reader: LedgerReader) -> str:
    recorded = reader.status().plan_digest
    if recorded is None:
        return ""
    shards = reader.shards().values()
    if plan_digest(shards) != recorded:
        return "the batches are not those that were planned"
    for plan in shards:
        begins = [0, *accumulate(batch.calls for batch in plan.batches)][:-1]
        if begins != [batch.first_call for batch in plan.batches]:
            return f"the batches of shard {plan.shard} do not follow each other"
    return next(iter(reader.counts().faults()), "")
