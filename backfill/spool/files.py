"""The spool: the exact bytes of every batch on disk before the first of them is sent.

Files of one shard, all in one folder and named by its number:

- `000000.segment`: the batches one after the other, each a raw deflate stream that ends with a sync flush (RFC 1951),
  so that each can be read, inflated and wrapped into a gzip body (`wire.gzip_body`) alone. Removed once delivered.
- `000000.calls`: one record of `records.CALL_RECORD` for each call, in the order of the batches. Kept.
- `000000.hashes`: `records.CALL_HASH` of each call, in that order, and a checksum of them. Kept; what loses them can
  only not be compared.
- `000000.rejects.parquet`: the problems of the shard with the rows' original columns; absent where it has none. Kept.

All but the hashes are written aside, forced to the disk and renamed; the caller then records the shard in the ledger.
Files that the ledger does not know are leftovers of a crash and are overwritten.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from isal import isal_zlib

from backfill.disk import (
    PRIVATE_FILE,
    aside,
    close_writer,
    fill_durably,
    make_folder,
    out_of_space,
    sync_folder,
    write_durably,
)
from backfill.errors import LedgerError
from backfill.records import CALL_HASH, CALL_RECORD, CALL_RECORD_BYTES, Batch, PlannedBatch, ShardPlan
from backfill.wire import cut_part, last_call_end, plain_bytes

SHA256_OF_NOTHING = hashlib.sha256().hexdigest()
#: Threads that read and hash what was prepared: hashing lets the others run meanwhile.
VERIFYING_THREADS = 4
_CHECK_BYTES = 4
_RAW_DEFLATE = -15  # window bits of a stream without header and trailer
PREPARE_AGAIN = "these bytes cannot be trusted; abandon the run and prepare it again"


class Spool:
    """The spool folder of one run: a `ShardSink` for prepare and the `BatchBytes` of deliver. Thread-safe."""

    def __init__(self, folder: Path, *, level: int = 1) -> None:
        """`level` is ISA-L's, 0 to 3: 1 costs 0.46 CPU seconds a 405 MB, and makes a fifth of them."""
        self.folder = folder
        self._level = level
        self._segment: _Segment | None = None
        make_folder(folder)

    def segment_path(self, shard: int) -> Path:
        """Where the batches of a shard are (or were, once delivered)."""
        return self.folder / f"{shard:06d}.segment"

    def calls_path(self, shard: int) -> Path:
        """Where the CALL_RECORD records of a shard are."""
        return self.folder / f"{shard:06d}.calls"

    def rejects_path(self, shard: int) -> Path:
        """Where the problems of a shard are; there is no such file where it has none."""
        return self.folder / f"{shard:06d}.rejects.parquet"

    def hashes_path(self, shard: int) -> Path:
        """Where the hashes of the calls of a shard are, if they are there still."""
        return self.folder / f"{shard:06d}.hashes"

    def hashes_of(self, shard: int) -> npt.NDArray[np.uint64] | None:
        """The CALL_HASH of each call of a shard; None where they were not kept, or are damaged."""
        try:
            kept = self.hashes_path(shard).read_bytes()
        except FileNotFoundError:
            return None
        content, check = kept[:-_CHECK_BYTES], kept[-_CHECK_BYTES:]
        return np.frombuffer(content, CALL_HASH) if _check_of(content) == check else None

    def keep_hashes(self, shard: int, hashes: bytes) -> None:
        """Keep the hashes of the calls of a shard, where it has any; no power cut has to leave them there."""
        path = self.hashes_path(shard)
        if not hashes:
            path.unlink(missing_ok=True)
            return
        path.touch(PRIVATE_FILE)
        path.write_bytes(hashes + _check_of(hashes))

    def keeps(self, shard: int) -> bool:
        """Whether the batches of a shard are kept still."""
        return self.segment_path(shard).exists()

    def open(self, shard: int) -> SegmentWriter:
        """A writer for one shard; used by one thread. It overwrites what an interrupted one left."""
        return SegmentWriter(self, shard, self._level)

    def deflated(self, batch: Batch) -> bytes:
        """The raw deflate stream of a batch, as it stands in the segment: its length is checked, its content not.

        A part of a planned batch has no stream of its own there: its plain bytes are checked and compressed anew.

        Raises:
            LedgerError: The segment is missing or too short, or the bytes of a part differ from those prepared.
        """
        return self._stream(batch) if batch.start is None else raw_deflate(self.plain(batch), self._level)

    def _stream(self, batch: Batch) -> bytes:
        path = self.segment_path(batch.shard)
        segment = self._segment
        if segment is None or segment.path != path:
            segment = self._segment = _Segment(path)  # of two threads at a border between shards each may take its own
        stream = segment.read(batch.length, batch.offset)
        if len(stream) != batch.length:
            raise LedgerError(f"{path} ends before batch {batch.id} does", hint=PREPARE_AGAIN)
        return stream

    def plain(self, batch: Batch) -> bytes:
        """The plain bytes of a batch (see `PlannedBatch`).

        Raises:
            LedgerError: The segment is missing or too short, or the bytes differ from those prepared.
        """
        stream = self._stream(batch)
        # One byte more than there should be is enough to see that there is more; of a part nothing behind it is needed.
        most = batch.bytes + 1 if batch.start is None else last_call_end(batch)
        try:
            plain = isal_zlib.decompressobj(wbits=_RAW_DEFLATE).decompress(stream, most)
        except isal_zlib.IsalError:  # type: ignore[misc] # its stub takes the class for an instance
            plain = b""
        if batch.start is not None:
            plain = cut_part(plain, batch)
        if len(plain) != batch.bytes or isal_zlib.crc32(plain) != batch.crc32:
            path = self.segment_path(batch.shard)
            raise LedgerError(f"{path}: batch {batch.id} is not what was prepared", hint=PREPARE_AGAIN)
        return plain

    def call_sizes(self, batch: Batch) -> list[int]:
        """The bytes of each call of a batch, in their order, without the commas.

        Raises:
            LedgerError: The calls file is missing or too short, or does not fit the batch.
        """
        sizes: list[int] = self.call_records(batch)["bytes"].tolist()
        return sizes

    def call_records(self, batch: Batch) -> npt.NDArray[np.void]:
        """The CALL_RECORD of each call of a batch, in their order.

        Raises:
            LedgerError: The calls file is missing or too short, or does not fit the batch.
        """
        path = self.calls_path(batch.shard)
        try:
            records = np.fromfile(path, CALL_RECORD, batch.calls, offset=CALL_RECORD_BYTES * batch.first_call)
        except FileNotFoundError:
            raise LedgerError(f"{path} is missing", hint=PREPARE_AGAIN) from None
        if len(records) != batch.calls or plain_bytes(batch.calls, int(records["bytes"].sum())) != batch.bytes:
            raise LedgerError(f"{path} does not fit batch {batch.id}", hint=PREPARE_AGAIN)
        return records

    def calls_of(self, shard: int, sha256: str | None = None) -> bytes:
        """The CALL_RECORD records of a shard, one behind the other.

        Raises:
            LedgerError: The calls file is missing, or its SHA-256 is another than the one given.
        """
        path = self.calls_path(shard)
        try:
            records = path.read_bytes()
        except FileNotFoundError:
            records = None
        if records is None or (sha256 is not None and hashlib.sha256(records).hexdigest() != sha256):
            raise LedgerError(
                f"{path} is missing or damaged: it tells which ids were delivered",
                hint="put it back from a copy; a new run needs a higher generation, and sends all again",
            )
        return records

    def call_of(self, shard: int, call: int) -> bytes:
        """One CALL_RECORD of a shard, by its place; empty where there is none."""
        try:
            with self.calls_path(shard).open("rb") as file:
                file.seek(call * CALL_RECORD_BYTES)
                return file.read(CALL_RECORD_BYTES)
        except FileNotFoundError:
            return b""

    def verify(self, shards: Iterable[ShardPlan]) -> None:
        """Compare the files of these shards with what the ledger recorded: sizes and SHA-256.

        Raises:
            LedgerError: One is missing or differs; the message names it.
        """
        with ThreadPoolExecutor(VERIFYING_THREADS, thread_name_prefix="verify") as pool:
            for _ in pool.map(self._verify_shard, shards):
                pass  # the first error is raised here

    def _verify_shard(self, plan: ShardPlan) -> None:
        for path, size, digest in (
            (self.segment_path(plan.shard), plan.segment_bytes, plan.segment_sha256),
            (self.calls_path(plan.shard), calls_bytes(plan), plan.calls_sha256),
        ):
            _verify_file(path, size, digest)
        check_batches(plan, self.segment_path(plan.shard))

    def remove_segments(self, *, keep: Collection[int] = ()) -> None:
        """Remove the segments but those of the shards in `keep`, and what crashes left behind.

        The calls and rejects files stay.
        """
        kept = {self.segment_path(shard) for shard in keep}
        for pattern in ("*.segment", aside(Path("*")).name):
            for path in self.folder.glob(pattern):
                if path not in kept:
                    path.unlink(missing_ok=True)
        sync_folder(self.folder)


def raw_deflate(plain: bytes | memoryview, level: int) -> bytes:
    """A raw deflate stream of these bytes that ends with a sync flush."""
    compressor = isal_zlib.compressobj(level=level, wbits=_RAW_DEFLATE)
    return bytes(compressor.compress(plain) + compressor.flush(isal_zlib.Z_SYNC_FLUSH))


class _Segment:
    """A segment that is read; closed with the last reference to it. Thread-safe.

    One stays open, since batches come in the order of the shards: opening it for each costs delivery 8% of its CPU, for
    at each system call senders wait for each other in Python.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise LedgerError(f"{path} is missing: it holds batches not delivered yet", hint=PREPARE_AGAIN) from None
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, length: int, offset: int) -> bytes:
        """That many bytes from there, or fewer where the file ends."""
        return os.pread(self._descriptor, length, offset)


class SegmentWriter:
    """Writes the files of one shard. Used by one thread; until `finish` returns, nothing of it counts."""

    def __init__(self, spool: Spool, shard: int, level: int) -> None:
        self._spool = spool
        self._shard = shard
        self._level = level
        self._path = spool.segment_path(shard)
        self._aside = aside(self._path)
        self._batches: list[PlannedBatch] = []
        self._calls = 0
        self._offset = 0
        self._digest = hashlib.sha256()
        self._descriptor = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        # A writer that is dropped before it finished (prepare was interrupted) leaves no open file behind.
        self._close = weakref.finalize(self, os.close, self._descriptor)

    def add(self, plain: memoryview, calls: int) -> None:
        """Compress and append one batch.

        Raises:
            StoppedError: The disk is full.
        """
        stream = raw_deflate(plain, self._level)
        with out_of_space(self._spool.folder):
            _write_all(self._descriptor, stream)
        self._digest.update(stream)
        self._batches.append(
            PlannedBatch(
                ordinal=len(self._batches),
                calls=calls,
                bytes=plain.nbytes,
                offset=self._offset,
                length=len(stream),
                crc32=isal_zlib.crc32(plain),
                first_call=self._calls,
            )
        )
        self._offset += len(stream)
        self._calls += calls

    def finish(
        self, calls: bytes, rejects: Iterable[pl.DataFrame] | None, hashes: bytes = b""
    ) -> tuple[tuple[PlannedBatch, ...], int, str, str]:
        """Make segment, calls file and rejects durable; see `records.ShardWriter`.

        Raises:
            StoppedError: The disk is full.
        """
        check_calls(calls, self._calls)
        with out_of_space(self._spool.folder):
            os.fsync(self._descriptor)
        self._close()
        self._aside.replace(self._path)
        write_durably(self._spool.calls_path(self._shard), calls)
        if rejects is None:
            self._spool.rejects_path(self._shard).unlink(missing_ok=True)  # an interrupted attempt saw another rule
        else:
            fill_durably(self._spool.rejects_path(self._shard), partial(fill_rejects, rejects))
        with out_of_space(self._spool.folder):
            self._spool.keep_hashes(self._shard, hashes)
        sync_folder(self._spool.folder)
        return tuple(self._batches), self._offset, self._digest.hexdigest(), hashlib.sha256(calls).hexdigest()


def fill_rejects(pages: Iterable[pl.DataFrame], path: Path) -> None:
    """Write frames of rejects (one at least) to a Parquet file, one after the other, so that one is held at a time."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415 (most runs have no rejects)

    writer = None
    try:
        for page in pages:
            table = page.to_arrow(compat_level=pl.CompatLevel.oldest())
            del page
            if writer is None:
                names = [name for name in table.schema.names if name != "original"]
                options = {"use_dictionary": names, "write_statistics": False}  # either would copy the longest texts
                writer = pq.ParquetWriter(path, table.schema, compression="zstd", **options)
            writer.write_table(table)
            del table  # one is held at a time
    finally:
        if writer is not None:
            close_writer(writer, path)


def calls_bytes(plan: ShardPlan) -> int:
    """The size of the calls file of a shard."""
    return CALL_RECORD_BYTES * sum(batch.calls for batch in plan.batches)


def check_batches(plan: ShardPlan, segment: object) -> None:
    """Raise LedgerError where the batches do not lie one behind the other in the segment, which the message names."""
    ends = [0, *accumulate(batch.length for batch in plan.batches)]
    if ends[:-1] != [batch.offset for batch in plan.batches] or ends[-1] != plan.segment_bytes:
        raise LedgerError(f"{segment} does not hold the batches of the plan, one behind the other", hint=PREPARE_AGAIN)


def _check_of(content: bytes) -> bytes:
    """The checksum behind the hashes of a shard."""
    return isal_zlib.crc32(content).to_bytes(_CHECK_BYTES, "little")


def check_calls(calls: bytes, expected: int) -> None:
    """A calls file out of step with its batches would put a wrong id to every later call: refuse it here."""
    if len(calls) != CALL_RECORD_BYTES * expected:
        raise ValueError(f"{len(calls)} bytes of call records for {expected} calls of {CALL_RECORD_BYTES} bytes")


def _write_all(descriptor: int, content: bytes) -> None:
    """Write all of it: one write(2) may take less, near the end of a disk above all."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _verify_file(path: Path, size: int, sha256: str) -> None:
    """Raise LedgerError where a spool file is missing or has another size or digest."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise LedgerError(f"{path} is missing", hint=PREPARE_AGAIN) from None
    if found != size:
        raise LedgerError(f"{path} has {found} bytes, {size} were recorded", hint=PREPARE_AGAIN)
    if digest != sha256:
        raise LedgerError(f"{path} is damaged: its SHA-256 is not the recorded one", hint=PREPARE_AGAIN)
