"""The whole job: shards to threads, plans back in shard order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import polars as pl

from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.limits import Limits
from backfill.mapping import compile_job
from backfill.prepare.dropped import find_dropped
from backfill.prepare.frames import Frames, snapshot_schema
from backfill.prepare.in_order import in_order
from backfill.prepare.settled import Settled
from backfill.prepare.shard import ShardContext, prepare_shard
from backfill.prepare.spellings import checked_spellings, find_spelt
from backfill.records import DeliveredIds, ShardPlan, ShardSink, Snapshot

#: Told of duplicates, before any shard: frames of REJECT_COLUMNS, maybe none.
OnDuplicates = Callable[[Iterator[pl.DataFrame]], None]


def prepare(
    job: Job,
    snapshot: Snapshot,
    sink: ShardSink,
    *,
    id_scope: str,
    limits: Limits,
    library_version: str,
    now: float,
    workers: int,
    work_folder: Path,
    done: Mapping[int, ShardPlan],
    on_shard: Callable[[ShardPlan], None],
    stopping: Callable[[], bool],
    on_duplicates: OnDuplicates | None = None,
    delivered: DeliveredIds | None = None,
    limit: int | None = None,
    frame_rows: int | None = None,
    elsewhere: Elsewhere | None = None,
) -> None:
    """Map, check, encode and pack every staged row (the first `limit` of them, where given) into `sink`.

    `done` are shards that an earlier process prepared and recorded: they are taken as they are. `on_shard` gets every
    other shard in order, once the sink made it durable. The result does not depend on `workers` or `frame_rows`.
    `on_duplicates` gets what is to be told of duplicates, before any shard: frames of REJECT_COLUMNS, maybe none.
    Calls of ids in `delivered` are counted and left out.
    `work_folder` takes temporary files of the search for repeated ids. `now`, in POSIX seconds, bounds the future.
    `elsewhere` has what other processes have done of the run.

    Raises:
        JobError: A value cannot be mapped at all.
        InterruptedRunError: `stopping` became true; what `on_shard` got stands.
    """
    context = shard_context(
        *(job, snapshot, sink),
        id_scope=id_scope,
        limits=limits,
        library_version=library_version,
        now=now,
        stopping=stopping,
        delivered=delivered,
        frames=Frames(snapshot, frame_rows=frame_rows, limit=limit),
    )
    others = elsewhere or Elsewhere()
    workers = max(1, workers)
    with ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool:
        settled = others.settled or settle(context, pool, work_folder, on_duplicates, ahead=workers + 1)
        context = settled.apply(context, job)
        left = [shard for shard in range(context.frames.shards) if shard not in done]

        def one(shard: int) -> ShardPlan:
            return others.shard(shard) or prepare_shard(context, settled.dropped, shard)

        # Each plan is handed over and let go: it counts its calls by day, and a history in no order has all its days in
        # each plan.
        for plan in in_order(pool, one, left, ahead=workers + 1):
            on_shard(plan)


@frozen
class Elsewhere:
    """What other processes have done of a run that they prepare together."""

    settled: Settled | None = None  # None: nothing is settled yet
    shard: Callable[[int], ShardPlan | None] = lambda _shard: None  # the shard, where it is prepared and durable


def shard_context(
    job: Job,
    snapshot: Snapshot,
    sink: ShardSink,
    *,
    id_scope: str,
    limits: Limits,
    library_version: str,
    now: float,
    stopping: Callable[[], bool],
    delivered: DeliveredIds | None = None,
    frames: Frames | None = None,
) -> ShardContext:
    """What preparing any shard of the job takes, but for what `settle` finds; as of `prepare`."""
    calls = compile_job(
        job, snapshot, snapshot_schema(snapshot), id_scope=id_scope, library_version=library_version, now=now
    )
    return ShardContext(snapshot, frames or Frames(snapshot), calls, sink, limits, stopping, delivered)


def settle(
    context: ShardContext, pool: ThreadPoolExecutor, folder: Path, on_duplicates: OnDuplicates | None, *, ahead: int
) -> Settled:
    """What is to be known of all calls together: spellings, then repeated ids among the calls that pass all checks.

    `folder` takes temporary files, one of which the result reads. Raises as `prepare` does.
    """
    spelt = find_spelt(context, pool)
    found = replace(context, calls=checked_spellings(context.calls, spelt))
    dropped, duplicates = find_dropped(found, pool, folder, ahead=ahead)
    if on_duplicates is not None:
        on_duplicates(duplicates.pages(context.snapshot, context.calls))
    return Settled(spelt, dropped)
