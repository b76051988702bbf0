"""Where the records of a CSV file end, by its quotes alone, as long as every quote stands where one can.

A quote opens a cell right behind a delimiter or a line end, and closes it right before one; inside, quotes are
doubled. In a file that keeps to that, the number of quotes before a place tells whether it is inside a cell, so all
records can be counted without reading any. One quote elsewhere (5" disk), and nothing is said of the file.

What it is for: read by one thread, DuckDB 2.0 drops a last record whose quote nothing closes without a word.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backfill.sources.checksum import Watch, plain_pieces, unwatched
from backfill.sources.survey import CR, LF, whole_line_ends

_LINE_ENDS = (LF[0], CR[0])


@dataclass(slots=True)
class Quoting:
    """What the quotes of a file say."""

    regular: bool = True  # every quote stands where one can; else the rest is not to be used
    records: int = 0  # with something in them, the header counted; one that is left open is not
    open_at: int | None = None  # the byte, from 0, where a last record begins whose quote nothing closes


def quoting(path: Path, quote: str, separator: str, watch: Watch = unwatched) -> Quoting:
    """Look at the whole file, decompressed, in bounded memory; stops at the first quote that is out of place.

    `watch` is told the bytes.
    """
    found, scan = Quoting(), _Scan(ord(quote), ord(separator[-1]), ord(separator[0]))
    held = b""
    for piece in whole_line_ends(plain_pieces(path, watch=watch), keep_mark=True):
        joined = held + piece
        body = joined.rstrip(quote.encode())
        held = joined[len(body) :]
        if body and not scan.take(body):
            return Quoting(regular=False)
    if held and not scan.take(held):
        return Quoting(regular=False)
    found.records = scan.records
    if scan.parity:
        found.open_at = scan.start
    elif scan.offset > scan.start:
        found.records += 1
    return found


def _among(*signs: int) -> NDArray[np.bool_]:
    """A table of all bytes: whether each is one of those."""
    table = np.zeros(256, np.bool_)
    table[list(signs)] = True
    return table


class _Scan:
    """The state between two pieces, none of which ends inside a pair of quotes or of CR and LF."""

    def __init__(self, quote: int, before: int, after: int) -> None:
        self.quote = quote
        self.line_ends = _among(*_LINE_ENDS)
        self.openers = _among(before, quote, *_LINE_ENDS)  # what an opening quote stands behind
        self.closers = _among(after, quote, *_LINE_ENDS)  # what a closing one stands before
        self.last = LF
        self.parity = self.records = self.offset = self.start = 0

    def take(self, piece: bytes) -> bool:
        """Go through a piece; False where a quote is out of place."""
        if self.offset == 0 and piece.startswith(codecs.BOM_UTF8):
            piece = piece.removeprefix(codecs.BOM_UTF8).rjust(len(piece), LF)
        data = np.frombuffer(self.last + piece + LF, np.uint8)
        marks = np.flatnonzero((data == self.quote) | (data == LF[0]) | (data == CR[0]))
        marks = marks[(marks > 0) & (marks < len(data) - 1)]
        is_quote = data[marks] == self.quote
        inside = ((np.cumsum(is_quote) - is_quote + self.parity) & 1).astype(bool)
        opening, closing = marks[is_quote & ~inside], marks[is_quote & inside]
        if not (self.openers[data[opening - 1]].all() and self.closers[data[closing + 1]].all()):
            return False
        ends = marks[~is_quote & ~inside]
        ends = ends[(data[ends] == LF[0]) | (data[ends + 1] != LF[0])]  # of CRLF the LF alone
        if len(ends):
            before = np.where((data[ends] == LF[0]) & (data[ends - 1] == CR[0]), ends - 2, ends - 1)
            empty = self.line_ends[data[np.maximum(before, 0)]]
            self.records += int(np.count_nonzero(~empty))
            self.start = self.offset + int(ends[-1])
        self.parity = (self.parity + int(np.count_nonzero(is_quote))) & 1
        self.offset += len(piece)
        self.last = piece[-1:]
        return True
