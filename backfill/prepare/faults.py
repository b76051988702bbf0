"""Faults of a source's own file that show only where polars reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import SourceError
from backfill.records import Snapshot, SnapshotPart


@contextmanager
def naming(snapshot: Snapshot, part: SnapshotPart) -> Iterator[None]:
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
