"""The spool of a run that belongs to no machine: a `Spool` whose folder is the cache of files that are shared.

A shard is written as ever, then each of its files is shared, and only then is it finished: what the ledger learns of is
there for every machine. What is read comes from the folder where it is whole, else it is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.disk import again_where_deleted, not_deleted
from backfill.errors import LedgerError
from backfill.records import Batch, PlannedBatch, ShardPlan
from backfill.shared import SharedFiles
from backfill.spool.files import PREPARE_AGAIN, SegmentWriter, Spool, calls_bytes, check_batches

_Read = TypeVar("_Read")


class SharedSpool:
    """A `RunSpool` whose files every machine reaches. Thread-safe."""

    def __init__(self, files: SharedFiles, stopping: Callable[[], bool] = lambda: False) -> None:
        """`stopping` ends waiting for a place that is busy while a shard is shared."""
        self._files, self._stopping = files, stopping
        self._spool = Spool(files.folder)

    def open(self, shard: int) -> SharedWriter:
        """A writer for one shard; used by one thread."""
        return SharedWriter(self._spool, self._files, shard, self._stopping)

    def deflated(self, batch: Batch) -> bytes:
        """The raw deflate stream of a batch; see `Spool.deflated`."""
        return self._read(self._spool.segment_path(batch.shard), lambda spool: spool.deflated(batch))

    def plain(self, batch: Batch) -> bytes:
        """The plain bytes of a batch; see `Spool.plain`."""
        return self._read(self._spool.segment_path(batch.shard), lambda spool: spool.plain(batch))

    def call_sizes(self, batch: Batch) -> list[int]:
        """The bytes of each call of a batch; see `Spool.call_sizes`."""
        return self._read(self._spool.calls_path(batch.shard), lambda spool: spool.call_sizes(batch))

    def call_records(self, batch: Batch) -> npt.NDArray[np.void]:
        """The CALL_RECORD of each call of a batch; see `Spool.call_records`."""
        return self._read(self._spool.calls_path(batch.shard), lambda spool: spool.call_records(batch))

    def calls_of(self, shard: int, sha256: str | None = None) -> bytes:
        """The CALL_RECORD records of a shard; see `Spool.calls_of`."""
        return self._read(self._spool.calls_path(shard), lambda spool: spool.calls_of(shard, sha256))

    def call_of(self, shard: int, call: int) -> bytes:
        """One CALL_RECORD of a shard, by its place; empty where there is none."""
        path = self._spool.calls_path(shard)
        return self._read(path, lambda spool: spool.call_of(shard, call)) if self._files.has(path.name) else b""

    def hashes_of(self, shard: int) -> npt.NDArray[np.uint64] | None:
        """The CALL_HASH of each call of a shard; None where they were not kept, or are damaged."""
        path = self._spool.hashes_path(shard)
        return self._read(path, lambda spool: spool.hashes_of(shard)) if self._files.has(path.name) else None

    def keeps(self, shard: int) -> bool:
        """Whether the batches of a shard are kept still."""
        return self._files.has(self._spool.segment_path(shard).name)

    def verify(self, shards: Iterable[ShardPlan]) -> None:
        """Compare what is shared of these shards with what the ledger recorded: sizes and SHA-256.

        The bytes themselves are compared with that when they come to this machine, before anything is made of them:
        to fetch all of them now would be to fetch them twice where they are more than the cache holds.

        Raises:
            LedgerError: Something is missing or differs; the message names it.
        """
        for plan in shards:
            segment, calls = self._spool.segment_path(plan.shard), self._spool.calls_path(plan.shard)
            self._verify_file(segment, plan.segment_bytes, plan.segment_sha256)
            self._verify_file(calls, calls_bytes(plan), plan.calls_sha256)
            check_batches(plan, segment.name)

    def _verify_file(self, path: Path, size: int, sha256: str) -> None:
        file = self._files.file(path.name)
        if (file.bytes, file.sha256) != (size, sha256):
            shown = self._files.shown(file)
            raise LedgerError(
                f"{shown} has {file.bytes} bytes and is not what was recorded: {size} bytes of SHA-256 {sha256}",
                hint=PREPARE_AGAIN,
            )

    def remove_segments(self, *, keep: Collection[int] = ()) -> None:
        """Remove the batches' bytes but those of the shards in `keep`, and what crashes left; the calls stay."""
        kept = {self._spool.segment_path(shard).name for shard in keep}
        suffix = self._spool.segment_path(0).suffix
        self._files.remove([name for name in self._files.names() if name.endswith(suffix) and name not in kept])
        self._spool.remove_segments(keep=keep)

    def _read(self, path: Path, read: Callable[[Spool], _Read]) -> _Read:
        """What is read of a file, again where its copy here was damaged or taken away meanwhile."""
        with not_deleted(self._files.folder):
            return again_where_deleted(lambda: self._read_once(path, read))

    def _read_once(self, path: Path, read: Callable[[Spool], _Read]) -> _Read:
        """The same; raises FileNotFoundError where the copy that was fetched anew is gone again."""
        for last in (False, True):
            with self._files.reading(path.name):
                try:
                    return read(self._spool)
                except LedgerError as error:
                    if not self._files.was_damaged(path.name):
                        raise
                    if last:
                        if path.exists():
                            raise
                        raise FileNotFoundError(path) from error
            self._spool = Spool(self._files.folder)  # the one before may have the damaged copy open
        raise AssertionError


class SharedWriter:
    """Writes the files of one shard. Used by one thread; until `finish` returns, nothing of it counts."""

    def __init__(self, spool: Spool, files: SharedFiles, shard: int, stopping: Callable[[], bool]) -> None:
        self._files, self._stopping = files, stopping
        self._paths = [
            path(shard) for path in (spool.calls_path, spool.hashes_path, spool.rejects_path, spool.segment_path)
        ]
        with not_deleted(files.folder):
            self._writer: SegmentWriter = again_where_deleted(lambda: self._opened(spool, shard))
        self.add = self._writer.add

    def _opened(self, spool: Spool, shard: int) -> SegmentWriter:
        self._files.make_folder()
        return spool.open(shard)

    def finish(
        self, calls: bytes, rejects: Iterable[pl.DataFrame] | None, hashes: bytes = b""
    ) -> tuple[tuple[PlannedBatch, ...], int, str, str]:
        """Make segment, calls file and rejects durable where they are shared; see `records.ShardWriter`.

        Raises:
            StoppedError: The disk is full, the place is out of reach, or the folder was removed meanwhile.
            InterruptedRunError: It was stopped while the place was busy.
        """
        with self._files.writing(*(path.name for path in self._paths)), not_deleted(self._files.folder):
            finished = self._writer.finish(calls, rejects, hashes)
            here = [path.name for path in self._paths if path.exists()]
            self._files.remove([path.name for path in self._paths if path.name not in here])
            for name in here:
                self._files.keep(name, self._stopping)
        return finished
