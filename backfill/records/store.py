"""Where runs are kept, whatever keeps them: one store of all runs, and of each its ledger, bytes, rejects and ids.

A folder on this machine, or a database that many machines reach (`state.open_store`). Nobody outside of an
implementation knows files or databases by name: what a run has is asked of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from backfill.errors import counted
from backfill.frozen import frozen
from backfill.records.batches import Batch
from backfill.records.delivery import BatchBytes
from backfill.records.ledgers import RunReader, RunWriter
from backfill.records.plan import ShardPlan, ShardSink
from backfill.records.runs import RunRecord

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class RunSpool(ShardSink, BatchBytes, Protocol):
    """The prepared bytes of one run. Thread-safe.

    A shard's files are durable when its writer's `finish` returns, whole or not at all; the ledger learns of it after.
    Files of a shard that no ledger knows count for nothing and are written over.
    """

    def verify(self, shards: Iterable[ShardPlan]) -> None:
        """Compare what is kept of these shards with what the ledger recorded: sizes and SHA-256.

        Raises:
            LedgerError: Something is missing or differs; the message names it.
        """

    def call_records(self, batch: Batch) -> npt.NDArray[np.void]:
        """The CALL_RECORD of each call of a batch, in their order.

        Raises:
            LedgerError: They are missing, or do not fit the batch.
        """

    def calls_of(self, shard: int, sha256: str | None = None) -> bytes:
        """The CALL_RECORD records of a shard, one behind the other.

        Raises:
            LedgerError: They are missing, or their SHA-256 is another than the one given.
        """

    def call_of(self, shard: int, call: int) -> bytes:
        """One CALL_RECORD of a shard, by its place; empty where there is none."""

    def hashes_of(self, shard: int) -> npt.NDArray[np.uint64] | None:
        """The CALL_HASH of each call of a shard; None where they were not kept, or are damaged."""

    def keeps(self, shard: int) -> bool:
        """Whether the batches of a shard are kept still."""

    def remove_segments(self, *, keep: Collection[int] = ()) -> None:
        """Remove the batches' bytes but those of the shards in `keep`, and what crashes left; the calls stay."""


class SharedWork(Protocol):
    """Files by which several processes prepare one run together, each whole and durable where it is there at all."""

    @property
    def folder(self) -> Path:
        """The folder on this machine for copies of them; a file is written there before it is kept."""

    def make_folder(self) -> None:
        """Make that folder where it is not there."""

    def names(self, *, anew: bool = False) -> list[str]:
        """The names of all, sorted; asked `anew`, also of those that another process has kept since."""

    def keep(self, name: str, stopping: Callable[[], bool] = ...) -> None:
        """Share the file of that name in the folder.

        Raises:
            StoppedError: The place is out of reach.
            InterruptedRunError: It was stopped while that was busy.
        """

    def bring(self, name: str) -> Path:
        """The copy of that name, whole: it stays as long as this process.

        Raises:
            LedgerError: There is none of that name, or its bytes are not those that were kept.
            StoppedError: The place is out of reach, or the disk is full.
        """

    def remove(self, names: Collection[str]) -> None:
        """Remove these, and their copies."""


class SharedBytes(Protocol):
    """The bytes of a run where other machines reach them too, and where on this one copies of them lie."""

    @property
    def snapshot(self) -> Path:
        """The folder on this machine of the frozen source."""

    def bring_snapshot(self) -> None:
        """Make the snapshot whole in its folder."""

    def spool(self, stopping: Callable[[], bool]) -> RunSpool:
        """Its prepared bytes."""

    def work(self) -> SharedWork:
        """By what it is prepared together; nothing, once its plan is complete."""

    def apart(self, name: str) -> SharedBytes:
        """The same with copies that no other process of this machine has, if none has that name; the snapshot stays."""

    def on(self, folder: Path) -> SharedBytes:
        """The same with all copies in that folder: for another machine."""

    def forget_copies(self) -> None:
        """Remove the copies on this machine, the snapshot aside."""


class RunRejects(Protocol):
    """The rows of one run that are not sent, each with its reason: Parquet files of REJECT_COLUMNS, kept for good.

    What prepare rejects comes with its shard (ShardWriter.finish); here is what staging and the target refuse.
    """

    def files(self, *, duplicates: bool = False) -> list[Path]:
        """The files as they can be read on this machine: unreadable records, then shard by shard; or of duplicates.

        Of a shard, what the target refused stands before what the rules refused.
        """

    def keep_unreadable(self, file: Path) -> None:
        """Keep a copy of this file, the unreadable records; durable when it returns."""

    def keep_duplicates(self, pages: Iterator[Any]) -> None:
        """Keep which rows made the same call as another one: polars frames of REJECT_COLUMNS; durable on return."""

    def write_refused(self, shards: Iterable[tuple[int, Iterable[Any]]]) -> None:
        """Keep what the target refused of these shards, and of no others; durable when it returns.

        Of each shard there are its polars frames of REJECT_COLUMNS, one after the other.
        """

    def set_aside(self) -> None:
        """Take what the target refused off the list, and keep the rows: its calls are tried again.

        What is set aside already stays as it is: it holds the rows of every later refusal.
        """

    def aside_of(self, shard: int) -> Path | None:
        """The file set aside of a shard; None where there is none."""

    def has_aside(self) -> bool:
        """Whether anything is set aside."""

    def forget_aside(self) -> None:
        """Remove what is set aside."""


@frozen
class ArchivedRun:
    """A run whose delivered ids are in the archive, as far as they were then."""

    run_id: str
    created_at: float  # POSIX seconds; with the id it tells the run from those of the same id before and after it
    calls: int  # whose ids were archived; a run that has delivered more since is archived again


@frozen
class DeliveredPlace:
    """Where a delivered call went."""

    run: ArchivedRun
    shard: int
    call: int  # its index among the shard's CALL_RECORD records


@frozen
class DeliveredCalls:
    """Ids of one shard of a run, in any order."""

    shard: int
    ids: npt.NDArray[np.uint8]  # sixteen bytes a row, as CALL_RECORD has them
    calls: npt.NDArray[np.int64]  # the index of each among the shard's CALL_RECORD records


class DeliveredIds(Protocol):
    """The ids that earlier runs have delivered. Thread-safe."""

    def delivered(self, ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which of the ids (sixteen bytes a row) were delivered."""


class ArchivedIds(DeliveredIds, Protocol):
    """The ids of one archive as it was when this was opened. Thread-safe."""

    @property
    def runs(self) -> tuple[ArchivedRun, ...]:
        """The runs whose ids these are."""

    def find(self, identity: bytes) -> list[DeliveredPlace]:
        """Every place to which the id (its sixteen bytes) was delivered, the latest archived first."""

    def __len__(self) -> int:
        """How many ids; one that was delivered by two runs counts twice."""


class DeliveredArchive(Protocol):
    """The delivered ids of all runs of one job to one target under one scope of ids: an index over their ledgers.

    It outlives the ledgers, and can be made again from them.
    """

    def runs(self) -> tuple[ArchivedRun, ...]:
        """The runs whose ids are in it.

        Raises:
            LedgerError: It is damaged.
        """

    def add(self, run: ArchivedRun, delivered: Iterable[DeliveredCalls]) -> None:
        """Archive a run's delivered ids, durably; `delivered` is not asked for where they are archived already.

        It may be gone through more than once: where another machine archives at the same time.

        Raises:
            LedgerError: The archive is damaged.
            StoppedError: The disk is full.
            InterruptedRunError: It was stopped: nothing was archived.
        """

    def open(self) -> ArchivedIds | None:
        """Its ids, once they have proven whole; None where it holds none.

        Raises:
            LedgerError: It is damaged.
        """

    def forget(self) -> None:
        """Empty it: a sandbox run begins afresh, or the archive is to be made again from the ledgers."""


@frozen
class RunHolder:
    """The process that is at work on a run."""

    pid: int
    host: str = ""  # empty: this machine
    since: float | None = None  # POSIX seconds by the clock of what keeps the run; None: not known
    batches: int | None = None  # how many it has in hand, of one that delivers with others; None: it has the run alone

    def __str__(self) -> str:
        """It, in words for messages."""
        began = "" if self.since is None else datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        place = f" on {self.host}" if self.host else ""
        in_hand = "" if self.batches is None else f", has {counted(self.batches, 'batch', 'batches')}"
        return f"pid {self.pid}{place}{f', since {began}' if began else ''}{in_hand}"


class StoredRun(Protocol):
    """One run in a store; it need not have begun. To ask touches nothing."""

    @property
    def run_id(self) -> str:
        """The run's id; of an earlier one with its number."""

    @property
    def path(self) -> Path:
        """The folder on this machine for what is made on the way, and for what only saves time and may be gone."""

    @property
    def snapshot(self) -> Path:
        """The folder on this machine of the frozen source."""

    @property
    def work(self) -> Path:
        """The folder on this machine for what preparing needs only while it is under way."""

    @property
    def intake(self) -> Path:
        """The folder on this machine for the copy of standard input, which may be made before the run is."""

    @property
    def ledger(self) -> Path | str:
        """Where the ledger is, for people: a file, or a place in a database."""

    @property
    def is_dry(self) -> bool:
        """Whether it is a dry run."""

    @property
    def lost(self) -> bool:
        """Whether its ledger is missing: there are prepared batches."""

    def begun(self) -> bool:
        """Whether there is a run: its ledger is the first thing made, whole or not at all.

        Raises:
            LedgerError: It is lost: to begin afresh would send again what was sent.
        """

    def holders(self) -> Sequence[RunHolder]:
        """The process that took the run's lock last and is there still, as far as is known, or those that share it."""

    def make(self) -> None:
        """Make its folder where it is not there, durably."""

    def create(self, record: RunRecord, *, clock: Callable[[], float] = ...) -> RunWriter:
        """Begin the run, in the state `staging`: its ledger is there whole, or not at all. Hold its lock.

        Raises:
            LedgerError: There is one already.
            StoppedError: The disk is full.
        """

    def open(self, *, clock: Callable[[], float] = ...) -> RunWriter:
        """Its ledger, to be written; `clock` gives POSIX seconds. Hold its lock.

        Raises:
            LedgerError: There is none, it is damaged, or of a version this program does not know.
        """

    def read(self) -> RunReader:
        """Its ledger, to be read, also while another process writes it.

        Raises:
            LedgerError: There is none, it is lost or damaged, or of a version this program does not know.
        """

    @property
    def bytes_at(self) -> str:
        """Where its bytes are shared with other machines, for people; empty where they are on this one alone."""

    @property
    def bytes_here(self) -> int | None:
        """How many more of its prepared bytes may come to stay on this machine; None: all of them."""

    def spool(self, *, stopping: Callable[[], bool] = ...) -> RunSpool:
        """Its prepared bytes; `stopping` ends waiting for a place that is busy while a shard is made durable there.

        Raises:
            LedgerError: It is not known where they are.
        """

    @property
    def shared(self) -> SharedBytes | None:
        """Its bytes where other machines reach them; None where they are on this one alone."""

    def has_snapshot(self) -> bool:
        """Whether it has a snapshot still, on this machine or where that is shared."""

    def keep_snapshot(self, *, stopping: Callable[[], bool] = ...) -> None:
        """Let the snapshot, which is whole in its folder, outlive this machine where the run does.

        Raises:
            StoppedError: Where it is to be is out of reach.
            InterruptedRunError: It was stopped while that was busy.
        """

    def bring_snapshot(self) -> None:
        """Make the snapshot whole in its folder, where it is kept elsewhere; raises as RunSpool does."""

    def free_snapshot(self) -> None:
        """Let what is on this machine of the snapshot go where it is kept elsewhere: it is not read for now."""

    def forget_snapshot(self) -> None:
        """Remove the snapshot for good."""

    def counting_sink(self) -> ShardSink:
        """What stands in the spool's place where nothing is sent: it counts the batches, and keeps the rejects.

        What a dry run leaves need not survive a power cut.
        """

    def rejects(self) -> RunRejects:
        """Its rows that are not sent."""


class RunStore(Protocol):
    """All runs that are kept in one place. Making the object touches nothing."""

    @property
    def path(self) -> Path:
        """The folder on this machine that belongs to it, by which people know it."""

    @property
    def name(self) -> str:
        """The place of the runs as people name it: the folder, or the URL of a database."""

    @property
    def bytes_at(self) -> str:
        """The place where runs that begin share their bytes; empty where they keep them on this machine alone."""

    @property
    def dry_runs(self) -> RunStore:
        """The store of dry runs, which is inside this one: nothing takes them for runs."""

    def make_usable(self) -> bool:
        """Make it usable where it is not, and remove what discarded runs have left; returns whether it is new.

        Raises:
            UsageError: It cannot be there.
            StoppedError: The disk is full, or nothing may be written there any more.
        """

    def look(self) -> str:
        """What keeps the ledgers, in words, found to be usable without a change to it; empty of a folder.

        Raises:
            StoppedError: It cannot be used now.
            UsageError: It can never be.
            LedgerError: It is of a version this program does not know.
        """

    def run(self, run_id: str) -> StoredRun:
        """The run of that id, begun or not."""

    def find(self, job_name: str, target_kind: str, target_identity: str, generation: int) -> StoredRun:
        """The run of that job to that target, begun or not."""

    def runs(self, *, lost: bool = False) -> list[StoredRun]:
        """Every run that has begun, the latest written first.

        With `lost` also those whose ledger is gone, behind all others; without it such a one is a LedgerError.
        """

    def earlier(self, run_id: str | None = None) -> list[StoredRun]:
        """The runs in whose place a later one came (of that id, where given), the oldest first."""

    def lock(self, run_id: str, *, together: bool = False) -> AbstractContextManager[object]:
        """The lock of that run, not taken yet: one process at a time is at work on it, and a dead one on none.

        `together`: it is shared by all that ask for it so, to deliver the run at once, where the store can do that.

        To take it raises LockedError where another process holds it.
        """

    def discard(self, run: StoredRun) -> None:
        """Throw a run away, all of it or nothing: after this returns the run has never been. Hold its lock.

        Only for runs of which nothing was delivered, for sandbox and dry runs: delivered ids are lost with the ledger.
        """

    def put_away(self, run: StoredRun) -> StoredRun:
        """Make room for a later run of the same id; returns this one as it is from now on, for good. Hold its lock."""

    def archive(self, record: RunRecord, *, stopping: Callable[[], bool] = ...) -> DeliveredArchive:
        """The archive to which the delivered ids of such a run belong."""

    def archives(self) -> Iterator[ArchivedIds]:
        """The ids of every archive that can be read."""
