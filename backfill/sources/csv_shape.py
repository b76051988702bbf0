"""The structure of a text: its bytes with every escaped one made neutral, so that what is left counts as it stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backfill.sources.csv_dialect import C_ESCAPES, CR, LF, Dialect

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
NO_PLACES: Places = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Shape:
    """A stretch of text that begins where a record begins, or inside of one where no escape is pending."""

    signs: Bytes  # the text, escapes and what they escape replaced; at the file's end a line end may follow it
    usable: int  # the bytes whose meaning does not depend on what follows
    bad_escapes: Places  # escapes before something that is not escaped in this dialect


def shape_of(data: bytes, dialect: Dialect, *, final: bool) -> Shape:
    """The shape of the text; with `final` nothing follows, and a last line has an end even where the text has none."""
    text = np.frombuffer(data, np.uint8)
    signs, usable, bad = text, len(data), NO_PLACES
    if dialect.escape is not None:
        escapes = np.flatnonzero(text == dialect.escape)
        if len(escapes):
            signs, usable, bad = _escaped(text, escapes, dialect, final=final)
    if final and len(signs) and signs[-1] not in (LF, CR):
        signs, usable = np.append(signs, np.uint8(LF)), len(signs) + 1
    elif not final and usable and signs[usable - 1] == CR:
        usable -= 1
    return Shape(signs, usable, bad)


def effective(escapes: Places) -> Places:
    """Of all places of the escape those that escape something: the first, third ... of each run."""
    firsts = np.flatnonzero(np.diff(escapes, prepend=-2) != 1)
    lengths = np.diff(firsts, append=len(escapes))
    found: Places = escapes[(np.arange(len(escapes)) - np.repeat(firsts, lengths)) % 2 == 0]
    return found


def _escaped(text: Bytes, escapes: Places, dialect: Dialect, *, final: bool) -> tuple[Bytes, int, Places]:
    """The signs, the usable bytes and the bad escapes of a text with escapes."""
    size, usable = len(text), len(text)
    pending = effective(escapes)
    dangling = NO_PLACES
    if pending[-1] == size - 1:  # what it escapes is yet to come, or never will
        dangling, pending = pending[-1:], pending[:-1]
        usable -= 1
    escaped = pending + 1
    signs = text.copy()
    signs[pending] = signs[escaped] = signs[dangling] = _neutral(dialect)
    is_cr = text[escaped] == CR
    behind = escaped[is_cr] + 1
    behind = behind[behind < size]
    signs[behind[text[behind] == LF]] = _neutral(dialect)
    if len(escaped) and escaped[-1] == size - 1 and is_cr[-1]:  # a LF behind it would be escaped too
        usable = size - 2
    bad = pending[~_may_be_escaped(dialect)[text[escaped]] & ~_is_null(signs, text, pending, dialect)]
    return signs, size if final else usable, np.append(bad, dangling) if final else bad


def _neutral(dialect: Dialect) -> int:
    taken = (dialect.separator, dialect.quote, dialect.escape)
    return next(sign for sign in b"abcde" if sign not in taken)


def _may_be_escaped(dialect: Dialect) -> NDArray[np.bool_]:
    """A table of all bytes: whether an escape may stand before each."""
    table = np.zeros(256, np.bool_)
    signs = (dialect.separator, dialect.quote, dialect.escape, LF, CR)
    table[[sign for sign in signs if sign is not None]] = True
    if dialect.c_escapes:
        table[list(C_ESCAPES)] = True
    return table


def _is_null(signs: Bytes, text: Bytes, pending: Places, dialect: Dialect) -> NDArray[np.bool_]:
    r"""Which escapes begin a field that is a null value such as \N, and nothing else."""
    if not dialect.null_escapes:
        return np.zeros(len(pending), np.bool_)
    return null_fields(signs, text, pending, dialect)


def null_fields(signs: Bytes, text: Bytes, pending: Places, dialect: Dialect) -> NDArray[np.bool_]:
    """Which of the escapes are the first of two bytes that are a null value, and a whole field."""
    bounds = np.zeros(256, np.bool_)
    bounds[[dialect.separator, LF, CR]] = True
    letters = np.zeros(256, np.bool_)
    letters[list(dialect.null_escapes)] = True
    before = (pending == 0) | bounds[signs[pending - 1]]
    after = pending + 2
    ended = (after >= len(text)) | bounds[signs[np.minimum(after, len(text) - 1)]]
    found: NDArray[np.bool_] = before & ended & letters[text[pending + 1]]
    return found
