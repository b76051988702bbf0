"""The sink of a dry run: the batches are weighed and let go; what tells of the calls and of the rejects is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import polars as pl
from isal import isal_zlib

from backfill.disk import PRIVATE_FILE, fill_in_place, out_of_space
from backfill.records import PlannedBatch
from backfill.spool.files import SHA256_OF_NOTHING, Spool, check_calls, fill_rejects


class CountingSink:
    """The dry run's sink: counts what the spool would store; where it has a folder it keeps rejects, ids and hashes.

    The batches are those of a run, crc32 included; only offset and length, which are of the compressed bytes, are 0.
    What it keeps need not survive a power cut.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` takes the rejects and what tells of the calls; None: they are not kept."""
        self._spool = None if folder is None else Spool(folder)

    def open(self, shard: int) -> CountingWriter:
        """A writer for one shard; used by one thread."""
        return CountingWriter(self._spool, shard)


class CountingWriter:
    """Counts the batches of one shard. Used by one thread."""

    def __init__(self, spool: Spool | None, shard: int) -> None:
        self._spool = spool
        self._shard = shard
        self._batches: list[PlannedBatch] = []
        self._calls = 0

    def add(self, plain: memoryview, calls: int) -> None:
        """Count one batch."""
        crc32 = isal_zlib.crc32(plain)
        ordinal = len(self._batches)
        self._batches.append(PlannedBatch(ordinal, calls, plain.nbytes, 0, 0, crc32, first_call=self._calls))
        self._calls += calls

    def finish(
        self, calls: bytes, rejects: Iterable[pl.DataFrame] | None, hashes: bytes = b""
    ) -> tuple[tuple[PlannedBatch, ...], int, str, str]:
        """The batches, no segment bytes, the digest of no bytes, and that of the calls file a run would write."""
        check_calls(calls, self._calls)
        if self._spool is not None:
            with out_of_space(self._spool.folder):
                self._keep(self._spool, calls, rejects, hashes)
        return tuple(self._batches), 0, SHA256_OF_NOTHING, hashlib.sha256(calls).hexdigest()

    def _keep(self, spool: Spool, calls: bytes, rejects: Iterable[pl.DataFrame] | None, hashes: bytes) -> None:
        if rejects is not None:
            fill_in_place(spool.rejects_path(self._shard), partial(fill_rejects, rejects))
        spool.calls_path(self._shard).touch(PRIVATE_FILE)
        spool.calls_path(self._shard).write_bytes(calls)
        spool.keep_hashes(self._shard, hashes)
