"""Arrays of NumPy, handed on to Arrow and polars without a copy and without numpy.ma.

`pa.array`, `pl.Series`, `gather` and `np.unique` ask of each array of NumPy whether it is masked, and load numpy.ma for
that: 20 ms of CPU, where `check` of a small file has half a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl
    import pyarrow as pa  # type: ignore[import-untyped]

Number = TypeVar("Number", bound=np.generic)


def arrow_array(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers or truth values as an array of Arrow; numbers of the same memory, where that is one piece."""
    import pyarrow as pa  # noqa: PLC0415 (what starts without Arrow imports this module, too)

    if values.dtype == np.bool_:
        kind, held = pa.bool_(), np.packbits(values, bitorder="little")
    else:
        kind, held = pa.from_numpy_dtype(values.dtype), np.ascontiguousarray(values)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(held)])


def series(values: npt.NDArray[Any]) -> pl.Series:
    """Numbers or truth values as a series of polars without a name: to filter by, or to gather."""
    return series_of(arrow_array(values))


def series_of(array: pa.Array) -> pl.Series:
    """An array of Arrow as a series of polars without a name."""
    import polars as pl  # noqa: PLC0415 (as above)

    return pl.Series(_Exported(array))


class _Exported:
    """An array by Arrow's PyCapsule interface: where polars sees one of pyarrow, it loads pyarrow.compute, 40 ms."""

    def __init__(self, array: pa.Array) -> None:
        self._array = array

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        exported: tuple[object, object] = self._array.__arrow_c_array__(requested_schema)
        return exported


def distinct(ordered: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Sorted values, each once."""
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]
