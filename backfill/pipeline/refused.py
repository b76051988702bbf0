"""Calls that the target refused: kept with their rows before the snapshot and the prepared bytes are removed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import polars as pl

from backfill.errors import LedgerError, counted
from backfill.prepare.frames import Frames
from backfill.prepare.rejects import with_originals
from backfill.records import (
    REJECT_COLUMNS,
    RefusedBatch,
    RunRejects,
    RunSpool,
    RunWriter,
    Severity,
    Snapshot,
    StoredRun,
)
from backfill.sources import load_snapshot, unchanged
from backfill.wire import message_ids

__all__ = [
    "NOTHING_REFUSED",
    "RefusedBatch",
    "keep_refused",
    "list_refused",
    "refused_batches",
    "retry_refused",
]

LOG = logging.getLogger(__name__)
NOTHING_REFUSED = "The target has refused no call: there is nothing to try again."


def refused_batches(run: StoredRun) -> list[RefusedBatch]:
    """Every batch that the target refused, in plan order.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    with run.read() as reader:
        return reader.refused()


def retry_refused(ledger: RunWriter, rejects: RunRejects, say: Callable[[str], None]) -> None:
    """Plan again what the target refused, also in a finished run, and take it off the rejects."""
    calls = ledger.retry_rejected()
    if calls:
        rejects.set_aside()
    again = "call that the target refused is", "calls that the target refused are"
    say(f"{counted(calls, *again)} tried again." if calls else NOTHING_REFUSED)


def list_refused(ledger: RunWriter, run: StoredRun) -> None:
    """List what the target has refused so far among the rejects, and nothing that was delivered after all.

    Where the rows are no longer there (a source read in place was changed since), the calls are listed without them.

    Raises:
        LedgerError: The bytes are no longer there, or not what was prepared.
        StoppedError: The disk is full.
    """
    refused = ledger.reader.refused()
    snapshot = None
    if refused and run.has_snapshot():
        try:
            run.bring_snapshot()
            snapshot = load_snapshot(run.snapshot)
        except LedgerError as error:
            LOG.warning("the rows of refused calls cannot be kept: %s", error.message)
        if snapshot is not None and snapshot.in_place and not all(map(unchanged, snapshot.files)):
            snapshot = None
            LOG.warning("the rows of refused calls cannot be kept: the source was changed since")
    keep_refused(refused, snapshot, run.spool(), run.rejects(), call_scopes(ledger))


def call_scopes(ledger: RunWriter) -> list[str]:
    """The label or type of each of the job's calls, as the ledger has the job."""
    return [call.scope for call in ledger.reader.status().record.facts.calls]


def keep_refused(
    refused: Sequence[RefusedBatch],
    snapshot: Snapshot | None,
    spool: RunSpool,
    rejects: RunRejects,
    scopes: Sequence[str],
) -> None:
    """Keep the refused calls of each shard with its other rejects, with their rows' original columns, and no others.

    `scopes` are the labels or types of the job's calls. Writing them again gives the same. Without a snapshot the rows
    are those set aside when the calls were refused before, as far as there are.

    Raises:
        LedgerError: A batch is no longer what was prepared.
        StoppedError: The disk is full.
    """
    if snapshot is None:
        rejects.set_aside()
    frames = None if snapshot is None else Frames(snapshot)

    def pages_of(shard: int, batches: Sequence[RefusedBatch]) -> Iterator[pl.DataFrame]:
        calls = refused_calls(batches, spool, scopes)
        if snapshot is None or frames is None:
            kept = read_kept_rows(rejects, shard)
            calls = calls.drop("row").join(kept, on=["call", "message_id"], how="left", maintain_order="left")
            pages = iter([calls.with_columns(pl.col("file").fill_null(""), pl.col("record").fill_null(0))])
        else:
            pages = with_originals(calls, shard, snapshot, frames)
        return (page.select(REJECT_COLUMNS) for page in pages)

    shards = groupby(refused, key=lambda one: one.batch.shard)
    rejects.write_refused((shard, pages_of(shard, list(batches))) for shard, batches in shards)


def read_kept_rows(rejects: RunRejects, shard: int) -> pl.DataFrame:
    """The rows of a shard's calls that were refused before: call, message_id, file, record, original."""
    path = rejects.aside_of(shard)
    if path is not None:
        return pl.read_parquet(path, glob=False, columns=["call", "message_id", "file", "record", "original"])
    texts = dict.fromkeys(("call", "message_id", "file", "original"), pl.String)
    return pl.DataFrame(schema={**texts, "record": pl.UInt64})


def refused_calls(refused: Sequence[RefusedBatch], spool: RunSpool, scopes: Sequence[str]) -> pl.DataFrame:
    """The calls of some batches of one shard, each with what the target said: REJECT_COLUMNS without those of its row.

    `row` is the number of the row in the shard.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("row", "call", "message_id", "code", "message")}
    for one in refused:
        records = spool.call_records(one.batch)
        columns["row"] += records["row"].tolist()
        columns["call"] += [scopes[index] for index in records["call"]]
        columns["message_id"] += message_ids(spool.plain(one.batch), records["bytes"].tolist())
        columns["code"] += [f"HTTP{one.status}"] * one.batch.calls
        columns["message"] += [f"refused by the target: {one.detail}"] * one.batch.calls
    return pl.DataFrame(columns, schema_overrides={"row": pl.UInt32}).with_columns(
        pl.lit(0, pl.UInt64).alias("line"),
        pl.lit(Severity.ERROR.value).alias("severity"),
        pl.lit("").alias("column"),
        pl.lit("").alias("value"),
    )
