"""Text cast to declared types by Arrow, wherever it is sure to read all of a column as `sql.casts` does.

Arrow's own readers take a fifth of the time of a regular expression and DuckDB's casts, but they take other texts too
(0x1F for an integer, 1. for a number, an hour without minutes). So a column is looked at by its bytes first, and where
anything in it is unusual there is no answer: then SQL casts it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from backfill.frozen import frozen
from backfill.job.models import ColumnSpec


@frozen
class Made:
    """What texts are as values of a type."""

    values: pa.Array
    flags: pa.Array | None = None  # of times by `iso8601`: which have an offset
    as_printed: bool = False  # each value prints as its text


_MINUS, _POINT, _ZERO, _NINE = b"-.09"
_DOUBLE_DIGITS: Final = 308  # before the point at most (IEEE 754)
_TRUTH: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
#: More different spellings of truth values are not looked at.
_SPELLINGS: Final = 32
_DAY, _HOUR, _MINUTE, _SECOND = 10, 13, 16, 19  # signs of a time up to the end of each
_FIRST_YEAR: Final = b"0001"


@frozen
class _Form:
    """A pattern of times whose texts, of so many signs, say in Arrow's reading what they say in its own."""

    is_zoned: bool
    least: int
    most: int


_FORMS: Final = {
    "%Y-%m-%d %H:%M:%S": _Form(is_zoned=False, least=_SECOND, most=_SECOND),
    "%Y-%m-%d %H:%M:%S%z": _Form(is_zoned=True, least=_SECOND + len("+00:00"), most=_SECOND + len("+00:00")),
}


@frozen
class _Texts:
    """The texts of a column that are not null, by their bytes."""

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def lie_between(self, low: int, high: int) -> bool:
        """All their bytes do."""
        return not len(self.data) or bool(self.data.min() >= low and self.data.max() <= high)

    def at(self, place: int) -> NDArray[np.uint8]:
        """The byte at that place of each, which has to have so many."""
        found: NDArray[np.uint8] = self.data[self.starts + place]
        return found

    def have(self, least: int, most: int) -> bool:
        """Each has so many bytes."""
        return not len(self.sizes) or bool(self.sizes.min() >= least and self.sizes.max() <= most)


def _texts(values: pa.StringArray) -> _Texts:
    there = values.drop_null() if values.null_count else values
    _, offsets, content = there.buffers()
    if content is None or not len(there):
        return _Texts(np.empty(0, np.uint8), np.zeros(len(there), np.int64), np.zeros(len(there), np.int64))
    edges = np.frombuffer(offsets, np.int32)[there.offset : there.offset + len(there) + 1].astype(np.int64)
    data = np.frombuffer(content, np.uint8)[edges[0] : edges[-1]] if content.size else np.empty(0, np.uint8)
    return _Texts(data, edges[:-1] - edges[0], np.diff(edges))


def cast_text(values: pa.StringArray, spec: ColumnSpec) -> Made | None:
    """The texts as values of the type; None where it is not sure that SQL would make the same of all of them."""
    reader = _READERS.get(spec.type)
    if reader is None or spec.decimal is not None:  # a point may stand between thousands there
        return None
    try:
        return reader(values, _texts(values), spec)
    except pa.ArrowInvalid:
        return None


def are_numbers(values: pa.StringArray) -> bool:
    """Whether all texts are numbers as JSON has them, without an exponent, of so few digits that they fit a double."""
    texts = _texts(values)
    if not texts.have(0, _DOUBLE_DIGITS):
        return False
    try:
        return _decimals(values, texts, ColumnSpec(type="decimal")) is not None
    except pa.ArrowInvalid:
        return False


def _integers(values: pa.StringArray, texts: _Texts, _: ColumnSpec) -> Made | None:
    if not texts.lie_between(_MINUS, _NINE):
        return None
    made = values.cast(pa.int64())
    if not len(texts.sizes):
        return Made(made, as_printed=True)
    is_negative = texts.at(0) == _MINUS
    zeros = texts.data[texts.starts + is_negative] == _ZERO
    return Made(made, as_printed=not (zeros & (texts.sizes > 1)).any())


def _decimals(values: pa.StringArray, texts: _Texts, _: ColumnSpec) -> Made | None:
    """Digits with a point inside; as they stand. That they are a number at all is what reading them as one tells."""
    if not texts.lie_between(_MINUS, _NINE) or not texts.have(1, len(texts.data)):
        return None
    first = texts.starts + (texts.at(0) == _MINUS)
    ends = texts.starts + texts.sizes
    if not len(first) or (first >= ends).any():
        return None if len(first) else Made(values, as_printed=True)
    second = np.where(first + 1 < ends, texts.data[np.minimum(first + 1, len(texts.data) - 1)], _POINT)
    odd = (texts.data[first] == _POINT) | (texts.data[ends - 1] == _POINT)
    odd |= (texts.data[first] == _ZERO) & (second != _POINT)
    values.cast(pa.float64())
    return None if odd.any() else Made(values, as_printed=True)


def _truths(values: pa.StringArray, _: _Texts, __: ColumnSpec) -> Made | None:
    found = values.dictionary_encode()
    if len(found.dictionary) > _SPELLINGS:
        return None
    meant = pa.array([_TRUTH.get(text.lower()) for text in found.dictionary.to_pylist()], pa.bool_())
    return Made(meant.take(found.indices))


def _dates(values: pa.StringArray, texts: _Texts, _: ColumnSpec) -> Made | None:
    if not texts.have(_DAY, _DAY) or not _in_calendar(texts):
        return None
    return Made(values.cast(pa.date32()), as_printed=True)


def _times(values: pa.StringArray, texts: _Texts, spec: ColumnSpec) -> Made | None:
    pattern = None if spec.format == "iso8601" else spec.format
    form = _FORMS.get(pattern or "")
    if form is None and pattern is not None:
        return None
    if form is None:
        clock = texts.data[_HOUR : int(texts.sizes[0])].tobytes() if len(texts.sizes) else b""
        form = _Form(is_zoned=any(sign in clock for sign in b"+-Z"), least=_MINUTE, most=len(texts.data))
    if not texts.have(form.least, form.most) or not _in_calendar(texts) or (texts.at(_HOUR) != b":"[0]).any():
        return None
    if form.is_zoned and pattern and (texts.at(_SECOND) == b"Z"[0]).any():
        return None
    if pattern and ((texts.at(_DAY) != b" "[0]).any() or (texts.at(_MINUTE) != b":"[0]).any()):
        return None
    made = values.cast(pa.timestamp("us", "UTC" if form.is_zoned else None))
    if pattern:
        return Made(made)
    flags = pc.if_else(values.is_valid(), form.is_zoned, pa.scalar(None, pa.bool_()))
    return Made(made.view(pa.int64()).view(pa.timestamp("us")), flags)


def _in_calendar(texts: _Texts) -> bool:
    """No text begins with the year 0, which DuckDB reads and no calendar has."""
    if not len(texts.sizes):
        return True
    if not texts.have(len(_FIRST_YEAR), len(texts.data)):
        return False
    return not np.logical_and.reduce([texts.at(place) == _ZERO for place in range(len(_FIRST_YEAR))]).any()


_READERS: Final[dict[str, Callable[[pa.StringArray, _Texts, ColumnSpec], Made | None]]] = {
    "integer": _integers,
    "decimal": _decimals,
    "boolean": _truths,
    "date": _dates,
    "timestamp": _times,
}
