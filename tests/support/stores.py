"""What keeps runs, by name: the subjects of the contract suites. Another implementation is one more line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from backfill.records import RunState, RunStore, RunWriter, ShardPlan, StoredRun
from backfill.state import open_store
from tests.support.ledgers import RECORD, snapshot_of

STORES: dict[str, Callable[[Path], RunStore]] = {"folder": open_store}


def run_in(kind: str, place: Path) -> StoredRun:
    """The run of RECORD in a store of that kind, not begun unless it was before."""
    store = STORES[kind](place)
    store.make_usable()
    run = store.run(RECORD.run_id)
    run.make()
    return run


def delivering_run(run: StoredRun, plans: Sequence[ShardPlan]) -> RunWriter:
    """The ledger of a run that has prepared these shards and is about to send."""
    ledger = run.create(RECORD)
    ledger.record_snapshot(snapshot_of(list(plans)), calls_per_row=1, problems={("BF001", "error"): 2})
    for plan in plans:
        ledger.record_shard(plan)
    ledger.record_plan()
    ledger.set_state(RunState.DELIVERING)
    return ledger
