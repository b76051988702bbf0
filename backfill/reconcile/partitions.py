"""Records of two sides cut by a hash of their ids into files, of which memory holds one at a time.

The partitioned hash join of GRACE (Kitsuregawa, Tanaka, Moto-oka: Application of hash to data base machine and its
architecture, 1983): equal ids are in partitions of one number. The hash mixes all sixteen bytes, as ids of one day may
begin alike (UUID version 7), or end alike (version 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from backfill.disk import out_of_space
from backfill.memory import RECONCILE_RECORDS

PARTITIONS: Final = 256
#: Both halves of an id, and the column of the hash: odd numbers, which multiply without loss (Fibonacci hashing).
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_ID: Final = [("high", "<u8"), ("low", "<u8")]
#: No instant; no place in a plan.
NO_TIME: Final = np.iinfo(np.int64).min
NO_PLACE: Final = np.iinfo(np.uint64).max
#: A call of a run: its place in the plan (over all shards), its timestamp in ms since 1970, its event, its standing.
CALL: Final = np.dtype([*_ID, ("place", "<u8"), ("time", "<i8"), ("event", "<u4"), ("standing", "<u2")])
#: A row of the other side: its place among its rows, its timestamp, its event, and what FLAGS say.
ROW: Final = np.dtype([*_ID, ("row", "<u8"), ("time", "<i8"), ("event", "<u4"), ("flags", "u1")])
LATE, AS_RECEIVED = 1, 2

Records = npt.NDArray[np.void]


def with_ids(ids: npt.NDArray[np.uint8], dtype: np.dtype[Any], **columns: Any) -> Records:  # noqa: ANN401
    """Records of these ids (sixteen bytes a row) and these columns."""
    found = np.zeros(len(ids), dtype)
    halves = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2)
    found["high"], found["low"] = halves[:, 0], halves[:, 1]
    for name, values in columns.items():
        found[name] = values
    return found


def id_bytes(records: Records) -> npt.NDArray[np.uint8]:
    """The ids of records, sixteen bytes a row."""
    halves = np.stack([records["high"], records["low"]], axis=1).astype(">u8")
    return halves.view(np.uint8).reshape(-1, 16)


class Partitions:
    """One side: `add` all of it, `finish`, then go through it a partition at a time. Used by one thread."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        """In that folder, which is made."""
        folder.mkdir(parents=True)
        self._folder = folder
        self._dtype = dtype
        self._held: list[Records] = []
        self._waiting = 0
        self.count = 0

    def add(self, records: Records) -> None:
        """Take some; raises StoppedError where the disk is full."""
        self._held.append(records)
        self._waiting += len(records)
        self.count += len(records)
        if self._waiting >= RECONCILE_RECORDS:
            self.finish()

    def finish(self) -> None:
        """Write what waits in memory."""
        if not self._waiting:
            return
        records = np.concatenate(self._held)
        self._held, self._waiting = [], 0
        mixed = (records["high"] * _FIRST) ^ (records["low"] * _SECOND)
        numbers = ((mixed * _FIRST) >> np.uint64(56)).astype(np.uint8)
        records = records[np.argsort(numbers, kind="stable")]
        edges = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=PARTITIONS))])
        with out_of_space(self._folder):
            for number in np.flatnonzero(np.diff(edges)).tolist():
                with self._path(number).open("ab") as file:
                    file.write(records[edges[number] : edges[number + 1]].data)

    def whole(self, number: int) -> Records:
        """All records of a partition."""
        return np.concatenate([np.empty(0, self._dtype), *self.pieces(number)])

    def pieces(self, number: int) -> Iterator[Records]:
        """The records of a partition, as many at a time as memory holds: of one id there may be any number."""
        path = self._path(number)
        if not path.exists():
            return
        with path.open("rb") as file:
            while len(piece := np.fromfile(file, self._dtype, RECONCILE_RECORDS)):
                yield piece

    def remove(self, number: int) -> None:
        """Make room on the disk."""
        self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:03d}"
