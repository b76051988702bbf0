"""The lines of an NDJSON file: split over decompressed pieces, in memory that a line's stated maximum bounds.

LF, CRLF and CR alone end a line, in any mixture. Lines of nothing but blanks are counted, and are no records.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: A line with more bytes is a record that is too long.
MAX_LINE_BYTES = 16 * 2**20
#: What is kept of one, to show it.
SHOWN_BYTES = 8_192
_BLANKS = b" \t"
_BLANKS_AND_ENDS = b" \t\r\n"
_LF, _CR, _CRLF = b"\n", b"\r", b"\r\n"


class Line(NamedTuple):
    """A line that holds more than blanks."""

    number: int  # from 1, all lines counted
    text: bytes  # without its end; only the beginning where `whole` is false
    whole: bool = True


class _Begun:
    """The line that the pieces so far did not end."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.clear()

    def clear(self) -> None:
        """Begin the next one."""
        self.pieces: list[bytes] = []
        self.size = 0
        self.blank = True

    def add(self, piece: bytes) -> None:
        """Go on with it; past the limit only the beginning is kept."""
        self.blank = self.blank and not piece.strip(_BLANKS)
        self.size += len(piece)
        if self.size <= self.limit:
            self.pieces.append(piece)
        elif len(self.pieces) != 1 or len(self.pieces[0]) > SHOWN_BYTES:
            self.pieces = [b"".join([*self.pieces, piece])[:SHOWN_BYTES]]

    def end(self, number: int) -> Line | None:
        """The line, ended; None for one of blanks."""
        text, whole, blank = b"".join(self.pieces), self.size <= self.limit, self.blank
        self.clear()
        return None if blank else Line(number, text, whole)


def lines(pieces: Iterable[bytes], limit: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """The lines of a file's plain bytes that hold more than blanks, without a byte order mark at the beginning."""
    begun, number = _Begun(limit), 1
    for piece in _without_mark(_whole_line_ends(pieces)):
        if not piece.strip(_BLANKS_AND_ENDS) and begun.blank:
            number += piece.count(_LF) + piece.count(_CR) - piece.count(_CRLF)
            end = max(piece.rfind(_LF), piece.rfind(_CR)) + 1
            if end:
                begun.clear()
            begun.add(piece[end:])
            continue
        parts = piece.splitlines()
        rest = b"" if piece.endswith((_LF, _CR)) else parts.pop()
        for part in parts:
            if begun.size:
                begun.add(part)
                line = begun.end(number)
                if line is not None:
                    yield line
            elif part.strip(_BLANKS):
                yield Line(number, part) if len(part) <= limit else Line(number, part[:SHOWN_BYTES], whole=False)
            number += 1
        begun.add(rest)
    last = begun.end(number)
    if last is not None:
        yield last


def _whole_line_ends(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, no piece empty and no CR parted from what follows it."""
    held = b""
    for piece in pieces:
        joined = held + piece if held else piece
        held = _CR if joined.endswith(_CR) else b""
        if len(joined) > len(held):
            yield joined[:-1] if held else joined
    if held:
        yield held


def _without_mark(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes without a byte order mark at the beginning."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= len(codecs.BOM_UTF8) or not codecs.BOM_UTF8.startswith(head):
            break
    head = head.removeprefix(codecs.BOM_UTF8)
    if head:
        yield head
    yield from pieces
