"""Reading a snapshot from its first row to its last, in pieces that memory holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

import polars as pl
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from backfill.errors import LedgerError
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Kind, Snapshot

#: Rows of a piece, where they are light.
ROWS: Final = 8_192
#: What a piece may weigh, in bytes of Arrow.
PIECE_BYTES: Final = 8 << 20
_LEAST: Final = 16


def empty_frame(snapshot: Snapshot) -> pl.DataFrame:
    """No row, with the columns that a piece of all columns would have."""
    for part in snapshot.parts:
        stored = pl.DataFrame(pl.from_arrow(pq.read_schema(part.path).empty_table().select(_readable(snapshot))))
        return _completed(stored, part.file, 0)
    return pl.DataFrame({name: pl.Series([], dtype=pl.String) for name in _readable(snapshot)})


def _readable(snapshot: Snapshot) -> list[str]:
    return [column.name for column in snapshot.columns if column.kind not in (Kind.INTERVAL, Kind.BINARY)]


def pieces(snapshot: Snapshot, names: Collection[str]) -> Iterator[pl.DataFrame]:
    """The rows in order, with those columns, and the file and record of each.

    Raises:
        LedgerError: A part of the snapshot is gone or damaged.
    """
    wanted = {*names, FILE_COLUMN, RECORD_COLUMN}
    for part in snapshot.parts:
        try:
            with pq.ParquetFile(part.path) as file:
                stored = [name for name in file.schema_arrow.names if name in wanted]
                start = 0
                for batch in file.iter_batches(_rows_at_once(file), columns=stored):
                    frame = _completed(pl.DataFrame(pl.from_arrow(batch)), part.file, start, height=batch.num_rows)
                    start += batch.num_rows
                    yield from _light(frame)
        except (OSError, ValueError) as error:  # pyarrow's own are of these
            raise LedgerError(f"{part.path} cannot be read: {str(error).splitlines()[0]}") from error


def _rows_at_once(file: pq.ParquetFile) -> int:
    """How many rows of a file to read at once, by what its footer says of their weight."""
    footer = file.metadata
    stored = sum(footer.row_group(place).total_byte_size for place in range(footer.num_row_groups))
    return int(max(_LEAST, min(ROWS, PIECE_BYTES * max(1, footer.num_rows) // max(1, stored))))


def _light(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """A piece, cut where it came out heavier than it may be (dictionaries unfold)."""
    parts = min(max(1, len(frame)), -(-int(frame.estimated_size()) // PIECE_BYTES) or 1)
    size = -(-len(frame) // parts)
    for start in range(0, len(frame), max(1, size)):
        yield frame.slice(start, size)


def _completed(frame: pl.DataFrame, file: int, start: int, height: int = 0) -> pl.DataFrame:
    """The frame with text in place of dictionaries, and the file and record that parts read in place do not have."""
    texts = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Categorical | pl.Enum)]
    frame = frame.with_columns(pl.col(name).cast(pl.String) for name in texts)
    rows = height or len(frame)
    if FILE_COLUMN not in frame.columns:
        frame = frame.with_columns(pl.Series(FILE_COLUMN, [file], dtype=pl.UInt32).new_from_index(0, rows))
    if RECORD_COLUMN not in frame.columns:
        frame = frame.with_columns(pl.Series(RECORD_COLUMN, range(start + 1, start + 1 + rows), dtype=pl.UInt64))
    return frame
