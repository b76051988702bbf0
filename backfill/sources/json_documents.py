"""Files called NDJSON that are JSON of another shape: an array of records, or objects that go on over several lines.

An array's elements, or the values one behind the other, are the records; each is judged as a line is. There is no line
to begin anew at, so what is not JSON at all makes the whole file unreadable.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain

import orjson

from backfill.errors import SourceError
from backfill.sources.json_lines import Line, lines

#: How much of a file tells its shape.
HEAD_BYTES = 2**20
#: A value that goes on over so many lines is meant to: a damaged line and the next ones hardly make one.
LINES_OF_ONE_VALUE = 4
#: A record of such a file holds no more characters: its values are built on the way.
MAX_RECORD_CHARACTERS = 4 * 2**20
#: Characters of a text's last word that a cut may leave: `fals`, `\\ud83d\\ude0`.
_LONGEST_CUT = 12
_READ_CHARACTERS = 2**16
_BLANKS = " \t\r\n"
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
    text = head.removeprefix(codecs.BOM_UTF8).decode(errors="replace").lstrip(_BLANKS)
    if not text.startswith(("[", "{")):
        return False
    first, *others = (line for line in _LINE_END.split(text) if line.strip(_BLANKS))
    try:
        _, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        lines_begun = len(_LINE_END.findall(text, 0, error.pos))
        if lines_begun and len(head) >= HEAD_BYTES and _is_at_the_end(error):
            return True
        return lines_begun >= LINES_OF_ONE_VALUE or (text.startswith("[") and (error.pos >= len(first) or not others))
    except RecursionError:
        return False
    alone = text.startswith("[") or bool(text[end:].strip(_BLANKS))
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
