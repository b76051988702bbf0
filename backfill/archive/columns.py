"""Sixteen-byte ids on disk, sorted, in columns: an id's high and low eight bytes, and the place its call went to.

Columns, because numpy bisects 64-bit numbers three times as fast as sixteen-byte strings, and because whoever asks only
whether an id is there need not touch the places. High and low are the big-endian values of the id's halves, stored in
little-endian order, so that the order of the numbers is that of the bytes.

More records than memory holds are sorted in pieces on disk, then merged in one pass over all of them side by side.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from backfill.disk import PRIVATE_FILE, PRIVATE_FOLDER, out_of_space
from backfill.errors import InterruptedRunError
from backfill.frozen import frozen
from backfill.memory import MEMORY_RECORDS

Numbers = npt.NDArray[np.uint64]
#: Sixteen bytes a row.
Sixteen = npt.NDArray[np.uint8]

NUMBER: Final = np.dtype("<u8")
#: Where a call went: the run's number in the manifest, the shard of its plan, the call's index in the shard.
PLACE: Final = np.dtype([("run", "<u4"), ("shard", "<u4"), ("call", "<u4")])
#: The columns of one file set, in order: suffix and type.
COLUMNS: Final = ((".high", NUMBER), (".low", NUMBER), (".places", PLACE))


@frozen
class Piece:
    """Some ids and their places, in memory or memory-mapped."""

    high: Numbers
    low: Numbers
    places: npt.NDArray[np.void]

    def __len__(self) -> int:
        return len(self.high)

    def part(self, begin: int, end: int) -> Piece:
        """The records from `begin` to before `end`; no copy."""
        return Piece(self.high[begin:end], self.low[begin:end], self.places[begin:end])

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """The columns in the order of COLUMNS."""
        return self.high, self.low, self.places


def piece_of(ids: Sixteen, *, run: int, shard: int, calls: npt.NDArray[np.integer]) -> Piece:
    """Ids (sixteen bytes a row) of one shard of a run with their calls' indexes, in any order."""
    places = np.empty(len(ids), PLACE)
    places["run"], places["shard"], places["call"] = run, shard, calls
    high, low = halves(ids)
    return Piece(high, low, places)


def halves(ids: Sixteen) -> tuple[Numbers, Numbers]:
    """The high and low numbers of ids of sixteen bytes a row."""
    numbers = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2)
    return numbers[:, 0].astype(NUMBER), numbers[:, 1].astype(NUMBER)


def in_order(pieces: Sequence[Piece]) -> Piece:
    """All records of some pieces, sorted by id; those equal in id and place are left once."""
    high, low, places = (np.concatenate(column) for column in zip(*(piece.arrays for piece in pieces), strict=True))
    order = np.argsort(high)
    ordered = np.take(high, order)
    if not (ordered[1:] == ordered[:-1]).any():
        return Piece(ordered, np.take(low, order), _taken(places, order))
    # Rare, but for ids that people have counted up themselves, and where a run is archived again.
    order = np.lexsort((places["call"], places["shard"], places["run"], low, high))
    high, low, places = np.take(high, order), np.take(low, order), _taken(places, order)
    again = (high[1:] == high[:-1]) & (low[1:] == low[:-1]) & (places[1:] == places[:-1])
    once = np.concatenate([[True], ~again])
    return Piece(high[once], low[once], places[once])


def _taken(places: npt.NDArray[np.void], order: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    """The places in that order; six times as fast as indexing them, which numpy does field by field."""
    return np.take(places.view("<u4").reshape(-1, 3), order, axis=0).reshape(-1).view(PLACE)


def first_at_least(piece: Piece, high: Numbers, low: Numbers) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """For each id asked about: the first record that is not below it, and whether that record has the very id.

    `high` ascending makes it fast: what is looked at then lies together.
    """
    begin = np.searchsorted(piece.high, high, "left")
    if not len(piece):
        return begin, np.zeros(len(high), np.bool_)
    at = np.minimum(begin, len(piece) - 1)
    same = piece.high[at] == high
    further = np.flatnonzero(same & (piece.low[at] < low))  # few, but where many ids share their high half
    if len(further):
        begin[further] = _bisected(
            piece.low, begin[further], np.searchsorted(piece.high, high[further], "right"), low[further]
        )
        at = np.minimum(begin, len(piece) - 1)
        same = piece.high[at] == high
    return begin, np.asarray((begin < len(piece)) & same & (piece.low[at] == low))


def _bisected(
    numbers: Numbers, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64], wanted: Numbers
) -> npt.NDArray[np.int64]:
    """For each wanted number: the first place from `begin` to `end` whose number is not below it."""
    while (open_ := begin < end).any():
        middle = (begin + end) // 2
        below = numbers[np.where(open_, middle, 0)] < wanted
        begin, end = np.where(open_ & below, middle + 1, begin), np.where(open_ & ~below, middle, end)
    return begin


class ColumnWriter:
    """Writes a file set; nothing of it counts until a manifest names it. Close it, whatever happens."""

    def __init__(self, stem: Path, stopping: Callable[[], bool] = lambda: False) -> None:
        self.stopping = stopping
        self.records = 0
        self.checks = [0, 0, 0]
        self._folder = stem.parent
        self._files = []
        try:
            with out_of_space(self._folder):
                for suffix, _ in COLUMNS:
                    opened = os.open(stem.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
                    self._files.append(os.fdopen(opened, "wb"))
        except BaseException:
            self.close()
            raise

    def write(self, piece: Piece) -> None:
        """Append records, which are in order and behind those before.

        Raises:
            StoppedError: The disk is full.
            InterruptedRunError: It was stopped.
        """
        if self.stopping():
            raise InterruptedRunError("interrupted while delivered ids were archived: a later run makes up for it")
        with out_of_space(self._folder):
            for place, (file, array) in enumerate(zip(self._files, piece.arrays, strict=True)):
                plain = np.ascontiguousarray(array).view(np.uint8).data
                self.checks[place] = isal_zlib.crc32(plain, self.checks[place])
                file.write(plain)
        self.records += len(piece)

    def finish(self) -> None:
        """Force the columns to the disk and close them.

        Raises:
            StoppedError: The disk is full.
        """
        with out_of_space(self._folder):
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
        self.close()

    def close(self) -> None:
        """Close the files, all of them, with what waits in their buffers; again does nothing.

        Raises:
            StoppedError: The disk is full.
        """
        with out_of_space(self._folder), ExitStack() as files:
            for file in self._files:
                files.callback(file.close)


def mapped(stem: Path, records: int) -> Piece:
    """The columns of a file set, memory-mapped.

    Raises:
        OSError: A column is missing.
        ValueError: A column has another size.
    """
    arrays: list[npt.NDArray[Any]] = []
    for suffix, dtype in COLUMNS:
        path = stem.with_suffix(suffix)
        size = path.stat().st_size
        if size != records * dtype.itemsize:
            raise ValueError(f"{path} has {size} bytes, {records * dtype.itemsize} were recorded")
        arrays.append(np.memmap(path, dtype, "r") if records else np.empty(0, dtype))
    return Piece(*arrays)


def checksum(path: Path) -> int:
    """CRC-32 of a whole column."""
    found = 0
    with path.open("rb") as file:
        while plain := file.read(1 << 20):
            found = isal_zlib.crc32(plain, found)
    return found


#: How many records of each source are held at least, however many sources there are.
_LEAST_BLOCK: Final = 1_024


def write_sorted(
    pieces: Iterable[Piece], writer: ColumnWriter, work: Path, *, memory_records: int = MEMORY_RECORDS
) -> None:
    """Write records that come in any order in the order of their ids; `work` takes what memory does not hold."""
    shutil.rmtree(work, ignore_errors=True)
    runs = _runs(pieces, memory_records)
    first, second = next(runs, None), next(runs, None)
    if first is None or second is None:
        if first is not None:
            writer.write(first)
        return
    try:
        work.mkdir(mode=PRIVATE_FOLDER)
        stems = []
        for number, run in enumerate(chain((first, second), runs)):
            stems.append((work / f"{number:06d}", len(run)))
            _spill(run, ColumnWriter(stems[-1][0], writer.stopping))
        del first, second
        merge([mapped(stem, records) for stem, records in stems], writer, memory_records=memory_records)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _spill(run: Piece, writer: ColumnWriter) -> None:
    """Put a sorted piece on disk; no power cut has to leave it there."""
    try:
        writer.write(run)
    finally:
        writer.close()


def _runs(pieces: Iterable[Piece], most: int) -> Iterator[Piece]:
    """The pieces joined to sorted ones of about `most` records; only the last is shorter."""
    held: list[Piece] = []
    count = 0
    for piece in pieces:
        start = 0
        while count + len(piece) - start >= most:
            taken = most - count
            yield in_order([*held, piece.part(start, start + taken)])
            held, count, start = [], 0, start + taken
        if start < len(piece):
            held.append(piece.part(start, len(piece)))
            count += len(piece) - start
    if held:
        yield in_order(held)


def merge(sources: Sequence[Piece], writer: ColumnWriter, *, memory_records: int = MEMORY_RECORDS) -> None:
    """Write the records of sorted sources as one sorted sequence; those equal in id and place once.

    A step takes a block of each source and writes what is not above the lowest end of a block: whatever else there is
    stands behind that.
    """
    block = max(_LEAST_BLOCK, memory_records // max(1, len(sources)))
    places = [0] * len(sources)
    while any(place < len(source) for place, source in zip(places, sources, strict=True)):
        windows = [source.part(place, place + block) for place, source in zip(places, sources, strict=True)]
        ends = [
            (int(window.high[-1]), int(window.low[-1]))
            for window, place, source in zip(windows, places, sources, strict=True)
            if place + len(window) < len(source)
        ]
        bound = min(ends, default=None)
        cuts = [len(window) if bound is None else _not_above(window, bound) for window in windows]
        writer.write(in_order([window.part(0, cut) for window, cut in zip(windows, cuts, strict=True) if cut]))
        places = [place + cut for place, cut in zip(places, cuts, strict=True)]


def _not_above(window: Piece, bound: tuple[int, int]) -> int:
    """How many records of a sorted window are not above an id."""
    high, low = np.uint64(bound[0]), np.uint64(bound[1])
    begin = int(np.searchsorted(window.high, high, "left"))
    end = int(np.searchsorted(window.high, high, "right"))
    return begin + int(np.searchsorted(window.low[begin:end], low, "right"))
