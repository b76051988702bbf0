"""Preparing on a cluster of dask: each shard is a task, made by any worker and recorded here in the order of shards.

The source is staged, and what holds for all shards settled, by the process that asks: the workers get both from the
run's shared bytes. What a worker has made is durable there before its task is done (`shared_shards`), so that a cluster
that is lost, or the death of the process that asks, costs the shards in hand and nothing else.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final

from backfill.errors import BackfillError, StoppedError, UsageError, counted
from backfill.extras import required
from backfill.frozen import frozen
from backfill.job.models import Job
from backfill.limits import Limits
from backfill.pipeline.context import RunContext
from backfill.pipeline.machine_work import MachineWork, ShardTask
from backfill.pipeline.new_run import open_delivered_ids
from backfill.pipeline.prepare import RecordedShards, complete_plan
from backfill.pipeline.settling import bytes_here, settle_together, shared_of
from backfill.prepare.frames import shard_count
from backfill.records import RunWriter, ShardPlan, Snapshot, StoredRun
from backfill.records.shard_form import shard_bytes, shard_of
from backfill.state import SpoolChoice, open_store

CONNECT_SECONDS: Final = 10.0
#: Seconds between looks for a signal while shards are made.
LOOK_SECONDS: Final = 0.2
#: Shards in the hands of the cluster for each of its threads, so that none waits for this process.
AHEAD: Final = 3


@frozen
class ClusterTask:
    """A run as the workers are told of it."""

    shards: ShardTask
    archive: str = ""  # the place of the archive whose ids are left out; empty: none are


class Cluster:
    """The workers that a scheduler has."""

    def __init__(self, distributed: Any, client: Any, address: str) -> None:  # noqa: ANN401 (it tells few types)
        self._distributed, self._client, self.address = distributed, client, address

    @property
    def threads(self) -> int:
        """How many threads the workers have by now."""
        return sum(self._nthreads().values())

    @property
    def workers(self) -> int:
        """How many workers there are by now."""
        return len(self._nthreads())

    def _nthreads(self) -> dict[str, int]:
        try:
            threads: dict[str, int] = self._client.nthreads()
        except (self._distributed.CancelledError, OSError, TimeoutError) as error:
            raise gone(self.address) from error
        return threads

    def plans(self, name: str, task: ClusterTask, shards: Sequence[int], context: RunContext) -> Iterator[ShardPlan]:
        """The shards, in their order, as the workers make them; of the finished ones few wait for their turn.

        Raises:
            StoppedError: The scheduler is gone, or workers end again and again while they prepare the same shard.
            InterruptedRunError: A signal came.
            BackfillError: What a worker raises of a shard.
        """
        left, made = list(reversed(shards)), dict[int, bytes]()
        running: dict[Any, int] = {}
        try:
            for shard in shards:
                while shard not in made:
                    context.check_stop()
                    ahead = AHEAD * max(1, self.threads)
                    while left and len(running) < ahead and left[-1] < shard + 2 * ahead:
                        key = f"{name}-shard-{left[-1]:06d}-{_mark(task)}"
                        future = self._client.submit(prepare_on_worker, task, left[-1], key=key, pure=False)
                        running[future] = left.pop()
                    for future in self._done(list(running)):
                        made[running.pop(future)] = self._result(future)
                yield shard_of(made.pop(shard))
        finally:
            with suppress(self._distributed.CancelledError, OSError, TimeoutError):  # there is nobody to be told
                self._client.cancel(list(running))

    def _done(self, futures: list[Any]) -> list[Any]:
        """Those of some futures that are done by now, or in a moment."""
        try:
            return list(self._distributed.wait(futures, LOOK_SECONDS, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            return []
        except (self._distributed.CancelledError, OSError) as error:
            raise gone(self.address) from error

    def _result(self, future: Any) -> bytes:  # noqa: ANN401 (as above)
        try:
            made: bytes = future.result()
        except BackfillError:
            raise
        except self._distributed.KilledWorker as error:
            raise StoppedError(
                f"several workers at {self.address} ended while they prepared one shard",
                hint="see their logs for why, it may be too little memory; the same command goes on",
            ) from error
        except (self._distributed.CancelledError, OSError, TimeoutError) as error:
            raise gone(self.address) from error
        except ModuleNotFoundError as error:
            raise UsageError(
                f"the workers at {self.address} have no {error.name}", hint="install backfill[dask] where they run"
            ) from error
        return made


def _mark(task: ClusterTask) -> str:
    """What tells the tasks of this run from those of others of the same job."""
    record = task.shards.record
    return hashlib.sha256(f"{record.run_id} {record.created_at}".encode()).hexdigest()[:12]


def gone(address: str) -> StoppedError:
    """The error where the scheduler does not answer any more."""
    return StoppedError(
        f"the scheduler at {address} is gone",
        hint="what is prepared is kept: the same command goes on, with any --scheduler or none",
    )


@contextmanager
def connected(address: str, say: Callable[[str], None]) -> Iterator[Cluster]:
    """The cluster of the scheduler at that address, as long as the block.

    Raises:
        UsageError: The address is none, or dask is not installed.
        StoppedError: No scheduler answers there.
    """
    distributed: Any = required("distributed", "dask", "Clusters", made="spoken to")
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # each has a level of its own; what goes wrong is told by us
    try:
        with warnings.catch_warnings(record=True) as found:
            client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise StoppedError(
            f"no scheduler answers at {address}", hint="`dask scheduler` says its address when it starts"
        ) from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"--scheduler {address}: {error}", hint="tcp://HOST:8786, or tls://HOST:8786") from error
    for warning in found:
        say(f"dask: {str(warning.message).strip()}")
    try:
        with client.as_current():
            yield Cluster(distributed, client, address)
    finally:
        client.close(timeout=LOOK_SECONDS)


def prepare_on_cluster(
    job: Job,
    snapshot: Snapshot,
    ledger: RunWriter,
    run: StoredRun,
    context: RunContext,
    *,
    limits: Limits,
    cluster: Cluster,
) -> None:
    """Have the workers prepare what is not prepared yet; the ledger is `prepared` when this returns.

    Raises:
        UsageError: They have another version of backfill.
        StoppedError: The scheduler, or the place of the bytes, is out of reach.
        SourceError: The source is read where it lies, and the workers do not find it there.
        InterruptedRunError: A signal came; what is prepared stands.
    """
    shards = settle_together(job, snapshot, ledger, run, context, limits)
    record = ledger.reader.status().record
    archive = context.store.bytes_at if record.only_new else ""
    if record.only_new and not archive:
        raise bytes_here("the workers reach no archive of delivered ids, which the run leaves out")
    recorded = RecordedShards(ledger, snapshot.rows, run, context)
    count = shard_count(snapshot.rows)
    due = [shard for shard in range(count) if shard not in recorded.done]
    left = [shard for shard in due if shards.find(shard) is None]
    if left:
        workers = counted(cluster.workers, "worker", "workers") if cluster.workers else "workers that are to come"
        context.say(
            f"{job.name}: {counted(len(left), 'shard', 'shards')} of {count:,} for {workers}, {cluster.address}."
        )
    task = ClusterTask(ShardTask(job, shared_of(run), record, limits), archive)
    made = cluster.plans(job.name, task, left, context)
    to_come = set(left)
    for shard in due:
        recorded.record(next(made) if shard in to_come else shards.known(shard))
    complete_plan(job, ledger, recorded, run, context)


def prepare_on_worker(task: ClusterTask, shard: int) -> bytes:
    """A shard as a worker makes it: durable where the run's bytes are, and told to the process that asked."""
    work = _opened(task)
    with work.still():
        return shard_bytes(work.prepare(shard))


_OPENED: Final[dict[str, MachineWork]] = {}
_OPENING: Final = Lock()


def _opened(task: ClusterTask) -> MachineWork:
    """The run on this worker: brought here with its first shard, and in place of the run before."""
    mark = _mark(task)
    with _OPENING:
        if mark not in _OPENED:
            _OPENED.clear()
            here: Any = required("distributed", "dask", "Clusters").get_worker()
            folder, shards = Path(here.local_directory) / f"backfill-{mark}", task.shards
            shared = shards.shared.on(folder)
            delivered = None
            if task.archive:
                store = open_store(folder / "state", SpoolChoice(task.archive))
                delivered = open_delivered_ids(store, shards.record, RunContext(store))
            own = ShardTask(shards.job, shared, shards.record, shards.limits)
            _OPENED[mark] = MachineWork(own, lambda: False, delivered)
        return _OPENED[mark]
