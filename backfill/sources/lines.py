"""Where records stand: lines of a file counted up to a byte, or to a record."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backfill.sources.checksum import Watch, plain_pieces, unwatched
from backfill.sources.survey import CR, LF, whole_line_ends

Positions = np.ndarray[tuple[int], np.dtype[np.int64]]


def before(path: Path, positions: Sequence[int], watch: Watch = unwatched) -> tuple[Positions, Positions]:
    """For each byte position (ascending, in the decompressed file): line ends, and empty lines, before it."""
    wanted = np.asarray(positions, np.int64)
    ends_before, empty_before = np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.int64)
    offset, last_end, ends_seen, empty_seen = 0, -1, 0, 0
    for piece in whole_line_ends(plain_pieces(path, watch=watch), keep_mark=True):
        if not len(wanted) or offset > wanted[-1]:
            break
        ends, empty = _ends(piece, last_end - offset)
        here = (wanted >= offset) & (wanted <= offset + len(piece))
        inside = wanted[here] - offset
        ends_before[here] = ends_seen + np.searchsorted(ends, inside)
        empty_before[here] = empty_seen + np.searchsorted(empty, inside)
        ends_seen, empty_seen = ends_seen + len(ends), empty_seen + len(empty)
        last_end = offset + int(ends[-1]) if len(ends) else last_end
        offset += len(piece)
    return ends_before, empty_before


def _ends(piece: bytes, last_end: int) -> tuple[Positions, Positions]:
    """Where in the piece lines end, and where empty ones do; `last_end` is the end before it (-1: at its start)."""
    data = np.frombuffer(piece, np.uint8)
    is_end = data == LF[0]
    lone = data == CR[0]
    if lone.any():
        following = np.append(data[1:], 0)
        is_end |= lone & (following != LF[0])
    ends = np.flatnonzero(is_end)
    if not len(ends):
        return ends, ends
    gap = np.diff(ends, prepend=last_end)
    after_cr = (data[ends] == LF[0]) & (data[np.maximum(ends - 1, 0)] == CR[0])
    return ends, ends[gap == np.where(after_cr, 2, 1)]


def record_starts(path: Path, dialect: dict[str, Any], watch: Watch = unwatched) -> Iterator[tuple[int, bool]]:
    """For each record and each empty line of a CSV file: its first line, from 1, and whether it is empty.

    By Python's csv module, one by one: for the few files where counting lines does not do.
    """
    text = text_of(path, newline="", watch=watch)
    reader = csv.reader(text, **dialect)
    line = 1
    for row in reader:
        yield line, not row
        line = reader.line_num + 1


def text_of(path: Path, newline: str | None, watch: Watch = unwatched) -> io.TextIOWrapper:
    """A UTF-8 file's text, decompressed, for reading line by line; bytes that are no UTF-8 are replaced."""
    stream = io.BufferedReader(_Stream(plain_pieces(path, watch=watch)))
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline=newline)


class _Stream(io.RawIOBase):
    """A readable stream of pieces of bytes."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer from the next piece."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
