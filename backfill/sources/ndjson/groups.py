"""Records that follow each other, in groups: known to be JSON objects, or to be looked through.

As many as come together are taken as alike wherever they are (see alike), the others judged together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from backfill.frozen import frozen
from backfill.sources.ndjson.alike import Shape, Taken
from backfill.sources.ndjson.judge import GROUP_BYTES, are_objects
from backfill.sources.ndjson.key_columns import KeyColumns
from backfill.sources.ndjson.lines import Line, Lines
from backfill.sources.ndjson.members import Cells

_LF = b"\n"
#: Bytes of records that are taken as alike at once.
TAKEN_BYTES = 2**20
#: Where fewer records than this share of them are alike, all are taken apart in one way.
_MOST = 7 / 8


@frozen
class Group:
    """Records one behind the other."""

    lines: Lines | Sequence[Line]
    count: int
    sound: bool  # all are known to be JSON objects
    members: Cells | KeyColumns | None = None  # where they are known

    def apart(self) -> Iterable[Line]:
        """One by one."""
        return self.lines.apart() if isinstance(self.lines, Lines) else self.lines

    @property
    def size(self) -> int:
        """Their bytes."""
        return len(self.lines.text) if isinstance(self.lines, Lines) else sum(len(line.text) for line in self.lines)

    def text(self) -> bytes:
        """Their texts, with nothing between them."""
        return b"".join(line.text for line in self.apart())


def grouped(found: Iterable[Line | Lines]) -> Iterator[Group]:
    """The records in groups, in their order."""
    shape = Shape()
    for together in _together(found):
        yield from _taken(together, shape)


def _together(found: Iterable[Line | Lines]) -> Iterator[Lines | list[Line]]:
    """The records, those that come one by one some at a time."""
    held: list[Line] = []
    size = 0
    for each in found:
        if isinstance(each, Line):
            held.append(each)
            size += len(each.text)
        if held and (size >= TAKEN_BYTES or isinstance(each, Lines)):
            yield held
            held, size = [], 0
        if isinstance(each, Lines):
            yield each
    if held:
        yield held


def _taken(lines: Lines | Sequence[Line], shape: Shape) -> Iterator[Group]:
    """The records as one group that is alike, as runs that are and are not, or as groups judged by size."""
    taken = shape.take(lines.text if isinstance(lines, Lines) else _text_of(lines))
    if taken is not None and taken.alike.all():
        yield Group(lines, len(taken.alike), sound=True, members=taken.columns)
        return
    if taken is not None and np.count_nonzero(taken.alike) >= _MOST * len(taken.alike):
        groups = _runs(list(lines.every()) if isinstance(lines, Lines) else lines, taken)
    else:
        groups = map(_judged, _by_size(lines.apart() if isinstance(lines, Lines) else lines))
        if taken is not None and shape.is_known:
            shape.give_up()
    for group in groups:
        if group.sound and group.members is None and not shape.is_known:
            shape.learn([line.text for line in group.apart()])
        yield group


def _text_of(lines: Sequence[Line]) -> bytes:
    """The texts with LF between them; nothing where that would not tell them apart, or some are no records for sure."""
    fit = all(line.whole and line.fault is None and _LF not in line.text for line in lines)
    return _LF.join(line.text for line in lines) if fit else b""


def _by_size(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """The records, about GROUP_BYTES at a time."""
    held: list[Line] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line.text)
        if size >= GROUP_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _judged(lines: Sequence[Line]) -> Group:
    """The records as one group."""
    whole = all(line.whole and line.fault is None for line in lines)
    return Group(lines, len(lines), sound=whole and are_objects([line.text for line in lines]))


def _runs(lines: Sequence[Line], taken: Taken) -> Iterator[Group]:
    """Runs of records that are alike, and groups of others; some lines may be blank."""
    cells = taken.columns.cells()
    edges = [0, *(np.flatnonzero(np.diff(taken.alike)) + 1).tolist(), len(lines)]
    for first, last in pairwise(edges):
        run = lines[first:last]
        if taken.alike[first]:
            yield Group(run, len(run), sound=True, members=cells.part(first, last))
        else:
            yield from map(_judged, _by_size(line for line in run if line.text.strip()))
