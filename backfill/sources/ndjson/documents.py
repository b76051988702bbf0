"""The records of JSON that does not stand in lines: arrays, pretty-printed and concatenated documents; streamed.

1) A document that is an array has its elements for records, and one that is an object is a record. With a path, such as
   `data.items`, each document is an object, and what stands under those keys is the array (or the one record).
2) Where records begin and end is told by brackets, commas and quotes alone (`Marks`); each is then judged as a line of
   NDJSON is. Memory is bounded by the pieces and by a record's maximum size.
3) There is no line to begin anew at: brackets that do not match, something between elements, a comma too many, an end
   within a document make the whole file unreadable. What a path leads past is gone over by its brackets alone.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import orjson

from backfill.errors import SourceError
from backfill.memory import MAX_LINE_BYTES
from backfill.sources.ndjson.elements import together
from backfill.sources.ndjson.lines import SHOWN_BYTES, Line, Lines, line_ends, singly, whole_line_ends, without_mark
from backfill.sources.ndjson.structure import Found, Mark, Marks

#: How much of a file tells its shape.
SHAPE_BYTES = 2**20
#: Lines of one value that tell a document: damaged lines of NDJSON hardly look like a value of that many lines.
LINES_OF_ONE_VALUE = 4
#: Fewer elements that end one behind the other are no more work one by one.
FEWEST_TOGETHER = 2
#: Characters of a text's last word that a cut may leave: `fals`, `\\ud83d\\ude0`.
_LONGEST_CUT = 12
_BLANKS = b" \t\r\n"
_JSON_BLANKS = _BLANKS.decode()
_LINE_END = re.compile(r"\r\n|\r|\n")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def is_document(head: bytes) -> bool:
    """A file that begins so is one JSON array, or JSON values that do not stand in lines."""
    if begins_with_an_object(head):
        return False
    text = head.removeprefix(codecs.BOM_UTF8).decode(errors="replace").lstrip(_JSON_BLANKS)
    if not text.startswith(("[", "{")):
        return False
    first, *others = (line for line in _LINE_END.split(text) if line.strip(_JSON_BLANKS))
    try:
        _, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        lines_begun = len(_LINE_END.findall(text, 0, error.pos))
        if lines_begun and len(head) >= SHAPE_BYTES and _is_at_the_end(error):
            return True
        return lines_begun >= LINES_OF_ONE_VALUE or (text.startswith("[") and (error.pos >= len(first) or not others))
    except RecursionError:  # a record may be nested too deep, and is told so: no line of NDJSON begins with a bracket
        return text.startswith("[")
    alone = text.startswith("[") or bool(text[end:].strip(_JSON_BLANKS))
    return end > len(first) or (not others and alone)


def begins_with_an_object(head: bytes) -> bool:
    """The first line is a JSON object: nothing else is to be asked."""
    line, end, _ = head.partition(b"\n")
    try:
        return bool(end) and line.startswith(b"{") and isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _is_at_the_end(error: json.JSONDecodeError) -> bool:
    """What was wrong is that the text ends: within a string, or within its last characters."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(error.doc) - _LONGEST_CUT


def damaged(name: str, line: int, said: str = "is no valid JSON") -> SourceError:
    """The error for a document that cannot be told apart into records."""
    return SourceError(
        f"{name} is a JSON document, not one object a line, and what begins in line {line} {said}",
        hint="fetch or export it again, or mend it; nothing was sent",
    )


@dataclass(slots=True)
class _Place:
    """Where the walk through the documents stands: behind a mark, within `depth` brackets that are on the way."""

    depth: int = 0
    mark: int = -1  # the last mark that matters, in the text at hand
    in_list: bool = False  # the innermost bracket is the records' array
    in_record: bool = False  # of a document that is a record
    elements: int = 0  # of that array so far
    on_the_way: bool = False  # the key before is the next one of the path
    passing: bool = False  # the value of another key


class Documents:
    """The records of one file's documents."""

    def __init__(self, name: str, path: Sequence[str] = (), limit: int = MAX_LINE_BYTES) -> None:
        self._name, self._path, self._limit = name, tuple(path), limit
        self._marks = Marks(len(path) + 1)
        self._at = _Place()
        self._met = [False] * len(path)  # the path's key of each bracket on the way was there
        self._text = b""  # from behind the last mark that matters
        self._line, self._counted = 1, 0  # the line of that place in the text
        self._long: Line | None = None  # the beginning of a record that is longer than the limit

    def records(self, pieces: Iterable[bytes], cut: Callable[[], bool] = lambda: False) -> Iterator[Line]:
        """The same as `stretches`, one by one."""
        return singly(self.stretches(pieces, cut))

    def stretches(self, pieces: Iterable[bytes], cut: Callable[[], bool] = lambda: False) -> Iterator[Line | Lines]:
        """All of them; `cut` tells, once the pieces are gone through, whether they were only the file's beginning.

        Raises:
            SourceError: the file is damaged, or has nothing under the path.
        """
        for piece in without_mark(whole_line_ends(pieces)):
            begin = len(self._text)
            self._text += piece
            yield from self._walk(self._marks.feed(piece, begin))
            self._let_go()
        if not cut() and (self._at.depth or self._at.in_record or self._marks.depth or self._marks.in_string):
            raise damaged(self._name, self._line, "does not end: the file is cut off")

    def _walk(self, found: Found) -> Iterator[Line | Lines]:
        """Go on to each mark; elements of the records' array that end one behind the other are taken together."""
        next_mark = 0
        while next_mark < len(found.places):
            commas = found.behind_commas(next_mark) if self._at.in_list and self._long is None else next_mark
            some = self._elements(found.places[next_mark:commas])
            if some is not None:
                yield from some
            for index in range(next_mark, max(commas, next_mark + 1) if some is None else next_mark):
                line = self._see(found.mark(index))
                if line is not None:
                    yield line
            next_mark = max(commas, next_mark + 1)

    def _elements(self, commas: Sequence[int]) -> Iterator[Line | Lines] | None:
        """The elements that end at those commas; None where they have to be looked at one by one."""
        if len(commas) < FEWEST_TOGETHER:
            return None
        begin = self._at.mark
        some = together(self._text, [begin, *commas], self._line_of(begin), self._limit)
        if some is not None:
            self._at.mark, self._at.elements = commas[-1], self._at.elements + len(commas)
            self._line_of(commas[-1])
        return some

    def _let_go(self) -> None:
        """Drop what is not needed any more."""
        at = self._at
        begin = at.mark + 1
        if at.passing or (not at.depth and not at.in_record):
            if not at.passing:
                self._refuse(begin, len(self._text))
            begin = len(self._text)
        else:
            begin = self._first(begin)
            if self._long is None and len(self._text) - begin > self._limit:
                if not (at.in_list or at.in_record or at.on_the_way):
                    raise damaged(self._name, self._line_of(begin))
                self._long = Line(self._line_of(begin), self._text[begin : begin + SHOWN_BYTES], whole=False)
            begin = len(self._text) if self._long is not None else begin
        self._line, self._counted = self._line_of(begin), 0
        self._text = self._text[begin:]
        at.mark = -1

    def _line_of(self, place: int) -> int:
        """The line of a place, which is not before the one asked for last."""
        if place > self._counted:
            self._line += line_ends(self._text, self._counted, place)
            self._counted = place
        return self._line

    def _first(self, begin: int) -> int:
        """The first byte from there on that is no blank."""
        while begin < len(self._text) and self._text[begin] in _BLANKS:
            begin += 1
        return begin

    def _between(self, mark: Mark) -> bytes:
        return self._text[self._at.mark + 1 : mark.place].strip(_BLANKS)

    def _refuse(self, begin: int, end: int) -> None:
        """Raise SourceError where there is anything but blanks."""
        if self._text[begin:end].strip(_BLANKS):
            raise damaged(self._name, self._line_of(self._first(begin)))

    def _record(self, end: int) -> Line | None:
        """What lies between the last mark and there; None for nothing."""
        if self._long is not None:
            line, self._long = self._long, None
            return line
        text = self._text[self._at.mark + 1 : end].lstrip(_BLANKS)
        number = self._line_of(end - len(text))
        text = text.rstrip(_BLANKS)
        if len(text) > self._limit:
            return Line(number, text[:SHOWN_BYTES], whole=False)
        return Line(number, text) if text else None

    def _see(self, mark: Mark) -> Line | None:
        """Go on to a mark; returns the record that ends there."""
        at = self._at
        if at.in_list:
            return self._in_list(mark) if mark.level <= at.depth else None
        if not at.depth:
            return self._between_documents(mark)
        return self._in_object(mark)

    def _between_documents(self, mark: Mark) -> Line | None:
        """A mark outside of all documents, or in one that is a record."""
        at = self._at
        if at.in_record:
            if mark.level > 1 or mark.sign not in "}]":
                return None
            line = self._record(mark.place + 1)
            at.in_record, at.mark = False, mark.place
            return line
        self._refuse(at.mark + 1, mark.place)
        if mark.level != 1 or mark.sign not in "{[":
            raise damaged(self._name, self._line_of(mark.place))
        if not self._path and mark.sign == "{":
            at.in_record, at.mark = True, mark.place - 1
            return None
        self._enter(mark)
        return None

    def _enter(self, mark: Mark) -> None:
        """Go into a bracket that is on the way to the records, or is their array."""
        at = self._at
        last = at.depth == len(self._path)
        if not last and mark.sign == "[":
            raise self._astray(mark, "leads through an array")
        at.depth += 1
        at.mark, at.in_list, at.elements, at.on_the_way = mark.place, last, 0, False
        if not last:
            self._met[at.depth - 1] = False

    def _in_list(self, mark: Mark) -> Line | None:
        """A comma or the end of the records' array."""
        at = self._at
        line = self._record(mark.place)
        if mark.sign not in ",]" or (line is None and (mark.sign == "," or at.elements)):
            raise damaged(self._name, self._line_of(mark.place))
        at.mark, at.elements = mark.place, at.elements + 1
        if mark.sign == "]":
            at.depth -= 1
            at.in_list, at.passing = False, at.depth > 0
        return line

    def _in_object(self, mark: Mark) -> Line | None:
        """A mark in an object on the way."""
        at = self._at
        line: Line | None = None
        if mark.level > at.depth:
            begins = at.on_the_way and mark.level == at.depth + 1 and mark.sign in "{[" and not self._between(mark)
            if begins and (mark.sign == "[" or at.depth < len(self._path)):
                self._enter(mark)
            return None
        if mark.sign == ":":
            at.on_the_way = self._is_next(mark)
            at.passing = not at.on_the_way
        elif mark.sign in ",}":
            if at.on_the_way:
                line = self._lone(mark)
            elif not at.passing and (mark.sign == "," or self._between(mark)):
                raise damaged(self._name, self._line_of(mark.place))
            at.on_the_way = at.passing = False
            if mark.sign == "}":
                self._leave(mark)
        else:
            raise damaged(self._name, self._line_of(mark.place))
        at.mark = mark.place
        return line

    def _is_next(self, mark: Mark) -> bool:
        """The key before a colon is the path's next one."""
        try:
            key = orjson.loads(self._between(mark))
        except orjson.JSONDecodeError as error:
            raise damaged(self._name, self._line_of(mark.place)) from error
        step = self._at.depth - 1
        if key != self._path[step]:
            return False
        if self._met[step]:
            raise self._astray(mark, "stands there twice")
        self._met[step] = True
        return True

    def _lone(self, mark: Mark) -> Line | None:
        """What stands under the path and is no array: one record, or null for none."""
        value, is_last = self._between(mark), self._at.depth == len(self._path)
        if is_last and self._long is None and value == b"null":
            return None
        if not is_last or (self._long is None and not value.startswith(b"{")):
            raise self._astray(mark, "is no array of records")
        return self._record(mark.place)

    def _leave(self, mark: Mark) -> None:
        """Go out of an object on the way."""
        at = self._at
        if not self._met[at.depth - 1]:
            raise self._astray(mark, "is not there")
        at.depth -= 1
        at.passing = at.depth > 0

    def _astray(self, mark: Mark, said: str) -> SourceError:
        way = ".".join(self._path)
        return SourceError(
            f"{self._name}: the path {way} {said}, in the document that goes to line {self._line_of(mark.place)}",
            hint="name the keys that lead to the array, in `records` under `source`, such as `data.items`",
        )
