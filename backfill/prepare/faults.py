"""Failures of libraries: of a source's own file that polars reads, and of values on which one breaks down."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import LibraryError, SourceError
from backfill.records import Snapshot, SnapshotPart

#: The errors of libraries that are loaded only where something needs them.
_ELSEWHERE = (("duckdb", "Error"), ("pyarrow", "ArrowException"))


def library_failures() -> tuple[type[BaseException], ...]:
    """What polars, DuckDB and pyarrow raise; a panic of polars is no Exception."""
    loaded = [getattr(sys.modules[module], name) for module, name in _ELSEWHERE if module in sys.modules]
    return (pl.exceptions.PolarsError, pl.exceptions.PanicException, *loaded)


@contextmanager
def library_errors(doing: str) -> Iterator[None]:
    """Raise what a library raises as a LibraryError that says what was being done.

    Raises:
        LibraryError: a library failed.
    """
    try:
        yield
    except library_failures() as error:
        raise library_error(doing, error) from error


def library_error(doing: str, error: BaseException) -> LibraryError:
    """The error to raise for a library's failure; `doing` ends the sentence."""
    library = type(error).__module__.partition(".")[0].removesuffix("_runtime").replace("pyo3", "polars")
    return LibraryError(f"{library} failed while {doing}; nothing was sent")


@contextmanager
def source_errors(snapshot: Snapshot, part: SnapshotPart) -> Iterator[None]:
    """Raise what polars and pyarrow say of a file that is read in place as the file's, also where polars panics.

    Raises:
        SourceError: the file is damaged or gone.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError) as error:
        if not snapshot.in_place:
            raise
        name, said = snapshot.files[part.file].name, str(error).partition("\n")[0]
        raise SourceError(f"{name} cannot be read: {said}", hint="write the file again, or mend its disk") from error
