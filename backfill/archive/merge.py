"""Sorting more records than memory holds: sorted pieces on disk, then one pass over all of them side by side."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

from backfill.archive.columns import ColumnWriter, Piece, in_order, mapped
from backfill.disk import PRIVATE_FOLDER
from backfill.memory import MEMORY_RECORDS

#: So many records of each source are at hand at least, however many sources there are.
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
            _spill(run, ColumnWriter(stems[-1][0], writer.cancelled))
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
