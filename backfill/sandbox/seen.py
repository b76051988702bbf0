"""Which message ids were held before, in 12 bytes a slot: a hash table of numbers, probed for a whole request at once.

A B-tree of random ids costs 23 µs a call at 3 million ids, most of it in writing pages again and again; a Python dict
200 bytes an id. Here the ids lie on disk in their order of received, and memory holds only where each one is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

_Hashes = NDArray[np.int64]
_Rows = NDArray[np.int64]

_SMALLEST = 1 << 14
_LARGEST_LOAD = 0.6  # probes stay short up to about two thirds
_EMPTY = 0  # in the table of rows: rows count from 1


class SeenIds:
    """The row number of every id, found by the id's hash. `hash_of` is a parameter so that a test can make it bad.

    Two ids may share a hash, so a row that is found is a candidate: the caller reads the id there and compares. An id
    whose hash belongs to another one is kept apart, in `strangers`.
    """

    def __init__(self, hash_of: Callable[[str], int] = hash) -> None:
        self.strangers: dict[str, int] = {}
        self._hash_of = hash_of
        self._hashes = np.zeros(_SMALLEST, np.int64)
        self._rows = np.zeros(_SMALLEST, np.uint32)
        self._used = 0

    def find(self, ids: Sequence[str]) -> _Rows:
        """The candidate row of each id; 0 where there is none, and the id is certainly new."""
        return self._find(self._hashed(ids))

    def add(self, ids: Sequence[str], first_row: int) -> None:
        """Remember these ids, different from one another and from all before, in rows that follow one another."""
        hashes = self._hashed(ids)
        rows = np.arange(first_row, first_row + len(ids), dtype=np.uint32)
        taken = self._find(hashes) != _EMPTY
        # Equal hashes inside one request: only the first may have the slot.
        _, firsts = np.unique(hashes, return_index=True)
        taken[np.setdiff1d(np.arange(len(ids)), firsts, assume_unique=True)] = True
        for place in np.flatnonzero(taken).tolist():
            self.strangers[ids[place]] = int(rows[place])
        self._grow_for(len(ids))
        self._place(hashes[~taken], rows[~taken])

    def _hashed(self, ids: Sequence[str]) -> _Hashes:
        return np.fromiter(map(self._hash_of, ids), np.int64, len(ids))

    def _find(self, hashes: _Hashes) -> _Rows:
        mask = len(self._rows) - 1
        found = np.zeros(len(hashes), np.int64)
        slots = hashes & mask
        open_places = np.arange(len(hashes))
        while len(open_places):
            rows = self._rows[slots]
            hit = (rows != _EMPTY) & (self._hashes[slots] == hashes[open_places])
            found[open_places[hit]] = rows[hit]
            on = (rows != _EMPTY) & ~hit
            open_places, slots = open_places[on], (slots[on] + 1) & mask
        return found

    def _place(self, hashes: _Hashes, rows: NDArray[np.uint32]) -> None:
        mask = len(self._rows) - 1
        self._used += len(hashes)
        slots = hashes & mask
        while len(hashes):
            free = np.flatnonzero(self._rows[slots] == _EMPTY)
            # Several may want one free slot: all write, the last one has it, the others go on.
            self._rows[slots[free]] = rows[free]
            self._hashes[slots[free]] = hashes[free]
            on = self._rows[slots] != rows
            hashes, rows, slots = hashes[on], rows[on], (slots[on] + 1) & mask

    def _grow_for(self, more: int) -> None:
        size = len(self._rows)
        while self._used + more > size * _LARGEST_LOAD:
            size *= 2
        if size == len(self._rows):
            return
        full = self._rows != _EMPTY
        hashes, rows = self._hashes[full], self._rows[full]
        self._hashes, self._rows, self._used = np.zeros(size, np.int64), np.zeros(size, np.uint32), 0
        self._place(hashes, rows)
