"""Calls that the target refused: kept with their rows before the snapshot and the prepared bytes are removed."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path

import numpy as np
import polars as pl

from backfill.disk import out_of_space
from backfill.ledger import LedgerReader, RefusedBatch
from backfill.limits import ENVELOPE_HEAD
from backfill.prepare.frames import Frames
from backfill.prepare.rejects import originals
from backfill.records import (
    CALL_RECORD,
    REJECT_COLUMNS,
    Severity,
    Snapshot,
)
from backfill.spool import Spool

__all__ = ["SUFFIX", "RefusedBatch", "keep_refused", "refused_batches", "refused_calls"]

SUFFIX = ".refused.parquet"
#: How every call begins, see prepare.
MESSAGE_ID = re.compile(rb'\{"type":"[a-z]+","messageId":("(?:[^"\\]|\\.)*")')


def refused_batches(ledger: Path) -> list[RefusedBatch]:
    """Every batch that the target refused, in plan order.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    with LedgerReader(ledger) as reader:
        return reader.refused()


def keep_refused(refused: list[RefusedBatch], snapshot: Snapshot, spool: Spool, scopes: list[str]) -> None:
    """Write the refused calls of each shard beside its other rejects, with their rows' original columns.

    `scopes` are the labels or types of the job's calls. Writing them again gives the same.

    Raises:
        LedgerError: A batch is no longer what was prepared.
        StoppedError: The disk is full.
    """
    frames = Frames(snapshot)
    for shard, batches in groupby(refused, key=lambda one: one.batch.shard):
        parts = [refused_calls(one, snapshot, frames, spool, scopes) for one in batches]
        with out_of_space(spool.folder):
            pl.concat(parts).write_parquet(spool.folder / f"{shard:06d}{SUFFIX}")


def refused_calls(
    refused: RefusedBatch, snapshot: Snapshot, frames: Frames, spool: Spool, scopes: list[str]
) -> pl.DataFrame:
    """One batch's calls as rejects (REJECT_COLUMNS)."""
    batch = refused.batch
    records = np.fromfile(
        spool.calls_path(batch.shard),
        CALL_RECORD,
        batch.calls,
        offset=batch.first_call * np.dtype(CALL_RECORD).itemsize,
    )
    ids = message_ids(spool.plain(batch), records["bytes"])
    calls = pl.DataFrame(
        {
            "row": records["row"].astype(np.uint32),
            "call": [scopes[index] for index in records["call"]],
            "message_id": ids,
        }
    )
    constants = {
        "line": pl.lit(0, pl.UInt64),
        "code": pl.lit(f"HTTP{refused.status}"),
        "severity": pl.lit(Severity.ERROR.value),
        "column": pl.lit(""),
        "value": pl.lit(""),
        "message": pl.lit(f"refused by the target: {refused.detail}"),
    }
    rows = originals(calls["row"].unique(), batch.shard, snapshot, frames)
    return (
        calls.join(rows, on="row", how="left", maintain_order="left").with_columns(**constants).select(REJECT_COLUMNS)
    )


def message_ids(plain: bytes, sizes: np.ndarray) -> list[str]:
    """The message id of each call of a batch; read without parsing the calls, as a target may refuse them for that."""
    ids, start = [], len(ENVELOPE_HEAD)
    for size in sizes.tolist():
        found = MESSAGE_ID.match(plain, start)
        ids.append(json.loads(found[1]) if found else "")
        start += size + 1  # and the comma
    return ids
