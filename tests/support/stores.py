"""What keeps runs: the subjects of the contract suites.

A kind is one of STORES, or the URL of a database, with ` shared` behind it where the bytes are in a shared folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
FOLDER = "folder"


def store_in(kind: str, place: Path) -> RunStore:
    """A store of that kind, whose folder on this machine is `place`."""
    if kind in STORES:
        return STORES[kind](place)
    url, _, sharing = kind.partition(" ")
    return open_store(place, SpoolChoice(str(place.parent / "shared") if sharing else ""), url)


@contextmanager
def held_run(kind: str, place: Path) -> Iterator[StoredRun]:
    """The run of RECORD in such a store, its lock held; not begun unless it was before."""
    store = store_in(kind, place)
    store.make_usable()
    run = store.run(RECORD.run_id)
    with store.lock(run.run_id):
        run.make()
        yield run


def delivering_run(run: StoredRun, plans: Sequence[ShardPlan]) -> RunWriter:
    """The ledger of a run that has prepared these shards and is about to send."""
    ledger = run.create(RECORD)
    ledger.record_snapshot(snapshot_of(list(plans)), calls_per_row=1, problems={("BF001", "error"): 2})
    for plan in plans:
        ledger.record_shard(plan)
    ledger.record_plan()
    ledger.set_state(RunState.DELIVERING)
    return ledger
