"""The records of an NDJSON file as text, each with the line it begins in, in memory bounded by a record's maximum size.

LF, CR and CRLF end a line, in any mixture; lines of nothing but blanks are counted, and are no records. Two other
shapes that are called NDJSON are recognised:

1) A JSON array of records, or objects that go on over several lines from the first one on (`records_in`): an array's
   elements, or the values one behind the other, are the records, each judged as a line is. There is no line to begin
   anew at, so what is not JSON at all makes the whole file unreadable.
2) A single record that goes on over several lines among others that do not (`Spread`): an error of the file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import orjson

from backfill.errors import SourceError
from backfill.memory import MAX_LINE_BYTES

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


#: How much of a file tells its shape.
HEAD_BYTES = 2**20
#: Lines of one value that tell a document: damaged lines of NDJSON hardly look like a value of that many lines.
LINES_OF_ONE_VALUE = 4
#: A record of such a file holds no more characters: its values are built on the way.
MAX_RECORD_CHARACTERS = 4 * 2**20
#: Characters of a text's last word that a cut may leave: `fals`, `\\ud83d\\ude0`.
_LONGEST_CUT = 12
_READ_CHARACTERS = 2**16
_JSON_BLANKS = " \t\r\n"
_NO_BLANK = re.compile(r"[^ \t\r\n]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def records_in(pieces: Iterable[bytes], name: str, *, cut: bool = False) -> Iterator[Line]:
    """The records of a file's plain bytes: its lines, or the values of a JSON document, with the lines they begin in.

    With `cut` the bytes are only the file's beginning.

    Raises:
        SourceError: it is a document, and damaged.
    """
    rest = iter(pieces)
    head = b""
    for piece in rest:
        head += piece
        if len(head) >= HEAD_BYTES or _begins_with_an_object(head):
            break
    whole = chain([head], rest)
    return _Document(whole, name, cut=cut).records() if is_document(head) else lines(whole)


def _begins_with_an_object(head: bytes) -> bool:
    """The first line is a JSON object: nothing else is to be asked."""
    line, end, _ = head.partition(b"\n")
    try:
        return bool(end) and line.startswith(b"{") and isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def is_document(head: bytes) -> bool:
    """A file that begins so is one JSON array, or JSON values that do not stand in lines."""
    if _begins_with_an_object(head):
        return False
    text = head.removeprefix(codecs.BOM_UTF8).decode(errors="replace").lstrip(_JSON_BLANKS)
    if not text.startswith(("[", "{")):
        return False
    first, *others = (line for line in _LINE_END.split(text) if line.strip(_JSON_BLANKS))
    try:
        _, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        lines_begun = len(_LINE_END.findall(text, 0, error.pos))
        if lines_begun and len(head) >= HEAD_BYTES and _is_at_the_end(error):
            return True
        return lines_begun >= LINES_OF_ONE_VALUE or (text.startswith("[") and (error.pos >= len(first) or not others))
    except RecursionError:
        return False
    alone = text.startswith("[") or bool(text[end:].strip(_JSON_BLANKS))
    return end > len(first) or (not others and alone)


def _is_at_the_end(error: json.JSONDecodeError) -> bool:
    """What was wrong is that the text ends: within a string, or within its last characters."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(error.doc) - _LONGEST_CUT


class _Document:
    """One file's values, read some at a time."""

    def __init__(self, pieces: Iterable[bytes], name: str, *, cut: bool) -> None:
        self.pieces, self.name, self.cut = iter(pieces), name, cut
        self.decode = codecs.getincrementaldecoder("utf-8")().decode
        self.text, self.at, self.line, self.ended = "", 0, 1, False

    def records(self) -> Iterator[Line]:
        """All of them."""
        self._more()
        self.text = self.text.removeprefix("\ufeff")
        while self._sign():
            if self._sign() != "[":
                yield from self._value()
                continue
            self.at += 1
            while self._sign() and self._sign() != "]":
                yield from self._value()
                if self._sign() == ",":
                    self.at += 1
                    if self._sign() == "]":
                        raise self._damaged()
                elif self._sign() not in ("]", ""):
                    raise self._damaged()
            if not self._sign() and not self.cut:
                raise self._damaged()
            self.at += 1

    def _sign(self) -> str:
        """The next character that is no blank; nothing at the end."""
        while True:
            found = _NO_BLANK.search(self.text, self.at)
            if found is not None:
                self._move(found.start())
                return found[0]
            self._move(len(self.text) - self.text.endswith("\r", self.at))  # its LF may come
            if not self._more():
                return ""

    def _value(self) -> Iterator[Line]:
        """The value that begins here."""
        while True:
            try:
                _, end = _DECODER.raw_decode(self.text, self.at)
            except (json.JSONDecodeError, RecursionError) as error:
                if len(self.text) - self.at <= MAX_RECORD_CHARACTERS and self._more():
                    continue
                if self.cut:
                    self.at = len(self.text)
                    return
                raise self._damaged() from error
            if end == len(self.text) and self._more():
                continue
            yield Line(self.line, self.text[self.at : end].encode())
            self._move(end)
            return

    def _move(self, end: int) -> None:
        self.line += len(_LINE_END.findall(self.text, self.at, end))
        self.at = end

    def _more(self) -> bool:
        """Read on, as much again as there is; false at the end."""
        held = [self.text[self.at :]]
        wanted = max(len(held[0]), _READ_CHARACTERS)
        while wanted > 0 and not self.ended:
            piece = next(self.pieces, None)
            self.ended = piece is None
            try:
                held.append(self.decode(piece or b"", self.ended and not self.cut))
            except UnicodeDecodeError as error:
                raise self._damaged("holds bytes that are not UTF-8") from error
            wanted -= len(held[-1])
        self.text, self.at = "".join(held), 0
        return len(held) > 1 and len(self.text) > len(held[0])

    def _damaged(self, said: str = "is no valid JSON, or a record of more than 4 MB") -> SourceError:
        return SourceError(
            f"{self.name} is a JSON document, not one object a line, and what begins in line {self.line} {said}",
            hint="mend it, or write its records one a line, for example with `jq -c '.[]'`",
        )
