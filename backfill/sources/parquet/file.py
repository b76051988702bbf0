"""A Parquet file as pyarrow opens it: pages' checksums are verified, and rows counted against the footer."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from backfill.errors import SourceError, counted
from backfill.memory import BATCH_BYTES
from backfill.records import SourceFile
from backfill.sources.arrow_reader import MOST_ROWS
from backfill.sources.arrow_records import sought
from backfill.sources.arrow_types import DEEPEST

_FEWEST_ROWS: Final = 16
#: Parquet's own levels: a list takes two of them.
_SCHEMA_LEVELS: Final = 3 * DEEPEST
#: The footer's length and the magic bytes; a nonce and a tag.
_TAIL, _SIGNATURE = 8, 28
#: The key of the Arrow schema in a footer, behind its length.
_ARROW_SCHEMA: Final = b"\x0cARROW:schema"
_COLLECTED_FILES: Final = 256
_TOO_DEEP: Final = f"it nests values more than {DEEPEST} levels deep"


def in_turn(files: Sequence[SourceFile]) -> Iterator[SourceFile]:
    """The files, what is left of the footers of those before given back on the way.

    A footer and its schema refer to each other, so that only Python's collector frees them; that counts objects, not
    their 25 KB, and the program lets it sleep long.
    """
    for number, file in enumerate(files, 1):
        yield file
        if number % _COLLECTED_FILES == 0:
            gc.collect(0)


@contextmanager
def opened(file: SourceFile) -> Iterator[pq.ParquetFile]:
    """The file, its pages' checksums verified where they have any.

    Raises:
        SourceError: the file is damaged, encrypted or gone, also where that shows while it is read.
    """
    try:
        with sought(file) as content:
            found = _file(content)
            _refuse_signed(content, found.metadata)
            if any(_holds_dictionary(field.type) for field in found.schema_arrow if not _is_dictionary(field.type)):
                found = _file(content, _without_arrow_schema(content))
            yield found
    except (OSError, pa.ArrowException, UnicodeDecodeError, MemoryError) as error:
        raise SourceError(f"{file.name} cannot be read: {_reason(error)}") from error


def _file(content: pa.NativeFile, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    return pq.ParquetFile(
        content,
        metadata=footer,
        pre_buffer=False,  # else all that is to be read is fetched at once, whatever the size
        page_checksum_verification=True,
        coerce_int96_timestamp_unit="us",  # whose nanoseconds hold no date after 2262
        schema_depth_limit=_SCHEMA_LEVELS,
    )


def _is_dictionary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind))


def _holds_dictionary(kind: pa.DataType) -> bool:
    """Values of the type, or some inside of them, are kept as places in a dictionary."""
    return _is_dictionary(kind) or any(_holds_dictionary(kind.field(place).type) for place in range(kind.num_fields))


def _without_arrow_schema(content: pa.NativeFile) -> pq.FileMetaData:
    """The footer without the word of whoever wrote the file on its Arrow types: values are then read as they are.

    Pyarrow cannot read dictionaries inside of nested values where a batch takes of two of them, and of no row group
    is it known whether it has one. The key is given another name of the same length.
    """
    content.seek(content.size() - _TAIL)
    tail = content.read(_TAIL)
    content.seek(content.size() - _TAIL - int.from_bytes(tail[:4], "little"))
    before, _, after = content.read(int.from_bytes(tail[:4], "little")).rpartition(_ARROW_SCHEMA)
    content.seek(0)
    return pq.read_metadata(pa.BufferReader(tail[4:] + before + _ARROW_SCHEMA.lower() + after + tail))


def _refuse_signed(content: pa.NativeFile, footer: pq.FileMetaData) -> None:
    """Raise OSError where a footer in plain text is that of an encrypted file: to ask pyarrow of a column aborts then.

    Behind such a footer is its signature, https://github.com/apache/parquet-format/blob/master/Encryption.md.
    """
    content.seek(content.size() - _TAIL)
    stated = int.from_bytes(content.read(_TAIL)[:4], "little")
    content.seek(0)
    if stated - footer.serialized_size == _SIGNATURE:
        raise OSError("encrypted")


def _reason(error: BaseException) -> str:
    said = str(error).partition("\n")[0].rstrip(".")
    if "crypt" in said:
        return "it is encrypted: write it without, and name that copy"
    return _TOO_DEEP if "too deeply nested" in said else said


def stated_rows(file: SourceFile, content: pq.ParquetFile) -> int:
    """The file's rows by its footer; raises SourceError where its row groups say otherwise."""
    footer = content.metadata
    held = sum(footer.row_group(place).num_rows for place in range(footer.num_row_groups))
    if held != footer.num_rows:
        stated = counted(footer.num_rows, "row", "rows")
        raise SourceError(
            f"{file.name} is damaged: its footer says {stated}, its row groups hold {held:,}",
            hint="write the file again",
        )
    return int(footer.num_rows)


def batch_rows(footer: pq.FileMetaData) -> int:
    """Rows that hold about BATCH_BYTES, by the row group whose rows are the longest."""
    groups = [footer.row_group(place) for place in range(footer.num_row_groups)]
    row_bytes = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1)
    return max(_FEWEST_ROWS, min(MOST_ROWS, int(BATCH_BYTES / max(row_bytes, 1))))


def raw_batches(file: SourceFile, rows: int) -> Iterator[pa.RecordBatch]:
    """The file's own batches, of `rows` rows each; raises as `opened` does."""
    with opened(file) as content:
        yield from content.iter_batches(batch_size=rows)
