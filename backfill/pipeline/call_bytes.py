"""The very calls of a plan, by their places: the bytes that were prepared, or made again and proven to be the same.

The spool has them as long as a run keeps it. A dry run keeps none, and a finished run has let them go: then the calls
are made again, by the code that prepares, from the plan's snapshot, or from its source where that is what it was. Of
every call a hash was kept, so that what is made again by another version, or from other rows, is never taken for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.disk import TEMPORARY_FOLDERS
from backfill.errors import BackfillError, JobError, LedgerError, RefusedError
from backfill.job import fingerprint
from backfill.job.load import load_kept_job
from backfill.job.models import Job
from backfill.mapping import CompiledCall, compile_job
from backfill.memory import STAGING_MEMORY_BYTES
from backfill.pipeline.context import RunContext
from backfill.pipeline.fingerprint import file_differences, list_differences
from backfill.pipeline.replay import replayed_again
from backfill.pipeline.snapshot_cache import REPLAYED
from backfill.prepare.evaluate import evaluate
from backfill.prepare.frames import ROW_COLUMN, Frames, snapshot_schema
from backfill.prepare.text_bytes import call_hashes
from backfill.records import (
    CALL_RECORD,
    FILE_COLUMN,
    RECORD_COLUMN,
    Batch,
    RunRecord,
    RunStore,
    ShardPlan,
    Snapshot,
    SourceFile,
    StoredRun,
)
from backfill.sources import load_snapshot, resolve, stage
from backfill.wire import COMMA, HEAD

#: Places of calls in a shard's calls file, ascending, and the JSON of each.
Chunk = tuple[npt.NDArray[np.int64], pl.Series]
_RECORD: Final = np.dtype(CALL_RECORD)
#: Rows nearer to each other than this are read together.
_GAP: Final = 512
_ANY_SIZE: Final = 1 << 30
_GONE = "calls whose bytes are gone are counted still: `backfill status RUN` has their numbers"


class PlanCalls:
    """The calls of a run or dry run whose plan is whole. Close it; used by one thread."""

    def __init__(self, run: StoredRun, context: RunContext) -> None:
        """Open it.

        Raises:
            LedgerError: Its ledger cannot be read, or its plan is not whole.
        """
        with run.read() as reader:
            status, snapshot = reader.status(), reader.snapshot()
            self.shards = reader.shards()
        if status.plan_digest is None or snapshot is None:
            raise LedgerError(f"{run.run_id} has no whole plan", hint="`backfill dry-run JOB` makes one")
        self.run = run
        self.status = status
        self.files = snapshot.files
        self._context = context
        self._spool = run.spool()
        self._again: CallsMadeAgain | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was made on the way."""
        self._open.close()

    def records(self, shard: int) -> npt.NDArray[np.void]:
        """The CALL_RECORD of each call of a shard.

        Raises:
            LedgerError: They were not kept (by an earlier version), or are damaged.
        """
        try:
            kept = self._spool.calls_of(shard, self.shards[shard].calls_sha256)
        except LedgerError:
            if self.run.is_dry:
                message = f"what {self.run.run_id} kept of its calls is missing or damaged"
                raise LedgerError(message, hint="`backfill dry-run JOB` makes the plan again") from None
            raise
        return np.frombuffer(kept, _RECORD)

    def hashes(self, shard: int) -> npt.NDArray[np.uint64] | None:
        """The CALL_HASH of each call of a shard, where they were kept."""
        found = self._spool.hashes_of(shard)
        return found if found is not None and len(found) == len(self.records(shard)) else None

    def texts(self, shard: int, places: npt.NDArray[np.int64]) -> Iterator[Chunk]:
        """The calls at these places (ascending) of a shard, in pieces that memory holds.

        Raises:
            RefusedError: Their bytes are gone, and cannot be made again as they were.
            LedgerError: What was kept is damaged.
            InterruptedRunError: A signal came.
        """
        if self._spool.keeps(shard):
            yield from self._kept(self.shards[shard], places)
        else:
            yield from self.made_again().texts(shard, self.records(shard), self.hashes(shard), places)

    def made_again(self) -> CallsMadeAgain:
        """What makes the calls again, and knows where their rows come from; raises as `texts` does."""
        if self._again is None:
            record = self.status.record
            job = kept_job(record, self.files, self._context.store)
            snapshot = self._snapshot(job)
            self._again = CallsMadeAgain(job, snapshot, record, self._context)
        return self._again

    def _kept(self, plan: ShardPlan, places: npt.NDArray[np.int64]) -> Iterator[Chunk]:
        sizes = self.records(plan.shard)["bytes"].astype(np.int64)
        for planned in plan.batches:
            first, last = np.searchsorted(places, [planned.first_call, planned.first_call + planned.calls])
            if first == last:
                continue
            batch = Batch(
                *(planned.ordinal, plan.shard, planned.calls, planned.bytes, planned.offset, planned.length),
                planned.crc32,
                first_call=planned.first_call,
            )
            plain = self._spool.plain(batch)
            inside = sizes[planned.first_call : planned.first_call + planned.calls]
            starts = len(HEAD) + np.concatenate([[0], np.cumsum(inside[:-1] + COMMA)])
            own = places[first:last]
            at = own - planned.first_call
            cuts = zip(starts[at].tolist(), (starts[at] + inside[at]).tolist(), strict=True)
            yield own, pl.Series("json", [plain[start:end].decode() for start, end in cuts], pl.String)

    def _snapshot(self, job: Job) -> Snapshot:
        """The rows that the plan was made of: as they were kept, or staged again from a source that has not changed."""
        try:
            self.run.bring_snapshot()
            return replace(load_snapshot(self.run.snapshot), files=self.files)
        except LedgerError:
            pass  # it was removed with the run's end, or for a later plan
        folder = self._open.enter_context(TEMPORARY_FOLDERS.opened())
        self._context.say(f"{job.name}: the source is read again, as what was prepared of it is not kept.")
        stopping = self._context.stop.is_set
        files = resolve(job, folder=folder, trusted=self.files, stopping=stopping)
        differences = list(file_differences(self.files, files))
        if differences:
            raise RefusedError(
                f"the calls of {self.run.run_id} cannot be made again: {list_differences(differences)}", hint=_GONE
            )
        return stage(
            job, folder / "snapshot", files=files, memory_bytes=STAGING_MEMORY_BYTES, threads=None, stopping=stopping
        )


def kept_job(record: RunRecord, files: tuple[SourceFile, ...], store: RunStore) -> Job:
    """The job that a plan was made of, as its ledger has it; of a replay with the rejects that it was made of.

    Raises:
        RefusedError: It is none any more.
    """
    data = json.loads(record.job_data)
    digest = data.pop(REPLAYED, None)
    try:
        job = load_kept_job(json.dumps(data), Path(record.job_file))
    except JobError as error:
        raise RefusedError(
            f"the calls of {record.run_id} cannot be made again: this version does not take its job", hint=_GONE
        ) from error
    if digest is not None:
        try:
            job = replayed_again(job, digest, files[0], store)
        except BackfillError as error:
            raise RefusedError(
                f"the calls of {record.run_id} cannot be made again: {error.message}", hint=_GONE
            ) from error
    if fingerprint(job) != record.job_fingerprint:
        raise RefusedError(
            f"the calls of {record.run_id} cannot be made again: a table of a lookup was changed", hint=_GONE
        )
    return job


class CallsMadeAgain:
    """Calls of a plan made again from its rows, each compared with what was kept of it."""

    def __init__(self, job: Job, snapshot: Snapshot, record: RunRecord, context: RunContext) -> None:
        self._record = record
        self._snapshot = snapshot
        self._context = context
        self._frames = Frames(snapshot)
        self._calls: tuple[CompiledCall, ...] = compile_job(
            job,
            snapshot,
            snapshot_schema(snapshot),
            id_scope=record.id_scope,
            library_version=record.library_version,
            now=record.created_at,
        )
        self._columns = list(dict.fromkeys(name for call in self._calls for name in call.reads))

    def texts(
        self,
        shard: int,
        records: npt.NDArray[np.void],
        hashes: npt.NDArray[np.uint64] | None,
        places: npt.NDArray[np.int64],
    ) -> Iterator[Chunk]:
        """The calls at these places of a shard; raises RefusedError where one is not what was planned."""
        begin = self._frames.bounds(shard)[0]
        rows = records["row"][places].astype(np.int64)
        edges = [0, *(np.flatnonzero(np.diff(rows) > _GAP) + 1).tolist(), len(rows)]
        for low, high in pairwise(edges):
            if low == high:
                continue
            first = int(rows[low])
            wanted = pl.DataFrame(
                {
                    "place": places[low:high],
                    "row": (rows[low:high] - first).astype(np.uint32),
                    "call": records["call"][places[low:high]],
                }
            )
            for frame in self._frames.walk_rows(begin + first, begin + int(rows[high - 1]) + 1, self._columns):
                self._context.check_stop()
                if len(own := wanted.filter(pl.col("row").is_in(frame[ROW_COLUMN].implode()))):
                    yield self._made(frame, own, records, hashes)

    def _made(
        self,
        frame: pl.DataFrame,
        wanted: pl.DataFrame,
        records: npt.NDArray[np.void],
        hashes: npt.NDArray[np.uint64] | None,
    ) -> Chunk:
        rows = frame.filter(pl.col(ROW_COLUMN).is_in(wanted["row"].implode()))
        made = pl.concat([evaluate(call, rows, _ANY_SIZE).calls.select("row", "call", "json") for call in self._calls])
        found = wanted.join(made, on=["row", "call"], how="left", maintain_order="left")
        places, texts = found["place"].to_numpy(), found["json"]
        same = not texts.null_count()
        if same and hashes is not None:
            same = bool((call_hashes(texts) == hashes[places]).all())
        elif same:  # of a version that kept none
            same = bool((texts.str.len_bytes().to_numpy() - COMMA == records["bytes"][places]).all())
        if not same:
            versions = f" by backfill {self._record.backfill_version}" if self._record.backfill_version else ""
            raise RefusedError(
                f"the calls of {self._record.run_id} cannot be made again: other bytes come out than were prepared"
                f"{versions}",
                hint=_GONE,
            )
        return places, texts.str.head(-COMMA)

    def rows_of(self, names: Sequence[str], record: int, shard: int) -> npt.NDArray[np.int64]:
        """The rows of a shard, counted from 0 in it, that come of that record of the files of these names."""
        begin, end = self._frames.bounds(shard)
        numbers = [place for place, one in enumerate(self._snapshot.files) if one.name in names]
        frame = self._frames.read(begin, end, (FILE_COLUMN, RECORD_COLUMN))
        found = frame.select(((pl.col(FILE_COLUMN).is_in(numbers)) & (pl.col(RECORD_COLUMN) == record)).alias("is"))
        return np.flatnonzero(found.to_series().to_numpy())
