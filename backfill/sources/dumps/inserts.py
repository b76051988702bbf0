"""The rows of INSERT statements, found by arithmetic on whole pieces.

Signs outside of texts tell rows, fields and statements apart, by the depth of parentheses. What is read is what is
written by programs that dump: literals, one row or many a statement, the same words before VALUES each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import SourceError
from backfill.frozen import frozen
from backfill.memory import MAX_LINE_BYTES
from backfill.sources.dumps.copy import MEANINGS
from backfill.sources.dumps.definitions import Name, names
from backfill.sources.dumps.fields import BACKSLASH, QUOTE, Bytes, Fields, Flags, Places, unescaped
from backfill.sources.dumps.rows import FEW, MANY, VALUE, Rows
from backfill.sources.dumps.script import POSTGRES_ESCAPES, SQLITE, Lexis, Script
from backfill.sources.escapes import effective

_OPEN, _CLOSE, _COMMA, _SEMICOLON = b"(),;"
_SIGNS = np.zeros(256, np.bool_)
_SIGNS[list(b"(),;")] = True
_BLANK = np.zeros(256, np.bool_)
_BLANK[list(b" \t\r\n")] = True
_BEFORE_LITERAL = np.zeros(256, np.bool_)
_BEFORE_LITERAL[list(b" \t\r\n(,")] = True
#: What a literal without quotes begins with: numbers, true and false.
_BARE = np.zeros(256, np.bool_)
_BARE[list(b"+-.0123456789tTfFiI")] = True
_NEUTRAL = b"x"[0]
_LOWER = 0x20
#: A row is no longer than this: all of it is held.
_LONGEST = 4 * MAX_LINE_BYTES
_PART = rb'(?:"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]+\]|[A-Za-z_\x80-\xff][\w$\x80-\xff]*+)'
_QUOTED_NAME = re.compile(rb'"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]+\]')
_NAME = _PART + rb"(?:\." + _PART + rb")*+"
_BEGINNING = re.compile(rb"INSERT\s+(?:OR\s+\w+\s+)?INTO\s+(?P<name>" + _NAME + rb")(?=[\s(])", re.IGNORECASE)
_WORDS = re.compile(
    rb"\s*+(?P<columns>\(\s*" + _PART + rb"(?:\s*,\s*" + _PART + rb")*\s*\)\s*)?"
    rb"(?:OVERRIDING\s+\w+\s+VALUE\s+)?VALUES\s*(?=\()",
    re.IGNORECASE,
)
#: The words of an INSERT are no longer than this: 1,600 columns by name.
_WORDS_BYTES = 2**18
#: Texts, also one that is not whole yet.
_ESCAPED_TEXT = re.compile(rb"'(?:[^']++|'')*+(?:'|\Z)|[eE]'(?:[^'\\]++|\\.|'')*+(?:'|\\?\Z)|\w++", re.DOTALL)


@frozen
class Insert:
    """How an INSERT begins."""

    table: Name
    columns: Name  # none where it names none
    words: bytes  # up to VALUES and the blanks behind it; none where no literal rows follow, as in INSERT ... SELECT


def insert_at(script: Script, *, fold: bool) -> Insert:
    """The INSERT that the script stands at; raises SourceError where it is none."""
    while True:
        found = _BEGINNING.match(script.text, script.place)
        words = _WORDS.match(script.text, found.end()) if found else None
        if words or len(script.text) - script.place > _WORDS_BYTES or not script.more():
            break
    if words is None and script.ended and b";" not in script.text[script.place :]:
        raise script.cut_off()
    if found is None:
        raise SourceError(f"{script.name}, line {script.line}: an INSERT that names no table")
    table = names(found["name"].decode("utf-8", "surrogateescape"), fold=fold)
    if words is None:
        return Insert(table, (), b"")
    columns = names((words["columns"] or b"").decode("utf-8", "surrogateescape"), fold=fold)
    return Insert(table, columns, script.text[script.place : words.end()])


def same_again(insert: Insert) -> bytes:
    """The pattern of a statement's end and of another one with the same words, to pass many at once."""
    return rb";\r?\n" + re.escape(insert.words) + rb"\(" if insert.words else b""


@frozen
class _Found:
    """What a stretch of text holds: it begins with a statement's words, or behind a row."""

    opens: Places
    closes: Places
    bounds: Places  # of all fields: what opens a row, its commas and what closes it
    last: Places  # which of those close a row
    end: int  # of what is done with
    over: bool  # another statement begins there


def read_inserts(script: Script, insert: Insert, columns: tuple[str, ...], wanted: Flags) -> Iterator[Rows]:
    """The rows of an INSERT and of those that follow with the same words.

    `columns` are the names of its fields; those not `wanted` may hold what cannot be read.

    Raises:
        SourceError: the text ends in the middle of a statement.
    """
    if not insert.words or b"'" in insert.words:
        raise SourceError(
            f"{script.name}, line {script.line}: an INSERT of a form that is not read",
            hint="rows are read where VALUES and literals follow, and no name has a quote in it",
        )
    at_words, words = True, _QUOTED_NAME.sub(lambda name: bytes([_NEUTRAL]) * len(name[0]), insert.words)
    while True:
        text, line, final = script.text[script.place :], script.line, script.ended
        # A name may have signs in it; where a text spells the words, that is hidden too, as no quote is in them.
        data = _structure(text if words == insert.words else text.replace(insert.words, words), script)
        found = _find(data, words, at_words=at_words, final=final)
        if len(found.closes):
            yield _rows(text, line, data, found, columns, wanted, script)
        at_words = at_words and not found.end
        script.pass_to(script.place + found.end)
        if found.over:
            return
        if final and not found.end:
            raise script.cut_off("in the middle of an INSERT")
        if not final:
            script.more()
        if len(script.text) - script.place > _LONGEST:
            raise SourceError(f"{script.name}, line {script.line}: a row of more than {_LONGEST >> 20} MB")


def _structure(text: bytes, script: Script) -> Bytes:
    """The bytes of a text, with neutral ones in place of escapes and what they escape."""
    data = np.frombuffer(text, np.uint8)
    if script.lexis is POSTGRES_ESCAPES and b"\\" in text:
        escapes = effective(np.flatnonzero(data == BACKSLASH))
        data = data.copy()
        data[escapes] = _NEUTRAL
        data[np.minimum(escapes + 1, len(data) - 1)] = _NEUTRAL
    elif b"\\" in text and b"\\'" in text and (b"E'" in text or b"e'" in text):
        data = data.copy()
        for found in _ESCAPED_TEXT.finditer(text):  # only where somebody wrote E'...': pg_dump does not
            if found[0][:1] in b"eE" and found[0][1:2] == b"'":
                whole = found[0][-1:] == b"'" and len(found[0]) > len("E'")
                data[found.start() + 2 : found.end() - whole] = _NEUTRAL
    return data


def _find(data: Bytes, words: bytes, *, at_words: bool, final: bool) -> _Found:
    near = np.flatnonzero((data - QUOTE <= _COMMA - QUOTE) | (data == _SEMICOLON))  # the signs, and * and +
    signs = data[near]
    is_quote = signs == QUOTE
    outside = _SIGNS[signs] & (np.cumsum(is_quote, dtype=np.uint8) & 1 == 0)
    marks, signs = near[outside], signs[outside]
    depth = np.cumsum((signs == _OPEN).view(np.int8) - (signs == _CLOSE).view(np.int8), dtype=np.int32)
    ends = marks[(signs == _SEMICOLON) & (depth == 0)]
    starts, over_at, cut = _statements(data, ends, words, at_words=at_words, final=final)
    limit = cut if over_at is None else over_at
    kept = marks < limit
    for first, last in zip(marks.searchsorted(starts), marks.searchsorted(starts + len(words)), strict=True):
        kept[first:last] = False
    marks, signs, depth = marks[kept], signs[kept], depth[kept]
    opens, closes = (signs == _OPEN) & (depth == 1), (signs == _CLOSE) & (depth == 0)
    bounds = opens | closes | ((signs == _COMMA) & (depth == 1))
    places, is_last = marks[bounds], closes[bounds]
    last = np.flatnonzero(is_last)
    count = int(last[-1]) + 1 if len(last) else 0
    row_ends = marks[closes]
    end = limit if over_at is not None else int(row_ends[-1]) + 1 if len(row_ends) else 0
    return _Found(marks[opens][: len(row_ends)], row_ends, places[:count], last, end, over_at is not None)


def _statements(
    data: Bytes, ends: Places, words: bytes, *, at_words: bool, final: bool
) -> tuple[Places, int | None, int]:
    """Where statements with these words begin, and behind which place there is another one, if one is to be seen.

    Also how far the text can be told: up to the end before a statement of which too little is there yet.
    """
    starts = ends + 1
    size = len(data)
    while True:
        blank = (starts < size) & _BLANK[data[np.minimum(starts, size - 1)]]
        if not blank.any():
            break
        starts = starts + blank
    known = starts + len(words) <= size
    places = np.minimum(starts[:, None] + np.arange(len(words)), max(size - 1, 0))
    same = (data[places] == np.frombuffer(words, np.uint8)).all(axis=1) & known
    other = np.flatnonzero(~same & (known | final))
    over_at = int(ends[other[0]]) + 1 if len(other) else None
    unknown = np.flatnonzero(~known) if not final else other[:0]
    cut = int(ends[unknown[0]]) if len(unknown) else size
    starts = starts[same & (starts < (size if over_at is None else over_at))]
    return (np.concatenate(([0], starts)) if at_words else starts), over_at, cut


def _rows(
    text: bytes, line: int, data: Bytes, found: _Found, columns: tuple[str, ...], wanted: Flags, script: Script
) -> Rows:
    count = np.diff(found.last, prepend=-1) - 1
    faults = np.where(count < len(columns), np.uint8(FEW), np.uint8(MANY))
    faults[count == len(columns)] = 0
    rows = Rows(columns, text, line, found.opens, found.closes + 1, faults, None, _as_it_is)
    rows.note_encoding()
    sound = faults == 0
    if not sound.any():
        return rows
    bounds = found.bounds if sound.all() else found.bounds[np.repeat(sound, count + 1)]
    bounds = bounds.reshape(-1, len(columns) + 1)
    starts, ends = _trimmed(data, bounds[:, :-1] + 1, bounds[:, 1:])
    literals = _literals(np.frombuffer(text, np.uint8), starts, ends, script.lexis)
    bad = (literals.bad & wanted).any(axis=1)
    faults[np.flatnonzero(sound)[bad]] = VALUE
    good = ~bad
    if good.any():
        rows.fields = Fields(text, literals.starts[good], literals.ends[good], (literals.nulls | literals.bad)[good])
        rows.values = partial(_values, literals.singly[good], script)
    return rows


def _as_it_is(column: int, values: pa.Array) -> pa.Array:
    del column
    return values


def _trimmed(data: Bytes, starts: Places, ends: Places) -> tuple[Places, Places]:
    while (blank := _BLANK[data[starts]] & (starts < ends)).any():
        starts = starts + blank
    while (blank := _BLANK[data[ends - 1]] & (starts < ends)).any():
        ends = ends - blank
    return starts, ends


@frozen
class _Literals:
    """What fields are: where their values stand, and how."""

    starts: Places
    ends: Places
    nulls: Flags
    singly: Flags  # to be worked out one by one: texts with escapes, SQLite's calls
    bad: Flags  # no text, number, truth value or null


def _literals(data: Bytes, starts: Places, ends: Places, lexis: Lexis) -> _Literals:
    first, last, size = data[starts], data[ends - 1], ends - starts
    quoted = last == QUOTE
    plain = quoted & (first == QUOTE) & (size > 1)
    marked = quoted & (first != QUOTE) & (size > len("E'"))
    marked[marked] = data[starts[marked] + 1] == QUOTE
    kind = first | _LOWER
    bits = marked & (kind == b"b"[0])
    nulls = _is_word(data, starts, size, b"null")
    if lexis is SQLITE:
        singly = (last == _CLOSE) & ((kind == b"r"[0]) | (kind == b"u"[0]))
    else:
        singly = marked & (kind == b"e"[0])
        if lexis is POSTGRES_ESCAPES:
            singly |= plain
    plain &= ~singly
    bad = ~(plain | singly | bits | nulls | (_BARE[first] & ~marked))
    return _Literals(starts + plain + 2 * bits, ends - (plain | bits), nulls, singly, bad)


def _is_word(data: Bytes, starts: Places, size: Places, word: bytes) -> Flags:
    found: Flags = size == len(word)
    signs = data[starts[found][:, None] + np.arange(len(word))] | _LOWER
    found[found] = (signs == np.frombuffer(word, np.uint8)).all(axis=1)
    return found


def _values(singly: Flags, script: Script, column: int, values: pa.Array) -> pa.Array:
    """The values of a column: quotes undoubled, and what is more than that worked out one by one."""
    alone = singly[:, column]
    if not alone.any():
        return unescaped(values, QUOTE, {})
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    mask = pa.array(alone)
    others = unescaped(pc.if_else(mask, pa.scalar(None, pa.binary()), values), QUOTE, {})
    found = [_worked_out(value, script) for value in values.filter(mask).to_pylist()]
    return pc.replace_with_mask(others, mask, pa.array(found, pa.binary()))


_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|''", re.DOTALL)
_REPLACE = re.compile(rb"replace\((?P<inner>.*),'(?P<mark>[^']*)',char\((?P<code>\d+)\)\)", re.DOTALL | re.IGNORECASE)
_UNISTR = re.compile(rb"unistr\((?P<inner>'.*')\)", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|\+([0-9a-fA-F]{6})|([0-9a-fA-F]{4})|(\\))")


def _worked_out(token: bytes, script: Script) -> bytes:
    """A literal of PostgreSQL with escapes, or one of SQLite's calls that stand for a text with line ends.

    Raises:
        SourceError: it is another call.
    """
    if script.lexis is not SQLITE:
        return _ESCAPE.sub(_escaped_sign, token[token.index(b"'") + 1 : -1])
    if token[:1] == b"'":
        return token[1:-1].replace(b"''", b"'")
    if found := _REPLACE.fullmatch(token):
        return _worked_out(found["inner"], script).replace(found["mark"], chr(int(found["code"])).encode())
    if found := _UNISTR.fullmatch(token):
        return _CODE.sub(_coded_sign, _worked_out(found["inner"], script))
    raise SourceError(f"{script.name}, near line {script.line}: a value is computed, {token[:40]!r}, and not stated")


def _escaped_sign(found: re.Match[bytes]) -> bytes:
    octal, sign = found[1], found[5]
    digits = found[2] or found[3] or found[4]
    if octal or found[2]:
        return bytes([int(octal, 8) & 0xFF if octal else int(digits, 16)])
    if digits:
        return chr(int(digits, 16)).encode()
    if sign is None:
        return b"'"
    return bytes([MEANINGS.get(sign[0], sign[0])])


def _coded_sign(found: re.Match[bytes]) -> bytes:
    digits = found[1] or found[2] or found[3] or found[4]
    return chr(int(digits, 16)).encode("utf-8", "surrogatepass") if digits else b"\\"
