"""Where the records of a CSV text begin and end, how many fields each has, and which are broken; in bounded memory.

The text comes in pieces that may end anywhere. Most of it is found by arithmetic on whole pieces; a record with an
irregular quote is gone through by itself, and so is one that is longer than the maximum, of which only the beginning
is kept (see structure for both).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backfill.frozen import frozen
from backfill.memory import MAX_RECORD_BYTES
from backfill.sources.csv.structure import Marks, Places, RecordFault, Shape, State, Walk, Walker, shape_of
from backfill.sources.csv.text import CR, LF, Dialect

#: What is kept of a record that is too long: 2,000 characters of UTF-8.
HEAD_BYTES = 8_000
#: A record of which so much is held is gone through by itself, as arithmetic takes memory for each of its quotes.
_LONG = 2**16
#: After an irregular record the next ones are gone through singly while an irregular quote is as near as this.
_NEAR = 2_048


@frozen
class Records:
    """Records of one text, in its order; empty lines among them, comments not."""

    text: bytes
    starts: Places
    ends: Places  # without the line end
    nexts: Places  # behind the line end
    fields: Places
    faults: NDArray[np.uint8]  # of RecordFault
    line: int  # the line, from 1, of the text's first byte
    #: Lines that the last record takes up, where it is unclosed.
    taken_lines: int = 0

    def __len__(self) -> int:
        return len(self.starts)

    def since(self, index: int) -> Records:
        """Those from an index on."""
        cut = slice(index, None)
        return Records(
            self.text, self.starts[cut], self.ends[cut], self.nexts[cut], self.fields[cut], self.faults[cut],
            self.line, self.taken_lines,
        )  # fmt: skip

    def only(self, chosen: NDArray[np.bool_]) -> Records:
        """Those chosen."""
        return Records(
            self.text, self.starts[chosen], self.ends[chosen], self.nexts[chosen], self.fields[chosen],
            self.faults[chosen], self.line, self.taken_lines,
        )  # fmt: skip

    def lines(self, chosen: Places) -> Places:
        """The lines, from 1, that the records of those indices begin at."""
        text = np.frombuffer(self.text, np.uint8)
        ends = text == LF
        lone = text == CR
        if lone.any():
            lone[:-1] &= text[1:] != LF
            ends |= lone
        found: Places = np.flatnonzero(ends).searchsorted(self.starts[chosen]) + self.line
        return found


@dataclass(slots=True)
class _Found:
    """Records of a text as they are found, some many at once and some singly."""

    starts: list[Places] = field(default_factory=list)
    ends: list[Places] = field(default_factory=list)
    nexts: list[Places] = field(default_factory=list)
    fields: list[Places] = field(default_factory=list)
    faults: list[NDArray[np.uint8]] = field(default_factory=list)
    singly: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    unclosed: bool = False

    def add_many(self, signs: NDArray[np.uint8], place: int, line_ends: Places, fields: Places, comment: int) -> None:
        """Add records by their line ends, the first one beginning at `place`."""
        self.flush()
        starts = np.concatenate(([place], line_ends[:-1] + 1))
        ends = line_ends - ((signs[line_ends] == LF) & (line_ends > 0) & (signs[line_ends - 1] == CR))
        nexts = line_ends + 1
        if comment >= 0:
            kept = (signs[starts] != comment) | (starts == ends)
            starts, ends, nexts, fields = starts[kept], ends[kept], nexts[kept], fields[kept]
        self._extend(starts, ends, nexts, fields, np.zeros(len(starts), np.uint8))

    def flush(self) -> None:
        """Put those added singly to the others."""
        if self.singly:
            starts, ends, nexts, fields, faults = np.array(self.singly, np.int64).T
            self._extend(starts, ends, nexts, fields, faults.astype(np.uint8))
            self.singly.clear()

    def _extend(self, starts: Places, ends: Places, nexts: Places, fields: Places, faults: NDArray[np.uint8]) -> None:
        self.starts.append(starts)
        self.ends.append(ends)
        self.nexts.append(nexts)
        self.fields.append(fields)
        self.faults.append(faults)


@dataclass(slots=True)
class _TooLong:
    """A record of which only the beginning is kept."""

    walk: Walk
    head: bytes
    line: int


class Scanner:
    """Takes a text piece by piece."""

    def __init__(self, dialect: Dialect, line: int = 1, limit: int = MAX_RECORD_BYTES) -> None:
        self._dialect, self._limit = dialect, limit
        self._comment = -1 if dialect.comment is None else dialect.comment
        self._walker = Walker(dialect)
        self._held = b""  # from where a record begins, or from where the walk of one too long stands
        self._line = line  # of the first byte held
        self._too_long: _TooLong | None = None

    def feed(self, piece: bytes, *, final: bool = False) -> Iterator[Records]:
        """The records that end in the pieces so far, and with `final` the last one."""
        text = self._held + piece if self._held else piece
        if self._too_long is not None:
            walk = self._too_long.walk
            records, place = self._go_on(self._too_long, text, final=final)
            if records is not None:
                yield records
            self._advance(text, place)
            text = self._held if walk.state is State.ENDED else b""
        elif len(self._held) > _LONG:
            records, place = self._first(text, final=final)
            if records is not None:
                yield records
            self._advance(text, place)
            text = self._held if place else b""
        if text:
            found = _Found()
            shape = shape_of(text, self._dialect, final=final)
            place = self._find(shape, text, found, final=final)
            records = self._records(shape, text, found)
            if records is not None:
                yield records
            self._advance(text, place)
        if not final and self._too_long is None and len(self._held) > self._limit + 2:  # with a CR, and its LF to come
            self._give_up()

    def _first(self, text: bytes, *, final: bool) -> tuple[Records | None, int]:
        """The first record if it ends, and where what is left begins."""
        found = _Found()
        shape = shape_of(text, self._dialect, final=final)
        place = self._walk_one(shape, _as_bytes(shape, text), text, 0, found, final=final)
        return self._records(shape, text, found), place

    def _advance(self, text: bytes, place: int) -> None:
        """Hold the text from there on."""
        self._line += count_line_ends(text, place)
        self._held = text[place:]

    def _find(self, shape: Shape, text: bytes, found: _Found, *, final: bool) -> int:
        """Find the records of a text; returns where what is left begins."""
        marks = Marks(shape.signs, shape.usable, self._dialect)
        place = 0
        while place < shape.usable:
            side = marks.side(place)
            irregular = marks.irregular_from(place, side)
            line_ends, fields = marks.records(place, shape.usable if irregular is None else irregular, side)
            if len(line_ends):
                found.add_many(shape.signs, place, line_ends, fields, self._comment)
                place = int(line_ends[-1]) + 1
            open_to_the_end = irregular is None and final and place < shape.usable
            if irregular is None and not open_to_the_end:
                break
            behind = self._walk_on(marks, shape, text, place, found, final=final)
            if behind == place:
                break
            place = behind
        return min(place, len(text))

    def _walk_on(self, marks: Marks, shape: Shape, text: bytes, place: int, found: _Found, *, final: bool) -> int:
        """Go through records singly from an irregular one on; returns behind the last one that ends."""
        signs = _as_bytes(shape, text)
        while place < shape.usable:
            line_ends, fields = marks.lines_without_opener(place, _NEAR)
            if len(line_ends):
                found.add_many(shape.signs, place, line_ends, fields, self._comment)
                place = int(line_ends[-1]) + 1
            elif sound := self._walker.sound_record(signs, place, shape.usable):
                found.singly.append((place, *sound, RecordFault.NONE))
                place = sound[1]
            else:
                behind = self._walk_one(shape, signs, text, place, found, final=final)
                if behind == place:
                    break
                place = behind
            irregular = marks.irregular_from(place, marks.side(place))
            if irregular is None or irregular > place + _NEAR:
                break
        return place

    def _walk_one(self, shape: Shape, signs: bytes, text: bytes, place: int, found: _Found, *, final: bool) -> int:
        """Go through one record; returns where the next one begins, the same place where it does not end."""
        walk = self._walker.begin(signs, place)
        self._walker.go(walk, signs, shape.usable, final=final)
        if walk.state is State.ENDED:
            if not walk.comment:
                found.singly.append((place, walk.content_end, walk.place, walk.fields, walk.fault))
            return walk.place
        if not final:
            return place
        found.singly.append((place, len(text), len(text), walk.fields, RecordFault.UNCLOSED))
        found.unclosed = True
        return shape.usable

    def _records(self, shape: Shape, text: bytes, found: _Found) -> Records | None:
        """What was found, with the faults of escapes and length."""
        found.flush()
        if not found.starts:
            return None
        starts, ends, nexts = (np.concatenate(parts) for parts in (found.starts, found.ends, found.nexts))
        if not len(starts):
            return None
        faults = np.concatenate(found.faults)
        ends, nexts = np.minimum(ends, len(text)), np.minimum(nexts, len(text))
        if len(shape.bad_escapes):
            owners = nexts.searchsorted(shape.bad_escapes, side="right")
            inside = owners < len(starts)
            owners = owners[inside]
            owners = owners[starts[owners] <= shape.bad_escapes[inside]]
            faults[owners] = np.maximum(faults[owners], RecordFault.ESCAPE)
        too_long = ends - starts > self._limit
        faults[too_long] = np.maximum(faults[too_long], RecordFault.TOO_LONG)
        taken = count_line_ends(text, len(text), int(starts[-1])) if found.unclosed else 0
        return Records(text, starts, ends, nexts, np.concatenate(found.fields), faults, self._line, taken)

    def _give_up(self) -> None:
        """Keep of the record held only its beginning, and where a walk through it stands."""
        shape = shape_of(self._held, self._dialect, final=False)
        signs = _as_bytes(shape, self._held)
        walk = self._walker.begin(signs, 0)
        self._walker.go(walk, signs, shape.usable, final=False)
        self._too_long = _TooLong(walk, self._held[:HEAD_BYTES], self._line)
        self._advance(self._held, walk.place)

    def _go_on(self, record: _TooLong, text: bytes, *, final: bool) -> tuple[Records | None, int]:
        """Go on in a record that is too long; returns it if it ends, and where what is left begins."""
        walk = record.walk
        walk.place = 0
        if text:
            shape = shape_of(text, self._dialect, final=final)
            self._walker.go(walk, _as_bytes(shape, text), shape.usable, final=final)
        place = min(walk.place, len(text))
        if walk.state is not State.ENDED and not final:
            return None, place
        self._too_long = None
        if walk.comment:
            return None, place
        unclosed = walk.state is State.QUOTED
        place = len(text) if unclosed else place
        taken = self._line + count_line_ends(text, place) - record.line if unclosed else 0
        fault = RecordFault.UNCLOSED if unclosed else RecordFault.TOO_LONG
        zero, size = np.zeros(1, np.int64), np.full(1, len(record.head))
        faults = np.full(1, fault, np.uint8)
        return Records(record.head, zero, size, size, np.full(1, walk.fields), faults, record.line, taken), place


def count_line_ends(text: bytes, until: int, since: int = 0) -> int:
    """LF, CR and CRLF between two places that part no CRLF."""
    ends = text.count(b"\n", since, until)
    lone = text.count(b"\r", since, until)
    return ends + lone - text.count(b"\r\n", since, until) if lone else ends


def _as_bytes(shape: Shape, text: bytes) -> bytes:
    """The signs as bytes."""
    same = shape.signs.base is not None and len(shape.signs) == len(text)
    return text if same else shape.signs.tobytes()
