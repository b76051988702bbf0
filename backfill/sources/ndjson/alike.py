"""Lines whose objects have the same keys in the same order, as most exports write them: judged and taken apart at once.

Rules
1) A line is alike if it is `{"key":value,"key":value}` of known keys in their known order, some of them perhaps left
   out, with the same blanks, or none, behind all commas and all colons.
2) Such a line is an object of RFC 8259 without repeated keys: the keys' bytes are those known, a value that begins with
   a quote ends with the next one that no backslash escapes, and any other ends where the next key begins. That strings
   hold no control character, and are UTF-8, is seen of all lines at once; escapes and brackets are for orjson to judge.
3) All lines go on from key to key together, each with a place in the list of quotes (lock-step). What does not fit says
   nothing of its line, which is then read as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from backfill.frozen import frozen
from backfill.limits import JSON_DEPTH
from backfill.sources.ndjson.judge import are_objects, are_values
from backfill.sources.ndjson.key_columns import Booleans, KeyColumns
from backfill.sources.ndjson.members import KINDS, STRING, Integers, name_fault, slices, take_apart
from backfill.sources.ndjson.scanner import SCALAR
from backfill.sources.ndjson.structure import escaped_quotes

_LF, _QUOTE, _BACKSLASH, _COMMA, _OPENING, _CLOSING, _BLANK = b'\n"\\,{} '
_FIRST_PRINTABLE = 0x20
_STEP = np.zeros(256, np.int64)
_STEP[list(b"{[")], _STEP[list(b"}]")] = 1, -1
_INSIDE = np.zeros(256, np.bool_)
_INSIDE[list(b'"{}[] \n')] = True
#: Bytes that are compared at once.
_WORD = 8
#: With more keys, lines are gone through faster one sign after the other.
MAX_KEYS = 256
#: Where lines have fewer bytes for each key, most keys are left out: that too.
BYTES_A_CELL = 4
#: Lines that the keys are learned of.
SAMPLE_LINES = 100


@frozen
class Taken:
    """What lines are: which of them are alike, and the members of those; the others have none."""

    columns: KeyColumns
    alike: Booleans


class Shape:
    """The keys of a file's lines in their order, as far as lines were shown."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.blank = b""  # behind commas and colons
        self.is_known = False  # what was shown last had nothing new

    def learn(self, lines: Sequence[bytes]) -> None:
        """Take note of some lines that are objects."""
        some = lines[:SAMPLE_LINES]
        cells = take_apart(b"".join(some), len(some))
        before = len(self.keys)
        if len({*self.keys, *cells.names}) > MAX_KEYS or any(map(name_fault, cells.names)):
            self.give_up()
            return
        for codes in dict.fromkeys(map(tuple, np.split(cells.name, np.flatnonzero(np.diff(cells.row)) + 1))):
            self._merge([cells.names[code] for code in codes])
        if not before and self.keys:
            self.blank = b" " if some[0].startswith(b"{%b: " % orjson.dumps(self.keys[0])) else b""
        self.is_known = len(self.keys) == before

    def _merge(self, keys: Sequence[str]) -> None:
        """Put keys that are not there behind the ones that they follow."""
        place = 0
        for key in keys:
            if key in self.keys:
                place = self.keys.index(key)
            else:
                self.keys.insert(place, key)
            place += 1

    def give_up(self) -> None:
        """Take no line as alike from here on."""
        self.keys, self.is_known = [], True

    def take(self, text: bytes) -> Taken | None:
        """The lines of a text, between which LF stands; None where none of them can be alike."""
        piece = _Piece.of(text) if self.keys and text else None
        if piece is None or piece.depth > JSON_DEPTH or len(piece.ends) * len(self.keys) * BYTES_A_CELL > len(text):
            return None
        return _taken(piece, self)


@frozen
class _Piece:
    """Some lines: where they begin and end, and the quotes around the keys and strings of their outermost objects."""

    text: npt.NDArray[np.uint8]  # an LF and some more behind them
    starts: Integers
    ends: Integers
    marks: Integers  # places of quotes and of the lines' ends
    firsts: Integers  # each line's first mark
    fits: Booleans  # lines that are not known to be different
    depth: int
    slashes: Integers

    @classmethod
    def of(cls, lines: bytes) -> _Piece | None:
        """The lines; None where they are not alike for sure, or bytes among them are no text."""
        text = np.frombuffer(lines + b"\n" + bytes(_WORD), np.uint8)
        own = text[: len(lines) + 1]
        is_mark = (own == _QUOTE) | (own == _LF)
        slashes = np.empty(0, np.int64) if b"\\" not in lines else np.flatnonzero(own == _BACKSLASH)
        escaped = escaped_quotes(text, slashes)
        is_mark[escaped] = False
        marks = np.flatnonzero(is_mark)
        at_ends = np.flatnonzero(text[marks] == _LF)
        ends = marks[at_ends]
        if np.count_nonzero(own < _FIRST_PRINTABLE) > len(ends) or not _is_utf8(text, len(lines)):
            return None
        starts = np.append(0, ends[:-1] + 1)
        begin = text[starts] == _OPENING
        fits, depth = begin & (text[ends - 1] == _CLOSING), 1
        if len(escaped) < len(slashes):
            fits &= _without_bad_escapes(text, starts, ends, slashes)
        if np.count_nonzero(own == _OPENING) > np.count_nonzero(begin) or b"[" in lines:
            marks, depth, stripped = _outermost(text, own, marks)
            fits &= stripped
            at_ends = np.flatnonzero(text[marks] == _LF)
        return cls(text, starts, ends, marks, np.append(0, at_ends[:-1] + 1), fits, depth, slashes)


def _have(text: npt.NDArray[np.uint8], places: Integers, wanted: bytes) -> Booleans:
    """At which of the places those bytes stand, eight of which are compared at once."""
    words = np.ndarray((len(text) - _WORD,), "<u8", text, strides=(1,))
    found = np.ones(len(places), np.bool_)
    for first in range(0, len(wanted), _WORD):
        part = wanted[first : first + _WORD]
        there = words[np.minimum(places + first, len(words) - 1)] if first else words[places]
        if len(part) < _WORD:
            there &= np.uint64(2 ** (8 * len(part)) - 1)
        found &= there == np.uint64(int.from_bytes(part, "little"))
    return found


def _is_utf8(text: npt.NDArray[np.uint8], size: int) -> bool:
    edges = pa.py_buffer(np.array([0, size], np.int32))
    try:
        pa.StringArray.from_buffers(1, edges, pa.py_buffer(text)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _without_bad_escapes(text: npt.NDArray[np.uint8], starts: Integers, ends: Integers, slashes: Integers) -> Booleans:
    """Which lines are without backslashes, or are objects."""
    rows = np.unique(np.searchsorted(starts, slashes, side="right") - 1)
    whole = text.tobytes()
    lines = [whole[first:last] for first, last in zip(starts[rows].tolist(), ends[rows].tolist(), strict=True)]
    fits = np.ones(len(starts), np.bool_)
    fits[rows] = are_objects(lines)
    return fits


def _outermost(
    text: npt.NDArray[np.uint8], own: npt.NDArray[np.uint8], marks: Integers
) -> tuple[Integers, int, Booleans]:
    """The marks that stand in the outermost objects; the depth of all; and which lines have no blanks within values."""
    places = np.flatnonzero(_INSIDE[own])
    signs = text[places]
    is_quote = np.zeros(len(text), np.bool_)
    is_quote[marks] = True
    quotes = is_quote[places] & (signs != _LF)
    at_ends = np.flatnonzero(signs == _LF)
    sizes = np.diff(at_ends, prepend=-1)
    firsts = np.append(0, at_ends[:-1] + 1)
    seen = np.cumsum(quotes)
    inside = (seen - np.repeat(seen[firsts] - quotes[firsts], sizes)) & 1 == 1
    steps = np.where(inside, 0, _STEP[signs])
    depth = np.cumsum(steps)
    depth -= np.repeat(depth[firsts] - steps[firsts], sizes)
    blanks = np.flatnonzero((signs == _BLANK) & ~inside & (depth > 1))
    stripped = np.ones(len(at_ends), np.bool_)
    stripped[np.searchsorted(at_ends, blanks)] = False
    kept = (signs == _LF) | (quotes & (depth == 1))
    return places[kept], int(depth.max(initial=1)), stripped


def _taken(piece: _Piece, shape: Shape) -> Taken:
    """The members of the lines that are alike."""
    keys = [orjson.dumps(key) + b":" + shape.blank for key in shape.keys]
    size = len(keys), len(piece.ends)
    present, escaped = np.empty(size, np.bool_), np.empty(size, np.bool_) if len(piece.slashes) else None
    start, end = np.empty(size, np.int64), np.empty(size, np.int64)
    marks = np.append(piece.marks, np.full(4 * len(keys) + 4, piece.ends[-1]))  # where a line goes on past the last
    holds_slash = np.zeros(len(marks) + 1, np.bool_)
    holds_slash[np.searchsorted(piece.marks, piece.slashes)] = True  # between a mark and the one before it
    at, fits = piece.firsts, piece.fits & (marks[piece.firsts] == piece.starts + 1)
    for column, key in enumerate(keys):
        there, sound, after, value, behind = _step(piece, marks, at, key, 1 + len(shape.blank))
        start[column], end[column], present[column] = value, behind, there
        if escaped is not None:
            escaped[column] = holds_slash[after - 1]
        all_there = there.all()
        fits &= sound if all_there else sound | ~there
        at = after if all_there else np.where(there, after, at)
    fits &= (marks[at] == piece.ends) & (at > piece.firsts)
    present &= fits
    kind = (KINDS[piece.text[start]] * present).astype(np.uint8)
    names = tuple(shape.keys)
    return _judged(KeyColumns(piece.text, names, len(fits), piece.depth, present, start, end, kind, escaped), fits)


def _step(
    piece: _Piece, marks: Integers, at: Integers, key: bytes, gap: int
) -> tuple[Booleans, Booleans, Integers, Integers, Integers]:
    """Go on over a key, of which each line's mark `at` is to be the first quote, and its value.

    Returns in which lines the key is there, in which it goes on to another key or the end as it should, the mark behind
    the value, and where the value begins and ends; `gap` is the size of a comma and what stands behind it.
    """
    quote = marks[at]
    there = _have(piece.text, quote, key)
    value = np.minimum(quote + len(key), piece.ends[-1])
    is_string = piece.text[value] == _QUOTE
    after = at + 2 + 2 * is_string
    following = marks[after]
    is_last = following == piece.ends
    behind = following - gap + (gap - 1) * is_last
    sound = is_last | (piece.text[behind] == _COMMA)
    sound &= ~is_string | (marks[after - 1] == behind - 1)
    if gap > 1:
        sound &= is_last | (piece.text[following - 1] == _BLANK)
    return there, sound, after, value, behind


def _judged(columns: KeyColumns, fits: Booleans) -> Taken:
    """The members of lines of which all values that are no strings are valid."""
    others = np.flatnonzero(columns.present & (columns.kind != STRING))
    text, start, end = columns.text, columns.start.ravel()[others], columns.end.ravel()[others]
    bad = np.flatnonzero(~np.asarray(pc.match_substring_regex(slices(text, start, end), f"^(?:{SCALAR})$")))
    if len(bad):
        is_nested = (_STEP[text[start[bad]]] == 1) & (_STEP[text[end[bad] - 1]] == -1)  # with no blank behind it
        nested = bad[is_nested]
        values = slices(text, start[nested], end[nested]).to_pylist()
        if are_values([value.encode() for value in values]):
            bad = np.setdiff1d(bad, nested)
    if len(bad):
        fits[others[bad] % len(fits)] = False
        present = columns.present & fits
        columns = replace(columns, present=present, kind=columns.kind * present)
    return Taken(columns, fits)
