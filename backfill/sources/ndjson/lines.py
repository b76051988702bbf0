"""The records of an NDJSON file as text, each with the line it begins in, in memory bounded by a record's maximum size.

LF, CR and CRLF end a line, in any mixture; lines of nothing but blanks are counted, and are no records. A single record
that goes on over several lines among others that do not (`Spread`) is an error of the file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from backfill.errors import SourceError
from backfill.memory import MAX_LINE_BYTES

#: What is kept of one, to show it.
SHOWN_BYTES = 8_192
_BLANKS = b" \t"
_BLANKS_AND_ENDS = b" \t\n"
_LF, _CR, _CRLF = b"\n", b"\r", b"\r\n"


class Line(NamedTuple):
    """A line that holds more than blanks."""

    number: int  # from 1, all lines counted
    text: bytes  # without its end; only the beginning where `whole` is false
    whole: bool = True
    fault: tuple[str, str] | None = None  # the problem's code and words, where it is known to be no record


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

    def is_short(self, size: int) -> bool:
        """There is one, all of it is held, and it has no more than so many bytes."""
        return 0 < self.size <= min(size, self.limit)

    def take(self) -> bytes:
        """The bytes of one that is held; it is to begin anew."""
        text = b"".join(self.pieces)
        self.clear()
        return text

    def end(self, number: int) -> Line | None:
        """The line, ended; None for one of blanks."""
        text, whole, blank = b"".join(self.pieces), self.size <= self.limit, self.blank
        self.clear()
        return None if blank else Line(number, text, whole)


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines one behind the other, some of them perhaps blank; between them stands an LF, whatever ends them."""

    number: int  # of the first one
    text: bytes
    limit: int

    def apart(self) -> Iterator[Line]:
        """Those that hold more than blanks."""
        return (line for line in self.every() if line.text.strip(_BLANKS))

    def every(self) -> Iterator[Line]:
        """All of them."""
        for number, text in enumerate(self.text.split(_LF), self.number):
            fits = len(text) <= self.limit
            yield Line(number, text) if fits else Line(number, text[:SHOWN_BYTES], whole=False)


def lines(pieces: Iterable[bytes], limit: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """The lines of a file's plain bytes that hold more than blanks, without a byte order mark at the beginning."""
    return singly(stretches(pieces, limit))


def singly(found: Iterable[Line | Lines]) -> Iterator[Line]:
    """The lines one by one."""
    for each in found:
        if isinstance(each, Lines):
            yield from each.apart()
        else:
            yield each


def stretches(pieces: Iterable[bytes], limit: int = MAX_LINE_BYTES) -> Iterator[Line | Lines]:
    """The same lines, those that lie within one piece together."""
    begun, number = _Begun(limit), 1
    for piece in without_mark(whole_line_ends(pieces)):
        text = piece.replace(_CRLF, _LF).replace(_CR, _LF) if _CR in piece else piece
        start = 0
        if begun.is_short(len(text)) and _LF in text:
            text = begun.take() + text
        if begun.size:
            end = text.find(_LF)
            begun.add(text if end < 0 else text[:end])
            if end < 0:
                continue
            line = begun.end(number)
            if line is not None:
                yield line
            start, number = end + 1, number + 1
        last = text.rfind(_LF, start)
        if last >= 0:
            if text[start:last].strip(_BLANKS_AND_ENDS):
                yield Lines(number, text[start:last], limit)
            number += text.count(_LF, start, last + 1)
        begun.add(text[max(last + 1, start) :])
    last_line = begun.end(number)
    if last_line is not None:
        yield last_line


def line_ends(text: bytes, since: int, until: int) -> int:
    """How many lines end between two places that part no CRLF."""
    lone = text.count(_CR, since, until)
    return text.count(_LF, since, until) + (lone and lone - text.count(_CRLF, since, until))


def whole_line_ends(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, no piece empty and no CR parted from what follows it."""
    held = b""
    for piece in pieces:
        joined = held + piece if held else piece
        held = _CR if joined.endswith(_CR) else b""
        if len(joined) > len(held):
            yield joined[:-1] if held else joined
    if held:
        yield held


def without_mark(pieces: Iterator[bytes]) -> Iterator[bytes]:
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


#: A record that goes on over more bytes is not looked for: all of it is held.
MAX_SPREAD_BYTES = 4 * 2**20
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


class Spread:
    """Joins an unreadable line with the next ones as long as they may be one JSON object."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._clear()

    def _clear(self) -> None:
        self.pieces: list[bytes] = []
        self.first = self.size = self.depth = 0

    def see(self, line: Line, *, readable: bool) -> None:
        """Take note of the next line.

        Raises:
            SourceError: it ends an object that began some lines before.
        """
        if self.pieces and not (line.whole and self._goes_on(line.text)):
            self._clear()
        if not self.pieces:
            if readable or not line.whole or not line.text.lstrip(_BLANKS).startswith(b"{"):
                return
            self.first = line.number
        self._add(line.text)
        if self.depth <= 0 or self.size > MAX_SPREAD_BYTES:
            if len(self.pieces) > 1 and not self.depth and _is_object(b"\n".join(self.pieces)):
                said = f"the record in line {self.first} goes on to line {line.number}"
                raise SourceError(
                    f"{self.name} is not one object a line: {said}",
                    hint="write its records one a line, for example with `jq -c .`",
                )
            self._clear()

    def _goes_on(self, text: bytes) -> bool:
        """Nothing between the lines is against their being one value."""
        before, after = self.pieces[-1].rstrip(_BLANKS)[-1:], text.lstrip(_BLANKS)[:1]
        return before in b"{[,:" or after in b"}],:"

    def _add(self, text: bytes) -> None:
        self.pieces.append(text)
        self.size += len(text)
        signs = _STRING.sub(b"", text)
        opened = signs.count(b"{") + signs.count(b"[")
        self.depth += opened - signs.count(b"}") - signs.count(b"]")


def _is_object(text: bytes) -> bool:
    try:
        return type(orjson.loads(text)) is dict
    except orjson.JSONDecodeError:
        return False
