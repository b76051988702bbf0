"""Fields by their places in a text made columns of Arrow, many rows at once, and escapes in them undone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from backfill.frozen import frozen
from backfill.sources.escapes import effective

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]
BACKSLASH, QUOTE = b"\\"[0], b"'"[0]


@frozen
class Fields:
    """The fields of rows of one table: places in a text, row by row, ascending; every row has as many."""

    text: bytes
    starts: Places  # rows x columns
    ends: Places
    nulls: Flags

    def only(self, rows: Flags) -> Fields:
        """Those of some rows."""
        return Fields(self.text, self.starts[rows], self.ends[rows], self.nulls[rows])

    def columns(self) -> list[pa.Array]:
        """The columns as bytes, as they stand in the text."""
        rows, count = self.starts.shape
        if not rows:
            return [pa.array([], pa.binary())] * count
        bounds = np.stack((self.starts.ravel(), self.ends.ravel()), axis=1).ravel().astype(np.int32)
        buffers = [None, pa.py_buffer(bounds), pa.py_buffer(self.text)]
        every = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, buffers)  # the fields, and what is between them
        indices = np.arange(0, 2 * rows * count, 2).reshape(rows, count)
        return [
            every.take(pa.array(indices[:, at], mask=self.nulls[:, at] if self.nulls[:, at].any() else None))
            for at in range(count)
        ]


def unescaped(values: pa.Array, escape: int, meanings: Mapping[int, int]) -> pa.Array:
    """The values (bytes) without their escapes, each with what it says; other signs behind one stand for themselves.

    Every escape is followed by a sign of the same value.
    """
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.frombuffer(values.buffers()[2], np.uint8)[first:last] if last > first else np.empty(0, np.uint8)
    escapes = np.flatnonzero(data == escape)
    if not len(escapes):
        return values
    escapes = effective(escapes)
    plain = data.copy()
    if meanings:
        table = np.arange(256, dtype=np.uint8)
        table[list(meanings)] = list(meanings.values())
        plain[escapes + 1] = table[data[escapes + 1]]
    kept = np.ones(len(data), np.bool_)
    kept[escapes] = False
    bounds = (offsets - first - escapes.searchsorted(offsets - first)).astype(np.int32)
    nulls = values.is_null()
    valid = None if not values.null_count else _bitmap(nulls)
    return pa.Array.from_buffers(
        pa.binary(), len(values), [valid, pa.py_buffer(bounds), pa.py_buffer(plain[kept].tobytes())]
    )


def _bitmap(nulls: pa.Array) -> pa.Buffer:
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    return pc.invert(nulls).buffers()[1]
