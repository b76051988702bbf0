"""What keeps runs, by name: the subjects of the contract suites. Another implementation is one more line here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from backfill.records import RunState, RunStore, RunWriter, ShardPlan, StoredRun
from backfill.state import SpoolChoice, open_store
from tests.support.buckets import BUCKET
from tests.support.ledgers import RECORD, snapshot_of


def _sharing(url: Callable[[Path], str]) -> Callable[[Path], RunStore]:
    """Stores whose runs share their bytes at a URL that the store's folder gives."""
    return lambda place: open_store(place, SpoolChoice(url(place)))


STORES: dict[str, Callable[[Path], RunStore]] = {
    "folder": open_store,
    "bucket": _sharing(lambda place: f"s3://{BUCKET}/{hashlib.sha256(bytes(place)).hexdigest()}"),
    "shared folder": _sharing(lambda place: str(place.parent / "shared")),
}
#: Those whose ledger is another one's: only their bytes lie elsewhere. `bucket` wants a store of objects.
SHARING = ("bucket", "shared folder")


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
