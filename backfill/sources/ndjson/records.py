"""The records of NDJSON files, some megabytes at a time: valid objects taken apart, the others with what is wrong.

Valid is what RFC 8259 says, and exactly that. orjson takes most records at once; those that it refuses are looked at
once more by a scanner of our own, since orjson refuses too much (1e400, integers of 400 digits), says little, and
builds all that a record holds, which costs a long one more memory than there is.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
from backfill.sources.ndjson.scanner import FaultError, depth_of, half_pair, is_one_value, scan
from backfill.sources.ndjson.texts import Head, Texts
from backfill.sources.ndjson.types import Types
from backfill.sources.reader import ORIGINAL_CHARACTERS, Unreadable

#: Longer lines are not handed to orjson, which would build their values: up to 60 times a line's bytes.
MAX_BUILT_BYTES = 2**20

NO_OBJECT = "no JSON object"
REPEATED = "a key stands twice in the object"
TOO_DEEP = f"nested more than {JSON_DEPTH:,} deep"
HALF_PAIR = "half of a surrogate pair in a string, which is no character"
ENCODING = "bytes that are not UTF-8"


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
        scan(text)
    except FaultError as fault:
        return "BF005", str(fault)
    if half_pair(text):
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
