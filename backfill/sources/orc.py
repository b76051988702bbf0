"""ORC, https://orc.apache.org/specification/ORCv1/: read once, rows counted against the footer.

The reader of a column has buffers of its own, so that of very many columns some are read at a time, and a stripe put
together of them; a stripe that is too large for that is read in pieces, whatever its columns take.

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
#: What the columns that are read at a time may buffer: each has two streams or more, and of each a block is held.
_BUFFER_BYTES: Final = 64 * 2**20
_FEWEST_COLUMNS: Final = 16
#: A stripe that takes more is not put together.
_STRIPE_BYTES: Final = 128 * 2**20
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
            content = orc.ORCFile(_path(file))
            groups = _groups(content)
            for batch in _stripes(content, groups) if _is_light(content, groups) else _scanned(_path(file)):
                yield from sliced(batch)


def _groups(content: orc.ORCFile) -> list[list[str]]:
    """The names of columns that are read at a time."""
    columns = max(_FEWEST_COLUMNS, _BUFFER_BYTES // (2 * max(content.compression_size, 1)))
    names = content.schema.names
    return [names[start : start + columns] for start in range(0, len(names), columns)]


def _is_light(content: orc.ORCFile, groups: list[list[str]]) -> bool:
    """Whether there are several groups, and stripes, which are alike in size, can be put together of them."""
    if not groups[1:] or not content.nstripes or any("." in name for group in groups for name in group):
        return False  # pyarrow takes a point for that of a field in a struct
    return bool(content.read_stripe(0, groups[0]).nbytes * len(groups) <= _STRIPE_BYTES)


def _stripes(content: orc.ORCFile, groups: list[list[str]]) -> Iterator[pa.RecordBatch]:
    for stripe in range(content.nstripes):
        parts = [content.read_stripe(stripe, group) for group in groups]
        columns = [column for part in parts for column in part.columns]
        yield pa.RecordBatch.from_arrays(columns, content.schema.names)


def _scanned(path: str) -> Iterator[pa.RecordBatch]:
    source = ds.dataset(path, format="orc")
    yield from source.to_batches(batch_size=_ROWS, batch_readahead=0, use_threads=False)


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
