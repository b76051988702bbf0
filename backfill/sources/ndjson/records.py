"""The records of NDJSON files, some megabytes at a time: valid objects taken apart, the others with what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backfill.frozen import frozen
from backfill.limits import JSON_DEPTH
from backfill.memory import MAX_LINE_BYTES
from backfill.records import SourceFile
from backfill.sources.ndjson.documents import damaged
from backfill.sources.ndjson.groups import Group, grouped
from backfill.sources.ndjson.judge import fault_of
from backfill.sources.ndjson.key_columns import KeyColumns
from backfill.sources.ndjson.lines import Line, Spread
from backfill.sources.ndjson.members import Cells, joined, name_fault, take_apart
from backfill.sources.ndjson.scanner import depth_of, is_one_value
from backfill.sources.ndjson.texts import Head, Texts
from backfill.sources.ndjson.types import Types
from backfill.sources.reader import ORIGINAL_CHARACTERS, Unreadable

REPEATED = "a key stands twice in the object"
TOO_DEEP = f"nested more than {JSON_DEPTH:,} deep"
#: Bytes of lines that are taken apart at once.
CHUNK_BYTES = 2 * 2**20
TOO_LONG = f"the line is longer than {MAX_LINE_BYTES // 2**20} MB"


@frozen
class Records:
    """Some records: the readable ones' members, each one's file and record number, and the unreadable ones."""

    members: Cells | KeyColumns
    files: npt.NDArray[np.uint32]
    numbers: npt.NDArray[np.uint64]
    faults: tuple[Unreadable, ...] = ()


class _Placed(NamedTuple):
    """Sound records of one file, the first of that record number."""

    file: int
    record: int
    group: Group


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
            self.add_objects(file, record, Group([line], 1, sound=True))
        else:
            self.faults.append(_unreadable((file, record, line.number), *found, line.text))
            self.size += len(line.text)
        return found is None

    def add_objects(self, file: int, record: int, group: Group) -> None:
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
        cells = joined(list(self._parts()) or [take_apart(b"", 0)])
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

    def _parts(self) -> Iterator[Cells]:
        """The members of all objects, those that are not known yet taken apart together."""
        groups = (each.group for each in self.objects)
        for are_known, some in groupby(groups, lambda group: group.members is not None):
            if not are_known:
                together = list(some)
                count = sum(group.count for group in together)
                yield take_apart(b"".join(group.text() for group in together), count)
                continue
            for group in some:
                if group.members is not None:
                    yield group.members.cells() if isinstance(group.members, KeyColumns) else group.members

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
            if not group.sound or spread.pieces:
                _look_through(group, chunk, _Place(file.name, index, record), spread if found.in_lines else None)
            elif isinstance(group.members, KeyColumns) and texts.types.by_columns:
                yield chunk.finish(texts.types)
                chunk = _Chunk()
                numbers = np.arange(record, record + group.count, dtype=np.uint64)
                yield Records(group.members, np.full(group.count, index, np.uint32), numbers)
            else:
                chunk.add_objects(index, record, group)
            record += group.count
            if chunk.size >= CHUNK_BYTES:
                yield chunk.finish(texts.types)
                chunk = _Chunk()
    yield chunk.finish(texts.types)


class _Place(NamedTuple):
    """Where a group of records stands."""

    name: str
    file: int
    record: int  # the first one


def _look_through(group: Group, chunk: _Chunk, place: _Place, spread: Spread | None) -> None:
    """Add the records one by one; `spread` is None where they are no lines.

    Raises:
        SourceError: the file cannot be told apart into records.
    """
    for number, line in enumerate(group.apart(), place.record):
        readable = chunk.add(place.file, number, line)
        if spread is None:
            if not readable and line.whole and not line.fault and not is_one_value(line.text):
                raise damaged(place.name, line.number)
        elif spread.pieces or not readable:
            spread.see(line, readable=readable)


def _bad_members(cells: Cells, objects: Callable[[], Sequence[Line]]) -> dict[int, str]:
    """What is wrong with objects of valid JSON, by their numbers."""
    bad = dict.fromkeys(cells.repeated().tolist(), REPEATED)
    for place, name in enumerate(cells.names):
        fault = name_fault(name)
        if fault is not None:
            bad |= dict.fromkeys(cells.row[cells.name == place].tolist(), fault)
    if cells.depth > JSON_DEPTH:
        deep = [row for row, line in enumerate(objects()) if depth_of(line.text.decode()) > JSON_DEPTH]
        bad |= dict.fromkeys(deep, TOO_DEEP)
    return bad


def _unreadable(place: tuple[int, int, int], code: str, message: str, text: bytes) -> Unreadable:
    file, record, line = place
    original = text[: 4 * ORIGINAL_CHARACTERS].decode(errors="replace")[:ORIGINAL_CHARACTERS]
    return Unreadable(file, record, code, message, original, line)
