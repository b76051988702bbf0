"""From ledgers and calls files to the archive of delivered ids.

The ledgers tell what was delivered; the archive is the index by which that is looked up. It is written when a run makes
room for another, and brought up to date before it is used: most runs are never asked, and pay nothing for it. A process
killed in between, and an archive that was removed, cost nothing but time.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from backfill.archive import Archive, ArchivedRun, ArchiveReader, Piece
from backfill.archive.columns import piece_of
from backfill.errors import LedgerError
from backfill.ledger import CallReader
from backfill.records import CALL_RECORD, Calls, RunRecord
from backfill.spool import Spool
from backfill.state import RunFolder, StateFolder

T = TypeVar("T")
LOG = logging.getLogger(__name__)
_RECORD = np.dtype(CALL_RECORD)


def archive_of(state: StateFolder, record: RunRecord, cancelled: Callable[[], bool] = lambda: False) -> Archive:
    """The archive to which a run's delivered ids belong."""
    return Archive(state.path, record.job_name, record.target_identity, record.id_scope, cancelled=cancelled)


def archive_run(state: StateFolder, folder: RunFolder, cancelled: Callable[[], bool] = lambda: False) -> None:
    """Archive the ids of the calls that a run has delivered so far; those archived already are not written again.

    Left out of any later plan are also the calls in doubt of which somebody has decided that they are not sent again.

    Raises:
        LedgerError: The run's ledger or a calls file, or the archive, is damaged.
        StoppedError: The disk is full.
        InterruptedRunError: A signal came while another process archived ids.
    """
    with CallReader(folder.ledger) as reader:
        settled = reader.settled()
        if not settled:
            return
        record, digests = reader.status().record, reader.calls_digests()
    run = ArchivedRun(record.run_id, record.created_at, sum(calls.calls for calls in settled))
    archive = archive_of(state, record, cancelled)
    archive.add(run, lambda number: pieces(settled, folder, digests, number))


def pieces(settled: Iterable[Calls], folder: RunFolder, digests: dict[int, str], run: int) -> Iterator[Piece]:
    """The ids of some calls of a run, shard by shard, from its calls files.

    Raises:
        LedgerError: A calls file is missing or not what was prepared.
    """
    shards: dict[int, list[Calls]] = defaultdict(list)
    for calls in settled:
        shards[calls.shard].append(calls)
    spool = Spool(folder.spool)
    for shard, parts in shards.items():
        path = spool.calls_path(shard)
        try:
            plain = path.read_bytes()
        except FileNotFoundError:
            plain = b""
        if hashlib.sha256(plain).hexdigest() != digests[shard]:
            raise LedgerError(
                f"{path} is missing or damaged: it tells which ids were delivered",
                hint="put it back from a copy; a new run needs a higher generation, and sends all again",
            )
        records = np.frombuffer(plain, _RECORD)
        where = np.concatenate([np.arange(part.first_call, part.first_call + part.calls) for part in parts])
        ids = np.frombuffer(records["message_key"][where].tobytes(), np.uint8).reshape(-1, 16)
        yield piece_of(ids, run=run, shard=shard, calls=where)


def brought_up(
    state: StateFolder, record: RunRecord, cancelled: Callable[[], bool] = lambda: False
) -> ArchiveReader | None:
    """The archive that a run of `record` is to look at, with every run in it that belongs there; None if all is new.

    A damaged archive is made again from the ledgers.

    Raises:
        LedgerError: A ledger or a calls file is damaged; or the archive is, and the ledger of one of its runs is gone.
        StoppedError: The disk is full.
        InterruptedRunError: A signal came.
    """
    return _with_all_runs(state, record, cancelled, lambda archive: archive.open())


def archive_all(state: StateFolder, record: RunRecord, cancelled: Callable[[], bool] = lambda: False) -> None:
    """Archive every run that belongs with `record`, itself included; raises as `brought_up` does."""
    _with_all_runs(state, record, cancelled, lambda _: None)


def _with_all_runs(
    state: StateFolder, record: RunRecord, cancelled: Callable[[], bool], use: Callable[[Archive], T]
) -> T:
    archive = archive_of(state, record, cancelled)
    runs = related(state, record)

    def archived() -> T:
        for _, folder in runs:
            archive_run(state, folder, cancelled)
        return use(archive)

    try:
        return archived()
    except LedgerError as error:
        if not rebuildable(archive, [other for other, _ in runs]):
            raise
        LOG.warning("%s: the archive of delivered ids is made again from the ledgers", error.message)
    archive.forget()
    return archived()


def was_archived(state: StateFolder, record: RunRecord) -> bool:
    """Whether a run of that id has delivered something, by the archive: its ledger may be gone.

    Raises:
        LedgerError: The archive's manifest is damaged.
    """
    return any(run.run_id == record.run_id for run in archive_of(state, record).manifest().runs)


def related(state: StateFolder, record: RunRecord) -> list[tuple[RunRecord, RunFolder]]:
    """Every run of the same job to the same target under the same scope of ids, of any generation, oldest first."""
    found = []
    for folder in [*state.earlier(), *state.runs()]:
        try:
            with CallReader(folder.ledger) as reader:
                other = reader.status().record
        except LedgerError:
            if _stem(folder.run_id) == _stem(record.run_id):
                raise  # what it delivered cannot be known
            continue
        if belongs(other) == belongs(record):
            found.append((other, folder))
    return sorted(found, key=lambda one: one[0].created_at)


def _stem(run_id: str) -> str:
    """The part of a run's id that all generations of a job to a target have in common."""
    return run_id.rpartition("-g")[0]


def belongs(record: RunRecord) -> tuple[str, str, str]:
    """What tells the archive of a run."""
    return record.job_name, record.target_identity, record.id_scope


def rebuildable(archive: Archive, records: Iterable[RunRecord]) -> bool:
    """Whether all runs of an archive are among these; where its manifest cannot be read, nobody knows."""
    try:
        runs = archive.manifest().runs
    except LedgerError:
        return False
    there = {(record.run_id, record.created_at) for record in records}
    return all((run.run_id, run.created_at) in there for run in runs)
