"""The records of NDJSON files, some megabytes at a time: those that can be read taken apart, the others told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backfill.limits import JSON_DEPTH
from backfill.records import INTERNAL_PREFIX, SourceFile
from backfill.sources.checksum import plain_pieces
from backfill.sources.json_cells import Cells, take_apart
from backfill.sources.json_documents import records_in
from backfill.sources.json_lines import MAX_LINE_BYTES, Line
from backfill.sources.json_spread import Spread
from backfill.sources.json_strict import REPEATED, TOO_DEEP, depth_of, fault_of
from backfill.sources.reader import Unreadable
from backfill.sources.rejects import ORIGINAL_CHARACTERS

#: Bytes of lines that are taken apart at once.
CHUNK_BYTES = 2 * 2**20
#: What a look at the beginnings reads: of so many files, so many bytes of each, and of all.
HEAD_FILES, HEAD_BYTES, HEAD_BYTES_OF_ALL = 64, 4 * 2**20, 16 * 2**20
TOO_LONG = f"the line is longer than {MAX_LINE_BYTES // 2**20} MB"
NO_NAME = "a key without a name"
OWN_NAME = f"a key that begins with {INTERNAL_PREFIX}, as backfill's own columns do"
NUL_NAME = "a key with U+0000 in it"


@dataclass(slots=True)
class Head:
    """A bound: the beginnings of some files; `cut` tells, once they were read, whether that left anything out."""

    files: frozenset[int]
    size: int  # bytes of each file
    cut: bool

    @classmethod
    def of(cls, files: Sequence[SourceFile]) -> Head:
        """The beginnings of all files, or of HEAD_FILES of them: the first ones, and as many from all over the rest."""
        count = min(len(files), HEAD_FILES)
        first = count // 2
        step = (len(files) - 1 - first) / max(count - 1 - first, 1)
        chosen = frozenset([*range(first), *(round(first + step * place) for place in range(count - first))])
        return cls(chosen, min(HEAD_BYTES, max(HEAD_BYTES_OF_ALL // count, 2**18)), cut=count < len(files))


@dataclass(frozen=True, slots=True)
class Records:
    """Some records: the readable ones' members, each one's file and record number, and the unreadable ones."""

    cells: Cells
    files: npt.NDArray[np.uint32]
    numbers: npt.NDArray[np.uint64]
    faults: tuple[Unreadable, ...]


@dataclass(slots=True)
class _Chunk:
    """Records as they come."""

    objects: list[bytes] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)  # file, record, line of each object
    faults: list[Unreadable] = field(default_factory=list)
    size: int = 0

    def add(self, file: int, record: int, line: Line) -> bool:
        """Add one; returns whether it can be read."""
        self.size += len(line.text)
        found = fault_of(line.text) if line.whole else ("BF006", TOO_LONG)
        place = (file, record, line.number)
        if found is None:
            self.objects.append(line.text)
            self.places.append(place)
        else:
            self.faults.append(_unreadable(place, *found, line.text))
        return found is None

    def settle(self) -> Records:
        """The records, those that turn out to be unreadable once they are taken apart told as well."""
        cells = take_apart(self.objects)
        bad = _bad_members(cells, self.objects)
        if bad:
            self.faults += [_unreadable(self.places[row], "BF005", bad[row], self.objects[row]) for row in bad]
            self.faults.sort(key=lambda fault: (fault.file, fault.record))
            keep = np.ones(len(self.objects), np.bool_)
            keep[list(bad)] = False
            cells = cells.without(keep)
            self.places = [place for row, place in enumerate(self.places) if row not in bad]
        files, numbers, _ = np.array(self.places, np.uint64).reshape(-1, 3).T
        return Records(cells, files.astype(np.uint32), numbers, tuple(self.faults))


def records(files: Sequence[SourceFile], watch: Callable[[int], None], head: Head | None = None) -> Iterator[Records]:
    """All records of the files in their order, or those within `head`; `watch` is told the bytes read.

    Raises:
        SourceError: a file is corrupt, truncated or gone, or records go over several of its lines.
    """
    chunk = _Chunk()
    for index, file in enumerate(files):
        if not file.bytes or (head is not None and index not in head.files):
            continue
        spread = Spread(file.name)
        for record, line in enumerate(records_in(_pieces(file, watch, head), file.name, cut=head is not None), 1):
            readable = chunk.add(index, record, line)
            if spread.pieces or not readable:
                spread.see(line, readable=readable)
            if chunk.size >= CHUNK_BYTES:
                yield chunk.settle()
                chunk = _Chunk()
    yield chunk.settle()


def _pieces(file: SourceFile, watch: Callable[[int], None], head: Head | None) -> Iterator[bytes]:
    """The file's plain bytes; within `head`, up to a line's end near its size."""
    left = head.size if head is not None else None
    for piece in plain_pieces(Path(file.path), file.name, watch):
        if head is None or left is None or len(piece) <= left:
            left = None if left is None else left - len(piece)
            yield piece
            continue
        end = piece.find(b"\n", left) + 1
        if end:
            head.cut = True
            yield piece[:end]
            return
        left = 0
        yield piece


def _bad_members(cells: Cells, objects: Sequence[bytes]) -> dict[int, str]:
    """What is wrong with objects of valid JSON, by their numbers."""
    bad = dict.fromkeys(cells.repeated().tolist(), REPEATED)
    for place, name in enumerate(cells.names):
        fault = _bad_name(name)
        if fault is not None:
            bad |= dict.fromkeys(cells.row[cells.name == place].tolist(), fault)
    if cells.depth > JSON_DEPTH:
        deep = [row for row, text in enumerate(objects) if depth_of(text.decode()) > JSON_DEPTH]
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
