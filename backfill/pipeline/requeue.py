"""Calls that a destination lacks, planned again as a run of their own: the same ids, the same bytes.

The plan of a run never changes, nor do its accounts: what was delivered stays delivered. So the missing calls are a run
beside it, `RUN-requeue-DIGEST`, of the same job, target, generation and scope of ids. Its shards and rows are those of
RUN; it plans these few of their calls and skips the others, so that whatever makes or checks a call of RUN from its row
finds it there, too.

Bytes are those that were kept, or made again and proven to be the same by the hashes of RUN. A call that an earlier
requeue of RUN has planned is not planned again: whoever repeats the command sends nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.errors import BackfillError
from backfill.frozen import frozen
from backfill.limits import Limits
from backfill.pack import Packer
from backfill.pipeline.call_bytes import PlanCalls
from backfill.pipeline.call_counts import CallCounts
from backfill.pipeline.context import RunContext
from backfill.pipeline.requeues import digits_of
from backfill.pipeline.runs import REQUEUE_MARK, requeues_of
from backfill.prepare.shard import Batches
from backfill.records import (
    CALL_RECORD,
    RunSpool,
    ShardPlan,
    Snapshot,
    SnapshotPart,
    SnapshotRecord,
    StoredRun,
)
from backfill.wire import ENVELOPE_BYTES, HEAD

_RECORD: Final = np.dtype(CALL_RECORD)

Places = npt.NDArray[np.int64]
#: Gives shards in order, each with the places (ascending) of calls in its calls file; from the first each time.
Chosen = Callable[[], Iterator[tuple[int, Places]]]


@frozen
class Requeued:
    """What became of calls that were to be planned again."""

    run_id: str  # of the run that was planned; empty: there is nothing left to plan
    calls: int  # planned in it
    taken: Mapping[str, int]  # of the calls those that earlier requeues have, by the ids of these


def requeue(plan: PlanCalls, chosen: Chosen, context: RunContext) -> Requeued:
    """Plan these calls of a run, which is over, again; nothing is sent.

    Raises:
        RefusedError: The bytes of a call are gone, and cannot be made again as they were.
        LedgerError: What was kept is damaged.
        LockedError: Another process is at work on the run.
        StoppedError: The disk is full.
        InterruptedRunError: A signal came.
    """
    record, store = plan.status.record, context.store
    with store.lock(record.run_id):
        earlier = Earlier(requeues_of(store, record.run_id), record.created_at)
        calls = 0

        def ids() -> Iterator[bytes]:
            nonlocal calls
            for shard, places in earlier.left_of(plan, chosen):
                calls += len(places)
                yield plan.records(shard)["id_bytes"][places].tobytes()

        digits = digits_of(plan.status, ids())
        taken = dict(earlier.taken)
        if not calls:
            return Requeued("", 0, taken)
        child = store.run(f"{record.run_id}{REQUEUE_MARK}{digits}")
        with store.lock(child.run_id):
            if child.begun():  # a process was killed while it planned: nothing of it was sent
                store.discard(child)
            try:
                _plan(plan, child, earlier.left_of(plan, chosen), context)
            except BackfillError:
                store.discard(child)
                raise
    return Requeued(child.run_id, calls, taken)


class Earlier:
    """Earlier requeues of a run whose plans are whole, and which of its calls they have."""

    def __init__(self, runs: Iterable[StoredRun], since: float) -> None:
        """Those that began before `since` (POSIX seconds) are of another run of that id."""
        self.taken: dict[str, int] = {}  # calls, by the run that has them
        self._runs: dict[str, tuple[RunSpool, dict[int, str]]] = {}
        for run in runs:
            with run.read() as reader:
                status = reader.status()
                if status.plan_digest is not None and status.record.created_at >= since:
                    self._runs[run.run_id] = run.spool(), reader.calls_digests()

    def left_of(self, plan: PlanCalls, chosen: Chosen) -> Iterator[tuple[int, Places]]:
        """The calls that none of them has; shards without one are left out."""
        self.taken = {}
        for shard, places in chosen():
            left, ids = places, plan.records(shard)["id_bytes"][places].tolist()
            for run_id, (spool, digests) in self._runs.items():
                if shard not in digests:
                    continue
                theirs = set(np.frombuffer(spool.calls_of(shard, digests[shard]), _RECORD)["id_bytes"].tolist())
                free = [place for place, identity in enumerate(ids) if identity not in theirs]
                if len(free) < len(ids):
                    self.taken[run_id] = self.taken.get(run_id, 0) + len(ids) - len(free)
                    left, ids = left[free], [ids[place] for place in free]
            if len(left):
                yield shard, left


def _plan(plan: PlanCalls, child: StoredRun, chosen: Iterator[tuple[int, Places]], context: RunContext) -> None:
    """Make the run, from its ledger to its whole plan."""
    with plan.run.read() as reader:
        staged, profile = reader.snapshot(), reader.profile()
    assert staged is not None  # PlanCalls has seen to it
    record = replace(plan.status.record, run_id=child.run_id, created_at=context.clock.now(), only_new=False)
    scopes = [call.scope for call in record.facts.calls]
    packed = limits_of(plan.shards.values())
    child.make()
    with child.create(record, clock=context.clock.now) as ledger:
        ledger.record_snapshot(_all_rows(staged), calls_per_row=staged.calls_per_row)
        spool = child.spool(stopping=context.stop.is_set)
        wanted = next(chosen, None)
        for shard, parent in plan.shards.items():
            context.check_stop()
            counts = CallCounts(scopes, profile)
            batches = Batches(writer := spool.open(shard), Packer(packed))
            places = np.empty(0, np.int64)
            if wanted is not None and wanted[0] == shard:
                places, wanted = wanted[1], next(chosen, None)
            _pack(plan, shard, places, batches, counts)
            planned, size, segment_sha256, calls_sha256 = writer.finish(batches.finish(), None, batches.hashes)
            ledger.record_shard(
                ShardPlan(
                    shard=shard,
                    rows=parent.rows,
                    planned=len(places),
                    skipped=parent.rows * staged.calls_per_row - len(places),
                    rejected=0,
                    duplicate=0,
                    batches=planned,
                    problems={},
                    samples=(),
                    days=dict(counts.days),
                    json_bytes=batches.json_bytes,
                    segment_bytes=size,
                    segment_sha256=segment_sha256,
                    calls_sha256=calls_sha256,
                    profile=counts.profile(),
                )
            )
        ledger.record_plan()


def _pack(plan: PlanCalls, shard: int, places: Places, batches: Batches, counts: CallCounts) -> None:
    """Pack these calls of a shard, in the order in which it has them."""
    if not len(places):
        return
    records = plan.records(shard)
    for found, texts in plan.texts(shard, places):
        own = records[found]
        calls = pl.DataFrame({"row": own["row"], "call": own["call"], "json": texts}).with_columns(pl.col("json") + ",")
        batches.push(calls, np.frombuffer(own["id_bytes"].tobytes(), np.uint8).reshape(-1, 16))
        counts.add(own["call"].tolist(), texts)


def _all_rows(staged: SnapshotRecord) -> Snapshot:
    """The rows of the run as they were staged; those that could not be read are none of this one's."""
    return Snapshot(
        parts=(SnapshotPart(Path(), staged.rows),),
        columns=(),
        files=staged.files,
        read=staged.read,
        filtered=staged.filtered + staged.unreadable,
        unreadable=0,
        in_place=staged.in_place,
    )


def limits_of(plans: Collection[ShardPlan]) -> Limits:
    """Batches are no larger than those of these plans: so large ones the target was known to take."""
    batches = [batch for plan in plans for batch in plan.batches]
    most = max(batch.bytes for batch in batches) - len(HEAD)
    return Limits(body_bytes=most + ENVELOPE_BYTES, batch_calls=max(batch.calls for batch in batches))
