"""Whose duplicate a call is: the records that made the calls whose ids occur more than once, kept to be told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from backfill.arrays import series
from backfill.frozen import frozen
from backfill.mapping import CompiledCall
from backfill.memory import DUPLICATES_AT_ONCE
from backfill.prepare.conflicts import CALLS
from backfill.prepare.rejects import REJECT_TYPES
from backfill.prepare.repeats import CallOrigins, Hashes, Places, Resolution, Sixteen
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Severity, Snapshot

#: A file has fewer records than this, and a source fewer than 2^24 files.
_RECORDS = 1 << 40


def record_number() -> pl.Expr:
    """The file and record of a row as one number."""
    return pl.col(FILE_COLUMN).cast(pl.UInt64) * _RECORDS + pl.col(RECORD_COLUMN).cast(pl.UInt64)


@frozen
class Occurrences:
    """The valid calls of some shard whose ids may occur more than once, in source order: one row of each array."""

    hashes: Hashes
    ids: Sixteen
    digests: Sixteen
    origins: CallOrigins  # place, and `record_number`

    @property
    def places(self) -> Places:
        """Each one's place."""
        return self.origins[:, 0]


class DuplicateRecords:
    """Which records made a duplicate, and which record made the call that it equals. `add` until it is read.

    Each is three numbers: its own record's, the other record's (see `record_number`), and the call's index.
    """

    def __init__(self, path: Path) -> None:
        """They are kept in the file `path`, which is there once there are any."""
        path.unlink(missing_ok=True)
        self._path = path

    def add(self, found: Occurrences, resolutions: npt.NDArray[np.uint8], firsts: CallOrigins) -> None:
        """Take the duplicates of some calls, whose first ones have those origins."""
        is_duplicate = resolutions == Resolution.DUPLICATE
        if is_duplicate.any():
            own, first = found.origins[is_duplicate], firsts[is_duplicate]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(np.column_stack([own[:, 1], first[:, 1], own[:, 0] % CALLS]).data)

    def pages(self, snapshot: Snapshot, calls: Sequence[CompiledCall]) -> Iterator[pl.DataFrame]:
        """Frames of REJECT_COLUMNS, in source order; none where there are none."""
        if not self._path.exists():
            return
        names = pl.Series([file.name for file in snapshot.files], dtype=pl.String)
        scopes = {call.index: call.scope for call in calls}
        rows = np.memmap(self._path, np.uint64, "r").reshape(-1, 3)
        for start in range(0, len(rows), DUPLICATES_AT_ONCE):
            own, first, call = np.array(rows[start : start + DUPLICATES_AT_ONCE]).T
            page = pl.DataFrame({"own": series(own), "first": series(first), "index": series(call)})
            file, first_file = (pl.lit(names).gather(pl.col(name) // _RECORDS) for name in ("own", "first"))
            record = pl.format("record {}", pl.col("first") % _RECORDS)
            where = pl.when(file == first_file).then(record).otherwise(pl.format("{} of {}", record, first_file))
            described = page.with_columns(
                file=file,
                record=pl.col("own") % _RECORDS,
                call=pl.col("index").replace_strict(scopes, return_dtype=pl.String),
                code=pl.lit("duplicate"),
                severity=pl.lit(Severity.WARNING.value),
                message=pl.format("the same call as {} makes, which is sent", where),
            )
            missing = {name: kind for name, kind in REJECT_TYPES.items() if name not in described.columns}
            empty = [pl.lit(0 if kind == pl.UInt64 else None, kind).alias(name) for name, kind in missing.items()]
            yield described.with_columns(empty).select(list(REJECT_TYPES)).cast(REJECT_TYPES)  # type: ignore[arg-type]


def joined(found: list[Occurrences]) -> Occurrences:
    """All of them in source order."""
    nothing = np.empty(0, np.uint64), np.empty((0, 16), np.uint8), np.empty((0, 2), np.uint64)
    order = np.argsort(np.concatenate([nothing[0], *(one.places for one in found)]))
    return Occurrences(
        np.concatenate([nothing[0], *(one.hashes for one in found)])[order],
        np.concatenate([nothing[1], *(one.ids for one in found)])[order],
        np.concatenate([nothing[1], *(one.digests for one in found)])[order],
        np.concatenate([nothing[2], *(one.origins for one in found)])[order],
    )
