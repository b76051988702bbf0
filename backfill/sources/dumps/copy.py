r"""PostgreSQL's COPY text: a row a line, fields between tabs, `\N` for null, a backslash before what would not be text.

Neither a tab nor a line end ever stands raw inside of a field, so that rows and fields are found by two signs alone.
PostgreSQL writes the escapes in MEANINGS and no other (chapter "COPY", Text Format); others make a row unreadable.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.memory import MAX_LINE_BYTES
from backfill.sources.dumps.fields import BACKSLASH, Bytes, Fields, Flags, Places, unescaped
from backfill.sources.dumps.rows import ESCAPE, FEW, MANY, TOO_LONG, Rows
from backfill.sources.dumps.script import Script
from backfill.sources.escapes import effective

MEANINGS = dict(zip(b"bfnrtv\\", b"\b\f\n\r\t\v\\", strict=True))
_TAB, _LF, _CR, _N = b"\t\n\rN"
_ALLOWED = np.zeros(256, np.bool_)
_ALLOWED[list(MEANINGS)] = True
_END = b"\\."
#: What is kept of a row that is too long.
_HEAD_BYTES = 8_000


def pass_block(script: Script) -> None:
    """Pass the rows of a COPY that nobody asks for; raises SourceError where its end is missing."""
    while True:
        if script.text.startswith(_END, script.place):
            script.pass_line()
            return
        found = _end(script)
        script.pass_to(found + 1 if found >= 0 else max(script.place, script.text.rfind(b"\n") + 1))
        if found < 0 and not script.more():
            raise _unended(script)


def read_block(script: Script, names: tuple[str, ...]) -> Iterator[Rows]:
    """The rows of a COPY; raises SourceError where its end is missing."""
    while True:
        line = script.line
        if script.text.startswith(_END, script.place):
            script.pass_line()
            return
        found = _end(script)
        end = found + 1 if found >= 0 else script.text.rfind(b"\n") + 1
        if end > script.place:
            rows = _rows(script.pass_to(end, lines=0), line, names)
            script.line += len(rows.starts)
            yield rows
        elif len(script.text) - script.place > MAX_LINE_BYTES:
            yield _too_long(script, names)
            continue
        if found < 0 and not script.more():
            raise _unended(script)


def _end(script: Script) -> int:
    """Where the rows end in the text so far, behind their last line's sign; -1 where they go on."""
    first = script.text.find(_END[:1], script.place)  # many texts have no backslash, which is found out soonest
    return script.text.find(b"\n" + _END, max(first - 1, script.place)) if first >= 0 else -1


def _unended(script: Script) -> Exception:
    return script.cut_off(r"in the rows of a COPY, whose end `\.` is missing")


def _too_long(script: Script, names: tuple[str, ...]) -> Rows:
    """Pass a row of which only the beginning is kept."""
    head, line = script.text[script.place : script.place + _HEAD_BYTES], script.line
    while (end := script.text.find(b"\n", script.place)) < 0:
        script.pass_to(len(script.text))
        if not script.more():
            raise _unended(script)
    script.pass_to(end + 1)
    zero, size = np.zeros(1, np.int64), np.full(1, len(head))
    return Rows(names, head, line, zero, size, np.full(1, TOO_LONG, np.uint8), None, _plain)


def _rows(text: bytes, line: int, names: tuple[str, ...]) -> Rows:
    data = np.frombuffer(text, np.uint8)
    marks = np.flatnonzero((data == _TAB) | (data == _LF))
    last = np.flatnonzero(data[marks] == _LF)  # of the marks of each row
    line_ends = marks[last]
    starts = np.concatenate(([0], line_ends[:-1] + 1))
    ends = line_ends - ((line_ends > starts) & (data[line_ends - 1] == _CR))
    found = np.diff(last, prepend=-1)
    if len(names) == 0:
        found = np.where(starts == ends, 0, found)
    faults = np.where(found < len(names), np.uint8(FEW), np.uint8(MANY))
    faults[found == len(names)] = 0
    rows = Rows(names, text, line, starts, ends, faults, None, _plain)
    rows.note_encoding()
    escapes = _escapes(data)
    _note_escapes(rows, data, escapes)
    good = rows.faults == 0
    if good.any() and names:
        whole = good.all()
        field_ends = (marks if whole else marks[np.repeat(good, found)]).reshape(-1, len(names)).copy()
        field_starts = np.empty_like(field_ends)
        field_starts[:, 1:] = field_ends[:, :-1] + 1
        field_starts[:, 0] = starts if whole else starts[good]
        field_ends[:, -1] = ends if whole else ends[good]
        rows.fields = Fields(text, field_starts, field_ends, _nulls(data, field_starts, field_ends, escapes))
    return rows


def _plain(column: int, values: pa.Array) -> pa.Array:
    del column
    return unescaped(values, BACKSLASH, MEANINGS)


def _escapes(data: Bytes) -> Places:
    found = np.flatnonzero(data == BACKSLASH)
    return effective(found) if len(found) else found


def _note_escapes(rows: Rows, data: Bytes, escapes: Places) -> None:
    r"""Mark the rows with an escape of another kind; `\N` is one where it is a whole field."""
    letters = data[escapes + 1]
    other = escapes[~_ALLOWED[letters]]
    if not len(other):
        return
    before = np.where(other == 0, _LF, data[np.maximum(other - 1, 0)])
    behind = data[np.minimum(other + 2, len(data) - 1)]
    bounded = ((before == _TAB) | (before == _LF)) & ((behind == _TAB) | (behind == _LF) | (behind == _CR))
    wrong = other[~(bounded & (data[other + 1] == _N))]
    owners = rows.ends.searchsorted(wrong, side="right")
    rows.faults[owners] = np.where(rows.faults[owners] == 0, ESCAPE, rows.faults[owners])


def _nulls(data: Bytes, starts: Places, ends: Places, escapes: Places) -> Flags:
    r"""Which fields are `\N`."""
    if not len(escapes):
        return np.zeros(starts.shape, np.bool_)
    inside = np.minimum(starts, len(data) - 2)
    found: Flags = (ends - starts == len(rb"\N")) & (data[inside] == BACKSLASH) & (data[inside + 1] == _N)
    return found
