"""One cheap look at all bytes of a CSV file before DuckDB reads it, since some files it would read wrongly in silence.

What it is for (DuckDB 2.0, found by comparing with Python's csv module):
1) Read in parallel, a quoted cell with line ends in it that spans two buffers can come out as extra rows. Files with
   such cells are read by one thread, which is exact.
2) Line ends of several kinds outside quotes fail the whole file. Such files are rewritten with one kind.
3) Empty lines before the header become the header; they are skipped.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backfill.sources.checksum import Watch, plain_pieces, unwatched

LF, CR, CRLF = b"\n", b"\r", b"\r\n"


@dataclass(slots=True)
class Survey:
    """What was seen in a file's bytes."""

    lines: int = 0  # a last line without line end counted
    empty_lines: int = 0  # inside quotes or outside, leading ones counted
    leading_empty_lines: int = 0
    odd_lines: bool = False  # a line has an odd number of quotes: a cell may go on in the next one
    kinds_of_line_end: int = 0  # LF, CRLF, CR alone: how many of them there are, inside quotes or outside


def survey(path: Path, quote: str, watch: Watch = unwatched) -> Survey:
    """Look at the whole file, decompressed, in bounded memory. About 2 ns a byte; `watch` is told them."""
    found = Survey()
    uninteresting = bytes(set(range(256)) - set(LF + CR + quote.encode()))
    lf = cr = crlf = parity = 0
    last = LF
    for piece in whole_line_ends(plain_pieces(path, watch=watch)):
        marks = piece.translate(None, uninteresting)
        piece_cr = marks.count(CR)
        lf, cr = lf + marks.count(LF), cr + piece_cr
        crlf += piece.count(CRLF) if piece_cr else 0
        if quote and not found.odd_lines:
            apart = marks.split(quote.encode())
            found.odd_lines = any(apart[1 - parity :: 2])
            parity = (parity + len(apart) - 1) % 2
        empty = _empty_lines(last + piece, cr=bool(piece_cr or last == CR))
        if found.lines == 0:
            found.leading_empty_lines += _leading(piece)
            found.lines = int(bool(piece.strip(CRLF)))
        found.empty_lines += empty
        last = piece[-1:]
    found.odd_lines |= bool(parity)
    found.kinds_of_line_end = sum(number > 0 for number in (lf - crlf, cr - crlf, crlf))
    found.lines = lf + cr - crlf + (last not in (LF, CR))
    return found


def whole_line_ends(pieces: Iterator[bytes], *, keep_mark: bool = False) -> Iterator[bytes]:
    """The same bytes, with no CR parted from its LF, and without a byte order mark unless that is to be kept."""
    held, first = b"", not keep_mark
    for piece in pieces:
        joined = piece.removeprefix(codecs.BOM_UTF8) if first else held + piece if held else piece
        first, held = False, CR if joined.endswith(CR) else b""
        if len(joined) > len(held):
            yield joined[:-1] if held else joined
    if held:
        yield held


def _empty_lines(data: bytes, *, cr: bool) -> int:
    """Line ends right behind another one."""
    if cr:
        data = data.replace(CRLF, LF).replace(CR, LF)
    if LF + LF not in data:
        return 0
    ends = np.frombuffer(data, np.uint8) == LF[0]
    return int(np.count_nonzero(ends[1:] & ends[:-1]))


def _leading(data: bytes) -> int:
    """Line ends before anything else."""
    head = data[: len(data) - len(data.lstrip(CRLF))]
    return head.count(LF) + head.count(CR) - head.count(CRLF)
