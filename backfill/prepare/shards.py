"""The whole job: shards to threads, plans back in shard order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from backfill.job.models import Job
from backfill.limits import Limits
from backfill.mapping import compile_job
from backfill.prepare.dropped import find_dropped
from backfill.prepare.frames import Frames, snapshot_schema
from backfill.prepare.in_order import in_order
from backfill.prepare.masks import Masks
from backfill.prepare.profiled import profiled
from backfill.prepare.shard import ShardContext, prepare_shard
from backfill.prepare.spellings import check_spellings
from backfill.records import DeliveredIds, ShardPlan, ShardSink, Snapshot


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
    on_duplicates: Callable[[Iterator[pl.DataFrame]], None] | None = None,
    delivered: DeliveredIds | None = None,
    limit: int | None = None,
    frame_rows: int | None = None,
) -> None:
    """Map, check, encode and pack every staged row (the first `limit` of them, where given) into `sink`.

    `done` are shards that an earlier process prepared and recorded: they are taken as they are. `on_shard` gets every
    other shard in order, once the sink made it durable. The result does not depend on `workers` or `frame_rows`.
    `on_duplicates` gets what is to be told of duplicates, before any shard: frames of REJECT_COLUMNS, maybe none.
    Calls of ids in `delivered` are counted and left out.
    `work_folder` takes temporary files of the search for repeated ids. `now`, in POSIX seconds, bounds the future.

    Raises:
        JobError: A value cannot be mapped at all.
        InterruptedRunError: `stopping` became true; what `on_shard` got stands.
    """
    frames = Frames(snapshot, frame_rows=frame_rows, limit=limit)
    calls = compile_job(
        job, snapshot, snapshot_schema(snapshot), id_scope=id_scope, library_version=library_version, now=now
    )
    context = ShardContext(snapshot, frames, calls, sink, limits, stopping, delivered)
    workers = max(1, workers)
    with ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool:
        context = replace(context, calls=check_spellings(context, pool))
        # Of calls that pass all checks.
        dropped, duplicates = find_dropped(context, pool, work_folder, ahead=workers + 1)
        if on_duplicates is not None:
            on_duplicates(duplicates.pages(snapshot, calls))
        masks = Masks.of(job, snapshot)
        context = replace(context, profiled=tuple(profiled(call, masks) for call in context.calls), masks=masks)
        left = [shard for shard in range(frames.shards) if shard not in done]
        # Each plan is handed over and let go: it counts its calls by day, and a history in no order has all its days in
        # each plan.
        for plan in in_order(pool, partial(prepare_shard, context, dropped), left, ahead=workers + 1):
            on_shard(plan)
