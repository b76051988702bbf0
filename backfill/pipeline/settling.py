"""What several processes need of a run before any of them prepares a shard, found out by the one that has its lock."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

from backfill.errors import UsageError
from backfill.job.models import Job
from backfill.limits import Limits
from backfill.memory import MAX_WORKERS
from backfill.pipeline.context import RunContext
from backfill.pipeline.new_run import open_delivered_ids
from backfill.pipeline.shared_shards import SharedShards
from backfill.prepare.shards import settle, shard_context
from backfill.records import RunWriter, SharedBytes, Snapshot, StoredRun


def settle_together(
    job: Job, snapshot: Snapshot, ledger: RunWriter, run: StoredRun, context: RunContext, limits: Limits
) -> SharedShards:
    """Let other processes find what is prepared already, and what holds for all shards, unless they can.

    Raises:
        UsageError: The run's bytes are on this machine alone.
        StoppedError: The place of the bytes is out of reach, or the disk is full.
        InterruptedRunError: A signal came.
    """
    shards = SharedShards(shared_of(run), context.stop.is_set)
    for plan in ledger.prepared_shards().values():  # by a process that prepared alone, and ended
        shards.keep(plan)
    if shards.settled:
        return shards
    record, workers = ledger.reader.status().record, min(MAX_WORKERS, os.cpu_count() or 1)
    open_delivered_ids(context.store, record, context)  # made whole once, and not by each process
    prepared = shard_context(
        *(job, snapshot, shards.spool),
        id_scope=record.id_scope,
        limits=limits,
        library_version=record.library_version,
        now=record.created_at,
        stopping=context.stop.is_set,
    )
    with ThreadPoolExecutor(workers, thread_name_prefix="settle") as pool:
        settled = settle(prepared, pool, run.work, run.rejects().keep_duplicates, ahead=workers + 1)
        shards.keep_settled(settled, limits)
    shutil.rmtree(run.work, ignore_errors=True)
    return shards


def shared_of(run: StoredRun) -> SharedBytes:
    """The run's bytes where others reach them; raises UsageError where they are on this machine alone."""
    if run.shared is None:
        raise bytes_here(f"the bytes of {run.run_id} are on this machine alone")
    return run.shared


def bytes_here(message: str) -> UsageError:
    """The error where others do not reach what they are to prepare."""
    return UsageError(message, hint="begin it with --spool, a bucket or a folder that every process reaches")
