"""The records of NDJSON files, some megabytes at a time: valid objects taken apart, the others with what is wrong.

Valid is what RFC 8259 says, and exactly that. orjson takes most records at once; those that it refuses are looked at
once more by a scanner of our own, since orjson refuses too much (1e400, integers of 400 digits), says little, and
builds all that a record holds, which costs a long one more memory than there is.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]  # as the standard library's own scanner has it
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from backfill.frozen import frozen
from backfill.limits import JSON_DEPTH
from backfill.memory import MAX_LINE_BYTES
from backfill.records import INTERNAL_PREFIX, SourceFile
from backfill.sources.ndjson.documents import damaged
from backfill.sources.ndjson.lines import Line, Lines, Spread
from backfill.sources.ndjson.members import Cells, take_apart
from backfill.sources.ndjson.texts import Head, Texts
from backfill.sources.ndjson.types import Types
from backfill.sources.reader import ORIGINAL_CHARACTERS, Unreadable

#: Longer lines are not handed to orjson, which would build their values: up to 60 times a line's bytes.
MAX_BUILT_BYTES = 2**20

NOT_JSON = "not valid JSON"
NO_OBJECT = "no JSON object"
REPEATED = "a key stands twice in the object"
TOO_DEEP = f"nested more than {JSON_DEPTH:,} deep"
HALF_PAIR = "half of a surrogate pair in a string, which is no character"
NOT_A_NUMBER = "NaN or Infinity, which JSON does not have"
MORE = "more than one JSON value in the line"
ENCODING = "bytes that are not UTF-8"

_BLANK = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_SIMPLE = rf'(?:{_SCALAR.pattern}|"[^"\\\x00-\x1f]*"|\[\]|\{{\}})[ \t\r\n]*,[ \t\r\n]*'
#: Many simple elements, or members, that others follow: what long lines are made of, and dear one by one.
_ELEMENTS = re.compile(f"(?:{_SIMPLE}){{0,1000}}")
_MEMBERS = re.compile(rf'(?:"[^"\\\x00-\x1f]*"[ \t\r\n]*:[ \t\r\n]*{_SIMPLE}){{0,1000}}')
_WORD = re.compile(r"[\w.+-]+")
_LOOSE_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_FINITE = re.compile(r"-?(?:NaN|Infinity)\b")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F])|.)", re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}


class _FaultError(ValueError):
    """What is wrong, in words."""


def fault_of(line: bytes) -> tuple[str, str] | None:
    """The problem's code and words for a line that is no JSON object; None for one that is.

    Repeated keys and depth are not asked for here.
    """
    if len(line) <= MAX_BUILT_BYTES:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            pass
        else:
            return None if type(value) is dict else ("BF005", NO_OBJECT)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "BF004", ENCODING
    try:
        _scan(text)
    except _FaultError as fault:
        return "BF005", str(fault)
    if _half_pair(text):
        return "BF005", HALF_PAIR
    return None if text.lstrip(" \t\r\n").startswith("{") else ("BF005", NO_OBJECT)


#: Stands between records that are judged together; none holds it, as nobody knows it.
_MARK = secrets.token_hex(16)
_BETWEEN = f',"{_MARK}",'.encode()
#: Bytes of records that are judged together, and so built at once.
GROUP_BYTES = 2**18


def are_objects(lines: Sequence[bytes]) -> bool:
    """Whether each line is one JSON object; False where that is not found out at once for all of them.

    As the elements of an array, with a mark that no line holds between them: an array of objects and marks in turn is
    what comes of objects alone, since a line that ended within a value, or held two, would move a mark from its place.
    """
    return _are_objects(_BETWEEN.join(lines), len(lines))


def _are_objects(marked: bytes, count: int) -> bool:
    try:
        values = orjson.loads(b"[%b]" % marked)
    except orjson.JSONDecodeError:
        return False
    objects, marks = values[::2], values[1::2]
    return len(objects) == count and marks == [_MARK] * (count - 1) and all(type(value) is dict for value in objects)


@dataclass(frozen=True, slots=True)
class _Group:
    """Records one behind the other."""

    lines: Lines | Sequence[Line]
    count: int
    sound: bool  # all are known to be JSON objects

    def apart(self) -> Iterable[Line]:
        """One by one."""
        return self.lines.apart() if isinstance(self.lines, Lines) else self.lines

    @property
    def size(self) -> int:
        """Their bytes."""
        return len(self.lines.text) if isinstance(self.lines, Lines) else sum(len(line.text) for line in self.lines)

    def text(self) -> bytes:
        """Their texts, with nothing between them."""
        if isinstance(self.lines, Lines):
            return self.lines.text.replace(b"\n", b"")
        return b"".join(line.text for line in self.lines)


def grouped(found: Iterable[Line | Lines]) -> Iterator[_Group]:
    """The records in groups: lines that came together if they are sound, else about GROUP_BYTES of them."""
    held: list[Line] = []
    size = 0
    for each in found:
        if isinstance(each, Lines):
            if held:
                yield _judged(held)
                held, size = [], 0
            count = each.text.count(b"\n") + 1
            if len(each.text) <= MAX_BUILT_BYTES and _are_objects(each.text.replace(b"\n", _BETWEEN), count):
                yield _Group(each, count, sound=True)
            else:
                yield from grouped(each.apart())
            continue
        held.append(each)
        size += len(each.text)
        if size >= GROUP_BYTES:
            yield _judged(held)
            held, size = [], 0
    if held:
        yield _judged(held)


def _judged(lines: Sequence[Line]) -> _Group:
    whole = all(line.whole and line.fault is None for line in lines)
    whole = whole and sum(len(line.text) for line in lines) <= MAX_BUILT_BYTES
    return _Group(lines, len(lines), sound=whole and are_objects([line.text for line in lines]))


def depth_of(text: str) -> int:
    """How deep a valid JSON text is nested."""
    return _scan(text)


def is_one_value(text: bytes) -> bool:
    """A text that is no JSON is damaged within one value all the same: its strings and brackets are in order.

    Where a quote is missing or one too many, strings and what is between them change places, and words stand next to
    quotes: then nobody knows how many values the text holds.
    """
    try:
        _scan(text.decode(errors="replace"), loosely=True)
    except _FaultError:
        return False
    return True


def _half_pair(text: str) -> bool:
    return "\\u" in text and any(escape[1] for escape in _ESCAPE.finditer(text))


def _scan(text: str, *, loosely: bool = False) -> int:
    """Go through one JSON value, with a stack of its own; returns its depth, raises _FaultError.

    `loosely` any word is a value, and strings hold any sign.
    """
    open_: list[str] = []
    at, deepest = _after_blank(text, 0), 0
    while True:
        if open_ and open_[-1] == "]":
            at = _end(_ELEMENTS, text, at)
        sign = text[at : at + 1]
        if sign in _CLOSING:
            open_.append(_CLOSING[sign])
            deepest = max(deepest, len(open_))
            at = _after_blank(text, at + 1)
            if text[at : at + 1] != open_[-1]:
                at = _after_key(text, at) if sign == "{" else at
                continue
        else:
            at = _after_word(text, at) if loosely else _after_scalar(text, at)
        at, ended = _after_value(text, at, open_)
        if ended:
            return deepest


def _after_value(text: str, at: int, open_: list[str]) -> tuple[int, bool]:
    """Where the next value begins, behind a value or at a closing bracket; and whether that is all."""
    at = _after_blank(text, at)
    while open_:
        sign = text[at : at + 1]
        if sign == ",":
            at = _after_blank(text, at + 1)
            return (_after_key(text, at) if open_[-1] == "}" else at), False
        if sign != open_[-1]:
            raise _FaultError(NOT_JSON)
        open_.pop()
        at = _after_blank(text, at + 1)
    if at < len(text):
        raise _FaultError(MORE if text[at] in '{["' else NOT_JSON)
    return at, True


def _after_blank(text: str, at: int) -> int:
    return _end(_BLANK, text, at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the match of a pattern ends, which may be of nothing."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _after_string(text: str, at: int) -> int:
    """Behind the string that begins there."""
    if text[at : at + 1] != '"':
        raise _FaultError(NOT_JSON)
    try:
        return int(scanstring(text, at + 1, True)[1])
    except ValueError as error:
        raise _FaultError(NOT_JSON) from error


def _after_key(text: str, at: int) -> int:
    """Where the value of a member begins that is not simple, or the last."""
    at = _end(_MEMBERS, text, at)
    at = _after_blank(text, _after_string(text, at))
    if text[at : at + 1] != ":":
        raise _FaultError(NOT_JSON)
    return _after_blank(text, at + 1)


def _after_word(text: str, at: int) -> int:
    found = (_LOOSE_STRING if text[at : at + 1] == '"' else _WORD).match(text, at)
    if found is None:
        raise _FaultError(NOT_JSON)
    return found.end()


def _after_scalar(text: str, at: int) -> int:
    if text[at : at + 1] == '"':
        return _after_string(text, at)
    found = _SCALAR.match(text, at)
    if found is None:
        raise _FaultError(NOT_A_NUMBER if _NOT_FINITE.match(text, at) else NOT_JSON)
    return found.end()


#: Bytes of lines that are taken apart at once.
CHUNK_BYTES = 2 * 2**20
TOO_LONG = f"the line is longer than {MAX_LINE_BYTES // 2**20} MB"
NO_NAME = "a key without a name"
OWN_NAME = f"a key that begins with {INTERNAL_PREFIX}, as backfill's own columns do"
NUL_NAME = "a key with U+0000 in it"


@frozen
class Records:
    """Some records: the readable ones' members, each one's file and record number, and the unreadable ones."""

    cells: Cells
    files: npt.NDArray[np.uint32]
    numbers: npt.NDArray[np.uint64]
    faults: tuple[Unreadable, ...]


class _Placed(NamedTuple):
    """Sound records of one file, the first of that record number."""

    file: int
    record: int
    group: _Group


@dataclass(slots=True)
class _Chunk:
    """Records as they come: those that are objects, and the others' faults."""

    objects: list[_Placed] = field(default_factory=list)
    faults: list[Unreadable] = field(default_factory=list)
    size: int = 0

    def add(self, file: int, record: int, line: Line) -> bool:
        """Add one; returns whether it can be read."""
        found = line.fault or (fault_of(line.text) if line.whole else ("BF006", TOO_LONG))
        if found is None:
            self.add_objects(file, record, _Group([line], 1, sound=True))
        else:
            self.faults.append(_unreadable((file, record, line.number), *found, line.text))
            self.size += len(line.text)
        return found is None

    def add_objects(self, file: int, record: int, group: _Group) -> None:
        """Add some that are known to be objects, the first of that record number."""
        self.objects.append(_Placed(file, record, group))
        self.size += group.size

    def finish(self, types: Types) -> Records:
        """The records, those that turn out to be unreadable once they are taken apart told as well."""
        counts = np.array([each.group.count for each in self.objects], np.int64)
        firsts = np.array([each.record for each in self.objects], np.int64)
        files = np.repeat(np.array([each.file for each in self.objects], np.uint32), counts)
        before = np.cumsum(counts) - counts
        numbers = (np.repeat(firsts - before, counts) + np.arange(len(files))).astype(np.uint64)
        cells = take_apart(b"".join(each.group.text() for each in self.objects), len(files))
        bad = _bad_members(cells, self._lines)
        if bad:
            lines = self._lines()
            for row, message in bad.items():
                place = (int(files[row]), int(numbers[row]), lines[row].number)
                self.faults.append(_unreadable(place, "BF005", message, lines[row].text))
            self.faults.sort(key=lambda fault: (fault.file, fault.record))
            keep = np.ones(len(files), np.bool_)
            keep[list(bad)] = False
            cells, files, numbers = cells.without(keep), files[keep], numbers[keep]
        return Records(types.refined(cells), files, numbers, tuple(self.faults))

    def _lines(self) -> list[Line]:
        """The objects one by one."""
        return [line for each in self.objects for line in each.group.apart()]


def records(
    files: Sequence[SourceFile], watch: Callable[[int], None], texts: Texts, head: Head | None = None
) -> Iterator[Records]:
    """All records of the files in their order, or those within `head`; `watch` gets the bytes read.

    Raises:
        SourceError: a file is corrupt, truncated or gone, or cannot be told apart into records.
    """
    chunk = _Chunk()
    for index, file in enumerate(files):
        if not file.bytes or (head is not None and index not in head.files):
            continue
        found = texts.of(file, watch, head)
        spread = Spread(file.name)
        record = 1
        for group in grouped(found.stretches):
            if group.sound and not spread.pieces:
                chunk.add_objects(index, record, group)
            else:
                for number, line in enumerate(group.apart(), record):
                    readable = chunk.add(index, number, line)
                    if found.in_lines:
                        if spread.pieces or not readable:
                            spread.see(line, readable=readable)
                    elif not readable and line.whole and not line.fault and not is_one_value(line.text):
                        raise damaged(file.name, line.number)
            record += group.count
            if chunk.size >= CHUNK_BYTES:
                yield chunk.finish(texts.types)
                chunk = _Chunk()
    yield chunk.finish(texts.types)


def _bad_members(cells: Cells, objects: Callable[[], Sequence[Line]]) -> dict[int, str]:
    """What is wrong with objects of valid JSON, by their numbers."""
    bad = dict.fromkeys(cells.repeated().tolist(), REPEATED)
    for place, name in enumerate(cells.names):
        fault = _bad_name(name)
        if fault is not None:
            bad |= dict.fromkeys(cells.row[cells.name == place].tolist(), fault)
    if cells.depth > JSON_DEPTH:
        deep = [row for row, line in enumerate(objects()) if depth_of(line.text.decode()) > JSON_DEPTH]
        bad |= dict.fromkeys(deep, TOO_DEEP)
    return bad


def _bad_name(name: str) -> str | None:
    """Why no column can be called that."""
    if not name:
        return NO_NAME
    if "\0" in name:
        return NUL_NAME
    return OWN_NAME if name.startswith(INTERNAL_PREFIX) else None


def _unreadable(place: tuple[int, int, int], code: str, message: str, text: bytes) -> Unreadable:
    file, record, line = place
    original = text[: 4 * ORIGINAL_CHARACTERS].decode(errors="replace")[:ORIGINAL_CHARACTERS]
    return Unreadable(file, record, code, message, original, line)
