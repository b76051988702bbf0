"""The signs of a stretch of CSV that structure it, told apart by the number of quotes before them.

A quote opens a cell right behind a separator or a line end, and closes it right before one; inside, quotes are
doubled. As long as every quote keeps to that, the parity of the quotes before a place tells whether it is inside a
cell, and all records of a stretch are found at once. The first quote that does not is an irregular place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backfill.sources.csv_dialect import BLANKS, CR, LF, Dialect
from backfill.sources.csv_shape import NO_PLACES, Bytes, Places

Flags = NDArray[np.bool_]


class Marks:
    """Separators, line ends and quotes of the usable signs, which begin where a record does."""

    def __init__(self, signs: Bytes, usable: int, dialect: Dialect) -> None:
        self._signs, self._dialect = signs, dialect
        used = signs[:usable]
        ends = used == LF
        lone = used == CR
        if lone.any():
            lone[:-1] &= used[1:] != LF
            ends |= lone
        marks = (used == dialect.separator) | ends
        quote = -1 if dialect.quote is None else dialect.quote
        if quote >= 0:
            marks |= used == quote
        places = np.flatnonzero(marks)
        is_quote = used[places] == quote
        before = np.cumsum(is_quote)
        self.quotes: Places = places[is_quote]
        self._bounds: Places = places[~is_quote]
        self._sides = before[~is_quote] & 1
        self._is_end: Flags = used[self._bounds] != dialect.separator
        self._outside: dict[int, tuple[Places, Flags]] = {}
        self._openers: Places | None = None
        self._irregular: dict[int, Places] = {}

    def side(self, place: int) -> int:
        """The parity of the quotes before a place."""
        return int(self.quotes.searchsorted(place)) & 1

    def records(self, place: int, until: int, side: int) -> tuple[Places, Places]:
        """Line ends between two places that end a record, and the fields of each record; there are no irregular ones.

        The first record begins at `place`, which has that parity of quotes before it.
        """
        if side not in self._outside:
            here = self._sides == side
            self._outside[side] = (self._bounds[here], self._is_end[here])
        bounds, is_end = self._outside[side]
        first, last = bounds.searchsorted([place, until])
        ends = np.flatnonzero(is_end[first:last])
        return bounds[first:last][ends], np.diff(ends, prepend=-1)

    def lines_without_opener(self, place: int, at_least: int) -> tuple[Places, Places]:
        """Line ends from a place on where a record begins, and the fields of each line, up to a quote that may open.

        No cell begins on such lines, so each is a record. None where there is such a quote within so many bytes.
        """
        if self._openers is None:
            before = np.concatenate(([LF], self._signs))[self.quotes]
            table = np.zeros(256, np.bool_)
            table[[self._dialect.separator, LF, CR, *BLANKS]] = True
            self._openers = self.quotes[table[before]]
        index = int(self._openers.searchsorted(place))
        until = int(self._openers[index]) if index < len(self._openers) else len(self._signs)
        if until < place + at_least and index < len(self._openers):
            return NO_PLACES, NO_PLACES
        first, last = self._bounds.searchsorted([place, until])
        ends = np.flatnonzero(self._is_end[first:last])
        return self._bounds[first:last][ends], np.diff(ends, prepend=-1)

    def irregular_from(self, place: int, side: int) -> int | None:
        """The first irregular quote from a place on where a record begins with that parity of quotes before it."""
        if side not in self._irregular:
            self._irregular[side] = self._find_irregular(side)
        irregular = self._irregular[side]
        index = int(irregular.searchsorted(place))
        return int(irregular[index]) if index < len(irregular) else None

    def _find_irregular(self, side: int) -> Places:
        if not len(self.quotes):
            return NO_PLACES
        openers, closers = _beside(self._dialect)
        padded = np.concatenate(([LF], self._signs, [LF]))
        opens = openers[padded[self.quotes]] & ~self._in_comments()
        closes = closers[padded[self.quotes + 2]]
        opening = (np.arange(len(self.quotes)) & 1) == side
        return self.quotes[~np.where(opening, opens, closes)]

    def _in_comments(self) -> Flags:
        """Which quotes are in a line that is a comment if it begins outside of quotes."""
        found = np.zeros(len(self.quotes), np.bool_)
        if self._dialect.comment is None:
            return found
        ends = self._bounds[self._is_end]
        starts = np.concatenate(([0], ends + 1))[: len(ends) + 1]
        starts = starts[starts < len(self._signs)]
        line = starts.searchsorted(self.quotes, side="right") - 1
        found |= self._signs[starts[line]] == self._dialect.comment
        return found


def _beside(dialect: Dialect) -> tuple[Flags, Flags]:
    """Tables of all bytes: what an opening quote stands behind, and what a closing one stands before."""
    table = np.zeros(256, np.bool_)
    table[[dialect.separator, LF, CR]] = True
    if dialect.escape is None and dialect.quote is not None:
        table[dialect.quote] = True
    return table, table
