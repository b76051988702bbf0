r"""The rows of INSERT statements, found and taken apart many at a time by arithmetic on whole pieces.

A text in quotes begins and ends at every second quote that no backslash escapes; a doubled quote is an end and a
beginning. So a running count of quotes tells for each byte whether it is in a text, and the parentheses and commas that
are not are those of rows and fields. What stands between two rows is a comma, or the end of one statement and the same
beginning of the next one.

For pyarrow's CSV parser rows become lines: what is between them goes, escapes are undone, \' becomes a doubled quote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pyarrow import csv

from backfill.frozen import frozen
from backfill.sources.escapes import effective

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Places = NDArray[np.int64]

_QUOTE, _BACKSLASH, _OPEN, _CLOSE, _COMMA, _LF, _BLANK = b"'\\(),\n "
#: Of a backslash and a letter: MySQL, "String Literals" (9.1.1). Any other sign stands for itself, % and _ aside.
_ESCAPES = {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a"}
_TABLE = np.arange(256, dtype=np.uint8)
for _letter, _meant in _ESCAPES.items():
    _TABLE[_letter[0]] = _meant[0]
_KEPT = np.zeros(256, np.bool_)
_KEPT[list(b"%_'")] = True  # \% and \_ are two characters; \' is made a doubled quote


_IS_SIGN = np.zeros(256, np.bool_)
_IS_SIGN[[_OPEN, _CLOSE, _COMMA]] = True


class WrongRowsError(Exception):
    """What stands there are no rows of literal values; `place` is where in the text."""

    def __init__(self, message: str, place: int) -> None:
        super().__init__(message)
        self.place = place


@dataclass(slots=True)
class Block:
    """Whole rows in a piece of a dump."""

    text: bytes
    signs: Places  # of parentheses and commas that are in no text
    opens: Places  # of each row: where in `signs` it begins and ends
    closes: Places
    end: int  # behind the last row
    is_last: bool  # the rows end there
    quotes: Places = field(repr=False)  # of those that begin or end a text
    escapes: Places = field(repr=False)  # backslashes that escape something
    line: int = 0  # of the text's first byte

    def starts(self) -> Places:
        """The place of each row."""
        return self.signs[self.opens]

    def lines(self, rows: Sequence[int]) -> list[int]:
        """The line that each of these rows, from 0, begins in."""
        starts = self.starts()
        return [self.line + self.text.count(b"\n", 0, int(starts[row])) for row in rows]


def find_rows(text: bytes, head: bytes, *, escapes: bool, ended: bool) -> Block:
    """The whole rows in a text that begins with what stands between two rows.

    `head` is how the statement began, up to VALUES; with `ended` nothing follows the text.

    Raises:
        WrongRowsError: a row holds something else than values.
    """
    data = np.frombuffer(text, np.uint8)
    slashes = effective(np.flatnonzero(data == _BACKSLASH)) if escapes and b"\\" in text else np.zeros(0, np.int64)
    if len(slashes) and slashes[-1] == len(data) - 1:
        slashes = slashes[:-1]  # what it escapes is yet to come, and so is the end of the row
    near = np.flatnonzero(data - np.uint8(_QUOTE) <= _COMMA - _QUOTE)  # quotes, parentheses, commas, and * and +
    kinds = data[near]
    is_quote = kinds == _QUOTE
    if len(slashes):
        is_quote[near.searchsorted(slashes[data[slashes + 1] == _QUOTE] + 1)] = False
    outside = (np.cumsum(is_quote, dtype=np.uint8) & 1 == 0) & ~is_quote
    quotes, signs = near[is_quote], near[outside & _IS_SIGN[kinds]]
    kinds = data[signs]
    opens, closes = np.flatnonzero(kinds == _OPEN), np.flatnonzero(kinds == _CLOSE)
    rows = min(len(opens), len(closes))
    begins, ends = signs[opens[:rows]], signs[closes[:rows]]
    linked = _linked(text, data, begins, np.concatenate(([-1], ends[:-1])) if rows else ends, head)
    sound = begins < ends
    following = np.append(signs[opens], len(data))[1 : rows + 1]
    sound &= ends < following
    whole = int(np.argmin(linked)) if not linked.all() else rows
    broken = np.flatnonzero(~sound[:whole])
    if len(broken):
        raise WrongRowsError("a row holds something else than literal values", int(begins[broken[0]]))
    end = int(ends[whole - 1]) + 1 if whole else 0
    is_last = whole < rows or _is_end(text[end:], head, ended=ended)
    return Block(text, signs, opens[:whole], closes[:whole], end, is_last, quotes, slashes)


def _linked(text: bytes, data: Bytes, begins: Places, before: Places, head: bytes) -> Flags:
    """Of each row: what stands between it and the one before links them."""
    gaps = begins - before - 1
    linked: Flags = (gaps == 1) & (data[begins - 1] == _COMMA)
    longest = len(head) + _LONGEST_BLANKS
    others = np.flatnonzero(~linked & (gaps > 0) & (gaps <= longest))
    for size in np.unique(gaps[others]).tolist():
        alike = others[gaps[others] == size]
        held = data[begins[alike][:, None] - np.arange(size, 0, -1)]
        same = (held == held[0]).all(axis=1)
        links = _link(head)
        linked[alike[same]] = links.fullmatch(held[0].tobytes()) is not None
        for row in alike[~same].tolist():
            linked[row] = links.fullmatch(text[int(begins[row]) - size : int(begins[row])]) is not None
    return linked


#: More blanks are not between two rows.
_LONGEST_BLANKS = 64


@lru_cache(maxsize=64)
def _link(head: bytes) -> re.Pattern[bytes]:
    """What stands between two rows: a comma, or the end of a statement and the beginning of one like it."""
    return re.compile(rb"\s*(?:,|;\s*" + re.escape(head) + rb")\s*")


def _is_end(rest: bytes, head: bytes, *, ended: bool) -> bool:
    """No more rows follow behind the last whole one; False also where that is not known yet."""
    rest = rest.lstrip()
    if rest[:1] == b"," or not rest:
        return False
    if rest[:1] != b";":
        return True
    following = rest[1 : len(head) + _LONGEST_BLANKS].lstrip()
    if ended or len(following) >= len(head):
        return not following.startswith(head)
    return not head.startswith(following) or len(rest) > len(head) + _LONGEST_BLANKS


#: How a value is written that is neither a text, a number nor NULL: 0x41, x'41', b'1000001'.
PLAIN, HEX, QUOTED_HEX, BITS = range(4)
_PREFIXES = {b"x": QUOTED_HEX, b"X": QUOTED_HEX, b"b": BITS, b"B": BITS}
_BINARY = b"_binary"
_NULL = b"NULL"
#: What a value begins with.
_BEGINS = np.zeros(256, np.bool_)
_BEGINS[list(b"0123456789+-.'N")] = True


@frozen
class Fields:
    """The fields of a block's rows."""

    lines: bytes  # as lines of CSV
    rows: int
    columns: int
    notations: NDArray[np.uint8]  # rows x columns: PLAIN, HEX ...
    is_text: Flags  # rows x columns: in quotes


def fields_of(block: Block, head: bytes) -> Fields:
    """Take the rows apart; raises WrongRowsError where they differ in their number of fields or hold no literals."""
    data = np.frombuffer(block.text, np.uint8)[: block.end]
    counts = block.closes - block.opens
    columns = int(counts[0])
    if (counts != columns).any():
        row = int(np.argmax(counts != columns))
        message = f"a row has {counts[row]} values, the first one {columns}"
        raise WrongRowsError(message, int(block.starts()[row]))
    places = block.signs[block.opens[:, None] + np.arange(columns + 1)]
    firsts, lasts = data[places[:, :-1] + 1], data[places[:, 1:] - 1]
    if (firsts <= _BLANK).any() or (lasts <= _BLANK).any():
        return fields_of(_compact(block, head), head)
    lines = data.copy()
    gone = [_undone(data, block.escapes[: block.escapes.searchsorted(len(data))], lines)]
    notations = _notations(block, data, places, firsts, lasts, gone)
    is_text = _check(block, data, places, firsts, lasts)
    begins, ends = places[:, 0], places[:, -1]
    lines[ends] = _LF
    lines[begins] = _COMMA  # behind a field that is of no column: what stood between the rows
    before = np.concatenate(([-1], ends[:-1]))
    gaps = begins - before - 1
    for size in np.unique(gaps).tolist():
        lines[begins[gaps == size][:, None] - np.arange(1, size + 1)] = _BLANK
    places_gone = np.concatenate(gone)
    kept = lines if not len(places_gone) else np.delete(lines, places_gone)
    return Fields(kept.tobytes(), len(begins), columns, notations, is_text)


def _compact(block: Block, head: bytes) -> Block:
    """The same rows without blanks between values."""
    data = np.frombuffer(block.text, np.uint8)[: block.end]
    edges = np.zeros(len(data), np.uint8)
    edges[block.quotes[: block.quotes.searchsorted(len(data))]] = 1
    inside = np.cumsum(edges, dtype=np.uint8) & 1
    text = data[(data > _BLANK) | (inside == 1)].tobytes()
    return find_rows(text, re.sub(rb"\s+", b"", head), escapes=bool(len(block.escapes)), ended=True)


def _undone(data: Bytes, escapes: Places, lines: Bytes) -> Places:
    """Put what the escapes stand for behind them; returns the backslashes that are to go."""
    following = data[escapes + 1]
    lines[escapes[following == _QUOTE]] = _QUOTE
    gone = escapes[~_KEPT[following]]
    lines[gone + 1] = _TABLE[data[gone + 1]]
    return gone


def _notations(
    block: Block, data: Bytes, places: Places, firsts: Bytes, lasts: Bytes, gone: list[Places]
) -> NDArray[np.uint8]:
    """How each value is written; prefixes such as _binary, which say nothing that the column does not, are to go."""
    found = np.zeros(firsts.shape, np.uint8)
    odd = ~_BEGINS[firsts]
    if odd.any() and (odd & (lasts == _QUOTE)).any():
        _without_prefixes(data, places, firsts, gone, found)
    if b"0x" not in block.text:
        return found
    rows, columns = np.nonzero(firsts == b"0"[0])
    starts = places[rows, columns] + 1
    hexadecimal = data[starts + 1] == b"x"[0]
    found[rows[hexadecimal], columns[hexadecimal]] = HEX
    return found


def _without_prefixes(
    data: Bytes, places: Places, firsts: Bytes, gone: list[Places], notations: NDArray[np.uint8]
) -> None:
    """Note what prefixes say, and take the first signs of what is behind them for those of the values."""
    rows, columns = np.nonzero(firsts == b"_"[0])
    starts = places[rows, columns] + 1
    for prefix in (_BINARY + b" ", _BINARY):
        span = np.minimum(starts[:, None] + np.arange(len(prefix)), len(data) - 1)
        whole = (data[span] == np.frombuffer(prefix, np.uint8)).all(axis=1)
        gone.append(span[whole].ravel())
        firsts[rows[whole], columns[whole]] = data[starts[whole] + len(prefix)]
        rows, columns, starts = rows[~whole], columns[~whole], starts[~whole]
    for letter, notation in _PREFIXES.items():
        rows, columns = np.nonzero(firsts == letter[0])
        starts = places[rows, columns] + 1
        gone.append(starts)
        notations[rows, columns] = notation
        firsts[rows, columns] = data[starts + 1]


def _check(block: Block, data: Bytes, places: Places, firsts: Bytes, lasts: Bytes) -> Flags:
    """Which values are texts; raises WrongRowsError where one is neither a text, a number nor NULL."""
    is_text: Flags = firsts == _QUOTE
    wrong = (is_text != (lasts == _QUOTE)) | ~_BEGINS[firsts]
    rows, columns = np.nonzero(firsts == b"N"[0])
    nulls = np.minimum(places[rows, columns][:, None] + np.arange(1, len(_NULL) + 1), len(data) - 1)
    is_null = (data[nulls] == np.frombuffer(_NULL, np.uint8)).all(axis=1)
    is_null &= places[rows, columns + 1] - places[rows, columns] == len(_NULL) + 1
    wrong[rows, columns] |= ~is_null
    if wrong.any():
        row = int(np.argmax(wrong.any(axis=1)))
        raise WrongRowsError("a row holds something else than literal values", int(places[row, 0]))
    edges = block.quotes[: block.quotes.searchsorted(len(data))]
    texts = 1 + np.count_nonzero(edges[2::2] != edges[1:-1:2] + 1) if len(edges) else 0
    if texts != np.count_nonzero(is_text):
        raise WrongRowsError("a row holds a text beside a text, or in a number", int(places[0, 0]))
    return is_text


def parse(fields: Fields, types: list[pa.DataType]) -> list[pa.Array]:
    """The columns; raises pyarrow.ArrowInvalid where a value is not of its type. Text is not looked at."""
    names = [str(place) for place in range(fields.columns)]
    unused = "between"
    table = csv.read_csv(
        pa.BufferReader(fields.lines),
        read_options=csv.ReadOptions(
            use_threads=False, block_size=len(fields.lines) + 64, column_names=[unused, *names]
        ),
        parse_options=csv.ParseOptions(quote_char="'", double_quote=True, newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            check_utf8=False,
            column_types=dict(zip(names, types, strict=True)),
            include_columns=names,
            null_values=[_NULL.decode()],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    if table.num_rows != fields.rows:
        raise AssertionError(f"of {fields.rows} rows {table.num_rows} came of parsing")
    columns: list[pa.Array] = [column.chunk(0) for column in table.combine_chunks().columns]
    return columns
