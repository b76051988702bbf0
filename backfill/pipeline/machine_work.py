"""What a machine does of a run that several prepare: brings snapshot and what is settled here, and prepares shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from backfill.errors import SourceError
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.limits import Limits
from backfill.pipeline.fingerprint import file_differences, list_differences
from backfill.pipeline.shared_shards import SharedShards
from backfill.prepare.in_order import in_order
from backfill.prepare.shard import DroppedCalls, ShardContext, prepare_shard
from backfill.prepare.shards import shard_context
from backfill.records import DeliveredIds, RunRecord, ShardPlan, SharedBytes, Snapshot
from backfill.sources import load_snapshot, resolve, while_unchanged

STAND_STILL = "prepare again once it stands still; `backfill run JOB --abandon` begins the run afresh"


@frozen
class ShardTask:
    """What has to be known of a run to prepare shards of it, beside its bytes; it can be told to another process."""

    job: Job
    shared: SharedBytes
    record: RunRecord
    limits: Limits


class MachineWork:
    """A run whose shards are prepared on this machine. Thread-safe."""

    def __init__(self, task: ShardTask, stopping: Callable[[], bool], delivered: DeliveredIds | None) -> None:
        """Bring what is not here yet; ids in `delivered` are left out.

        Raises:
            UsageError: Another version of backfill has begun it, or other limits hold.
            SourceError: It is read where it lies, and is not the same here.
            LedgerError: What is shared of it is damaged.
            StoppedError: The place of its bytes is out of reach, or the disk is full.
        """
        self.shards = SharedShards(task.shared, stopping)
        settled = self.shards.bring_settled(task.limits)
        task.shared.bring_snapshot()
        snapshot = load_snapshot(task.shared.snapshot)
        self.snapshot = (
            snapshot_here(task.job, snapshot, task.shared.snapshot, stopping) if snapshot.in_place else snapshot
        )
        context = shard_context(
            *(task.job, self.snapshot, self.shards.spool),
            id_scope=task.record.id_scope,
            limits=task.limits,
            library_version=task.record.library_version,
            now=task.record.created_at,
            stopping=stopping,
            delivered=delivered,
        )
        self._context: ShardContext = settled.apply(context, task.job)
        self._dropped: DroppedCalls = settled.dropped

    @property
    def count(self) -> int:
        """How many shards the run has."""
        return self._context.frames.shards

    def rows(self, shards: Sequence[int]) -> int:
        """How many rows some shards have."""
        return sum(stop - start for start, stop in map(self._context.frames.bounds, shards))

    def prepare(self, shard: int) -> ShardPlan:
        """The shard, durable and there for all; raises InterruptedRunError where it is to stop."""
        plan = prepare_shard(self._context, self._dropped, shard)
        self.shards.keep(plan)
        return plan

    def prepare_all(self, shards: Sequence[int], workers: int) -> Iterator[ShardPlan]:
        """Those of these shards that are not there yet, in their order."""
        with self.still(), ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool:
            yield from in_order(pool, self.prepare, shards, ahead=workers + 1)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Raise SourceError where a source that is read in place changes while the block reads it."""
        with while_unchanged(self.snapshot.files if self.snapshot.in_place else (), STAND_STILL):
            yield


def snapshot_here(job: Job, snapshot: Snapshot, folder: Path, stopping: Callable[[], bool]) -> Snapshot:
    """A source that is read where it lies, as it lies on this machine: the same bytes, maybe below another folder.

    Raises:
        SourceError: It is not here, or is not the same.
    """
    files = resolve(job, folder=folder, trusted=snapshot.files, stopping=stopping)
    differences = list(file_differences(snapshot.files, files))
    if differences:
        raise SourceError(
            f"the source is read where it lies, and here it is another one: {list_differences(differences)}",
            hint="let every machine that prepares shards reach the same files by the job's path",
        )
    parts = tuple(replace(part, path=Path(files[part.file].path)) for part in snapshot.parts)
    return replace(snapshot, files=files, parts=parts)
