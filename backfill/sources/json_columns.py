"""Columns of Arrow made of members of JSON objects."""

from __future__ import annotations

from enum import Enum

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from backfill.sources.json_cells import BOOLEAN, OTHER, STRING, Cells, Integers, sliced

JSON = pa.json_(pa.string())
_TRUE = ord("t")


class Form(Enum):
    """How a column is made of its values."""

    TEXT = STRING  # the text that the strings stand for
    BOOLEAN = BOOLEAN
    JSON = STRING | BOOLEAN | OTHER  # as they stand
    SCALAR = -1  # text: that of strings, anything else as it stands

    @property
    def holds(self) -> int:
        """The kinds of values, as bits, that the column can have."""
        return Form.JSON.value if self is Form.SCALAR else int(self.value)


def column(cells: Cells, members: Integers, first: int, rows: int, form: Form) -> pa.Array:
    """The column of some members, one a row at most and ascending; null in the rows from `first` that have none.

    JSON is marked as such (https://arrow.apache.org/docs/format/CanonicalExtensions.html), so DuckDB does not parse it.
    """
    kind = pa.bool_() if form is Form.BOOLEAN else JSON if form is Form.JSON else pa.string()
    if not len(members):
        return pa.nulls(rows, kind)
    places = cells.row[members] - first
    start, end = cells.start[members], cells.end[members]
    if form is Form.BOOLEAN:
        values, missing = np.zeros(rows, np.bool_), np.ones(rows, np.bool_)
        values[places], missing[places] = cells.text[start] == _TRUE, False
        return pa.array(values, kind, mask=missing)
    strings = cells.kind[members] == STRING
    if form is not Form.JSON:
        start, end = start + strings, end - strings
    numbers = np.full(rows, -1, np.int64)
    numbers[places] = np.arange(0, 2 * len(members), 2)
    made = sliced(cells.text, start, end)(pa.array(numbers, mask=numbers < 0))
    if form is Form.JSON:
        return pa.ExtensionArray.from_storage(JSON, made)
    return _unescaped(cells, made, places[strings], start[strings], end[strings])


def _unescaped(cells: Cells, made: pa.Array, places: Integers, start: Integers, end: Integers) -> pa.Array:
    """The column with the strings at those places as what they stand for."""
    slashes = cells.slashes
    if not len(slashes):
        return made
    escaped = np.searchsorted(slashes, start) < np.searchsorted(slashes, end)
    if not escaped.any():
        return made
    written = sliced(cells.text, start[escaped] - 1, end[escaped] + 1)
    texts = written(pa.array(np.arange(0, 2 * int(escaped.sum()), 2))).to_pylist()
    mask: npt.NDArray[np.bool_] = np.zeros(len(made), np.bool_)
    mask[places[escaped]] = True
    return pc.replace_with_mask(made, pa.array(mask), pa.array(orjson.loads(f"[{','.join(texts)}]"), pa.string()))
