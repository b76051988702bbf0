"""Small batches put together: nothing lost, nothing moved, none too large."""

from __future__ import annotations

import gc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.sources import locate
from backfill.sources.freeze import ENOUGH_BYTES, ENOUGH_ROWS, merge_small
from backfill.sources.parquet.file import in_turn
from backfill.sources.parquet.reader import ParquetFiles
from tests.support.sourcing import job_over


def batch(rows: int, width: int = 1, start: int = 0) -> pa.RecordBatch:
    """So many numbered rows of so many characters."""
    numbers = pa.array(range(start, start + rows), pa.int64())
    texts = pa.array(["x" * width] * rows, pa.string())
    lists = pa.array([[{"a": 1}]] * rows, pa.list_(pa.struct([("a", pa.int64())])))
    return pa.record_batch({"n": numbers, "t": texts, "l": lists})


@pytest.mark.parametrize("sizes", [[], [0], [3], [1] * 50, [0, ENOUGH_ROWS, 0], [5, ENOUGH_ROWS, 7], [9_000] * 5])
def test_the_same_rows(sizes: list[int]) -> None:
    """In the same order; large batches as they are."""
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    given = [batch(rows, start=start) for rows, start in zip(sizes, starts, strict=True)]
    found = list(merge_small(given))
    assert [row for one in found for row in one.column("n").to_pylist()] == list(range(sum(sizes)))
    assert all(one.num_rows >= ENOUGH_ROWS for one in found[:-1])
    if sizes == [ENOUGH_ROWS]:
        assert found[0] is given[0]


def test_wide_rows_are_not_put_together() -> None:
    """What counts is rows or bytes, whichever is reached first."""
    found = list(merge_small([batch(2, ENOUGH_BYTES // 4) for _ in range(10)]))
    assert [one.num_rows for one in found] == [4] * 5


def test_footers_are_given_back(tmp_path: Path) -> None:
    """However long the collector sleeps, the footers of many files are not kept."""
    for index in range(600):
        pq.write_table(pa.table({"id": [str(index)]}), tmp_path / f"{index}.parquet")
    files = locate(job_over(tmp_path / "*.parquet"))
    gc.collect()
    gc.disable()
    try:
        for file in in_turn(files):
            ParquetFiles().head(file)
        kept = sum(type(one).__name__ == "FileMetaData" for one in gc.get_objects())
    finally:
        gc.enable()
    assert kept <= 256
