"""From ledgers and calls files to the archive of delivered ids.

The ledgers tell what was delivered; the archive is the index by which that is looked up. It is written when a run makes
room for another, and brought up to date before it is used: most runs are never asked, and pay nothing for it. A process
killed in between, and an archive that was removed, cost nothing but time.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from backfill.errors import LedgerError
from backfill.frozen import frozen
from backfill.records import (
    CALL_RECORD,
    ArchivedIds,
    ArchivedRun,
    CallSpan,
    DeliveredArchive,
    DeliveredCalls,
    RunRecord,
    RunSpool,
    RunStore,
    StoredRun,
)

T = TypeVar("T")
LOG = logging.getLogger(__name__)
_RECORD = np.dtype(CALL_RECORD)


def archive_run(state: RunStore, folder: StoredRun, stopping: Callable[[], bool] = lambda: False) -> None:
    """Archive the ids of the calls that a run has delivered so far; those archived already are not written again.

    Left out of any later plan are also the calls in doubt of which somebody has decided that they are not sent again.

    Raises:
        LedgerError: The run's ledger or a calls file, or the archive, is damaged.
        StoppedError: The disk is full.
        InterruptedRunError: A signal came while another process archived ids.
    """
    with folder.read() as reader:
        settled = reader.settled_spans()
        if not settled:
            return
        record, digests = reader.status().record, reader.calls_digests()
    run = ArchivedRun(record.run_id, record.created_at, sum(calls.calls for calls in settled))
    archive = state.archive(record, stopping=stopping)
    archive.add(run, Afresh(lambda: delivered_calls(settled, folder.spool(), digests)))


@frozen
class Afresh:
    """What can be gone through any number of times, read anew each time."""

    read: Callable[[], Iterator[DeliveredCalls]]

    def __iter__(self) -> Iterator[DeliveredCalls]:
        """From the first on."""
        return self.read()


def delivered_calls(settled: Iterable[CallSpan], spool: RunSpool, digests: dict[int, str]) -> Iterator[DeliveredCalls]:
    """The ids of some calls of a run, shard by shard, from its calls files.

    Raises:
        LedgerError: A calls file is missing or not what was prepared.
    """
    shards: dict[int, list[CallSpan]] = defaultdict(list)
    for calls in settled:
        shards[calls.shard].append(calls)
    for shard, parts in shards.items():
        records = np.frombuffer(spool.calls_of(shard, digests[shard]), _RECORD)
        where = np.concatenate([np.arange(part.first_call, part.first_call + part.calls) for part in parts])
        ids = np.frombuffer(records["id_bytes"][where].tobytes(), np.uint8).reshape(-1, 16)
        yield DeliveredCalls(shard, ids, where)


def open_archive(
    state: RunStore, record: RunRecord, stopping: Callable[[], bool] = lambda: False
) -> ArchivedIds | None:
    """The archive that a run of `record` is to look at, with every run in it that belongs there; None if all is new.

    A damaged archive is made again from the ledgers.

    Raises:
        LedgerError: A ledger or a calls file is damaged; or the archive is, and the ledger of one of its runs is gone.
        StoppedError: The disk is full.
        InterruptedRunError: A signal came.
    """
    return _with_all_runs(state, record, stopping, lambda archive: archive.open())


def archive_all(state: RunStore, record: RunRecord, stopping: Callable[[], bool] = lambda: False) -> None:
    """Archive every run that belongs with `record`, itself included; raises as `open_archive` does."""
    _with_all_runs(state, record, stopping, lambda _: None)


def _with_all_runs(
    state: RunStore, record: RunRecord, stopping: Callable[[], bool], use: Callable[[DeliveredArchive], T]
) -> T:
    archive = state.archive(record, stopping=stopping)
    runs = related_runs(state, record)

    def archived() -> T:
        for _, folder in runs:
            archive_run(state, folder, stopping)
        return use(archive)

    try:
        return archived()
    except LedgerError as error:
        if not rebuildable(archive, [other for other, _ in runs]):
            raise
        LOG.warning("%s: the archive of delivered ids is made again from the ledgers", error.message)
    archive.forget()
    return archived()


def is_archived(state: RunStore, record: RunRecord) -> bool:
    """Whether a run of that id has delivered something, by the archive: its ledger may be gone.

    Raises:
        LedgerError: The archive's manifest is damaged.
    """
    return any(run.run_id == record.run_id for run in state.archive(record).runs())


def related_runs(state: RunStore, record: RunRecord) -> list[tuple[RunRecord, StoredRun]]:
    """Every run of the same job to the same target under the same scope of ids, of any generation, oldest first."""
    found = []
    for folder in [*state.earlier(), *state.runs()]:
        try:
            with folder.read() as reader:
                other = reader.status().record
        except LedgerError:
            if _stem(folder.run_id) == _stem(record.run_id):
                raise  # what it delivered cannot be known
            continue
        if archive_key(other) == archive_key(record):
            found.append((other, folder))
    return sorted(found, key=lambda one: one[0].created_at)


def _stem(run_id: str) -> str:
    """The part of a run's id that all generations of a job to a target have in common."""
    return run_id.rpartition("-g")[0]


def archive_key(record: RunRecord) -> tuple[str, str, str]:
    """What tells the archive of a run."""
    return record.job_name, record.target_identity, record.id_scope


def rebuildable(archive: DeliveredArchive, records: Iterable[RunRecord]) -> bool:
    """Whether all runs of an archive are known to be among these; not where the archive cannot be read."""
    try:
        runs = archive.runs()
    except LedgerError:
        return False
    there = {(record.run_id, record.created_at) for record in records}
    return all((run.run_id, run.created_at) in there for run in runs)
