"""Arrays of NumPy as Arrow and polars see them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from backfill.arrays import arrow_array, distinct, series, series_of


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("rows", [0, 1, 9, 64, 1_001])
def test_values_are_handed_on(kind: type, rows: int) -> None:
    """Arrow and polars hold what they make of the array themselves, also of one that is no single piece."""
    values = np.random.default_rng(rows).integers(0, 2, 2 * rows).astype(kind)
    for each in (values, values[::2], values[:0]):
        assert arrow_array(each).equals(pa.array(each))
        assert series(each).equals(pl.Series(each), check_dtypes=True)


@given(arrays(np.uint64, 20))
def test_each_value_once(values: np.ndarray) -> None:
    """Sorted values, each once, are what NumPy finds."""
    assert distinct(np.sort(values)).tolist() == np.unique(values).tolist()


def test_lists_keep_their_type() -> None:
    """Lists of texts stay such, where they are null or empty, too."""
    lists = pa.array([["a", "ü"], None, [], [None]], pa.large_list(pa.large_string()))
    assert series_of(lists).to_list() == lists.to_pylist()
    assert series_of(lists).dtype == pl.List(pl.String)
