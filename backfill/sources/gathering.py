"""Small batches put together: of ten thousand small files DuckDB would keep ten thousand, each with room for more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa  # type: ignore[import-untyped]

#: A batch of so many rows or bytes is large enough.
ENOUGH_ROWS = 16_384
ENOUGH_BYTES = 2**20


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, in batches of ENOUGH_ROWS or ENOUGH_BYTES where there are as many."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if not held and _is_enough(batch.num_rows, batch.nbytes):
            yield batch
            continue
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if _is_enough(rows, size):
            yield pa.concat_batches(held)
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_batches(held)


def _is_enough(rows: int, size: int) -> bool:
    return rows >= ENOUGH_ROWS or size >= ENOUGH_BYTES
