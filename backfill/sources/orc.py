"""ORC, https://orc.apache.org/specification/ORCv1/: read once, rows counted against the footer.

Pyarrow gives instants in nanoseconds, so that one before 1677 or after 2262 is an error of its file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.dataset as ds  # type: ignore[import-untyped]
from pyarrow import orc

from backfill.errors import SourceError
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.arrow_reader import Head, TypedFiles, head_of, sliced
from backfill.sources.origins.content import origin_of

#: Rows that are read at once: the file does not say how long they are.
_ROWS: Final = 1_024
_BEYOND = "out of range for nanosecond"


class OrcFiles(TypedFiles):
    """How ORC files are opened."""

    def head(self, file: SourceFile) -> Head:
        """What the footer says."""
        with _reading(file):
            content = orc.ORCFile(_path(file))
            return head_of(file, content.schema, content.nrows)

    def batches(self, file: SourceFile, head: Head) -> Iterator[pa.RecordBatch]:
        """The file's rows, in pieces."""
        del head
        with _reading(file):
            source = ds.dataset(_path(file), format="orc")
            for batch in source.to_batches(batch_size=_ROWS, batch_readahead=0, use_threads=False):
                yield from sliced(batch)


def _path(file: SourceFile) -> str:
    return str(origin_of(file).local_path())


@contextmanager
def _reading(file: SourceFile) -> Iterator[None]:
    """A block that reads the file; what pyarrow says of it is raised as SourceError."""
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError, MemoryError, ValueError) as error:
        hint = "write such times as null or as text, and name that copy" if _BEYOND in str(error) else ""
        said = str(error).partition("\n")[0].rstrip(".")
        raise SourceError(f"{file.name} cannot be read: {said}", hint=hint) from error


def open_files(job: Job) -> OrcFiles:
    """How the files of a job are opened."""
    del job
    return OrcFiles()
