"""Reading the snapshot in slices: a shard is walked in frames that fit a byte budget, whatever the rows weigh."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from backfill.errors import counted
from backfill.mapping.compile import FILE_KEY_COLUMN
from backfill.memory import FRAME_BYTES
from backfill.prepare.faults import source_errors
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Kind, Snapshot, frame_name
from backfill.records.plan import SHARD_ROWS

if TYPE_CHECKING:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

#: Passes over few columns take larger pieces: of a row group of Parquet all is read, however little is wanted.
KEY_ROWS = 8 * SHARD_ROWS
#: The first slice of a snapshot is read blind: this many rows of a megabyte each are still bearable.
_FIRST_ROWS = 512
_FIRST_BYTES = _FIRST_ROWS * 2**20
#: The row's place in its shard.
ROW_COLUMN = "__bf_row"


def shard_count(rows: int) -> int:
    """How many shards so many rows make."""
    return -(-rows // SHARD_ROWS)


class Frames:
    """The staged rows of a snapshot by position, read in frames. Thread-safe; holds no data between calls."""

    def __init__(self, snapshot: Snapshot, *, frame_rows: int | None = None, limit: int | None = None) -> None:
        self._parts = snapshot.parts
        self._snapshot = snapshot
        self._keys = [file.key for file in snapshot.files]
        self._starts = list(accumulate((part.rows for part in self._parts), initial=0))
        self._fixed = frame_rows
        self._row_bytes: dict[tuple[str, ...], float] = {}  # of the frame last read of the same columns
        self._weights: dict[int, tuple[list[int], list[float]]] = {}  # of each part, once read
        self.rows = min(self._starts[-1], limit if limit is not None else self._starts[-1])
        self._stored = {frame_name(column.name): column.name for column in snapshot.columns}

    @property
    def shards(self) -> int:
        """How many shards the rows make."""
        return shard_count(self.rows)

    def bounds(self, shard: int) -> tuple[int, int]:
        """First row of a shard and the row after its last."""
        return shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, self.rows)

    @property
    def key_ranges(self) -> list[tuple[int, int]]:
        """First row and the row after the last, of pieces for a pass over few columns."""
        return [(start, min(start + KEY_ROWS, self.rows)) for start in range(0, self.rows, KEY_ROWS)]

    def walk(self, shard: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The shard's rows in order, in frames of those columns plus ROW_COLUMN (UInt32, from 0 in the shard).

        Columns have their `frame_name`.
        """
        return self.walk_rows(*self.bounds(shard), columns)

    def walk_rows(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The rows from `start` to before `stop`, in frames as of `walk`; ROW_COLUMN counts from 0 at `start`."""
        position, names = start, tuple(columns)
        while position < stop:
            rows = self._next_rows(position, stop - position, names)
            pieces = self._split(self.read(position, position + rows, columns), names)
            position += rows
            # Nothing here keeps a frame while the next one is read.
            yield from (piece.with_columns((pl.col(ROW_COLUMN) - start).cast(pl.UInt32)) for piece in pieces)

    def read(self, start: int, stop: int, columns: Sequence[str]) -> pl.DataFrame:
        """Rows by position in the snapshot; ROW_COLUMN is that position, record and file columns are filled in."""
        first, names = bisect_right(self._starts, start) - 1, [frame_name(name) for name in columns]
        pieces = []
        for index in range(first, len(self._parts)):
            low, high = self._starts[index], self._starts[index + 1]
            if low >= stop:
                break
            if high > low:
                pieces.append(self._slice(index, max(start, low) - low, min(stop, high) - low, names))
        frame = pieces[0] if len(pieces) == 1 else pl.concat(pieces)
        return frame.with_row_index(ROW_COLUMN, offset=start)

    def _slice(self, index: int, start: int, stop: int, columns: Sequence[str]) -> pl.DataFrame:
        part = self._parts[index]
        beside = [FILE_COLUMN] if FILE_KEY_COLUMN in columns and FILE_COLUMN not in columns else []
        stored = [name for name in (*columns, *beside) if name in self._stored]
        if stored:
            with source_errors(self._snapshot, part):
                frame = self._read(part.path, start, stop, stored)
        else:  # a frame without columns would forget its height
            frame = pl.DataFrame({"__bf_none": pl.repeat(0, stop - start, dtype=pl.Int8, eager=True)})
        categories = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Categorical | pl.Enum)]
        frame = frame.with_columns(pl.col(categories).cast(pl.String)) if categories else frame
        missing = [name for name in columns if name not in self._stored]
        return frame.with_columns([self._internal(name, part.file, start) for name in missing]).drop(
            beside, strict=False
        )

    def _read(self, path: Path, start: int, stop: int, names: Sequence[str]) -> pl.DataFrame:
        odd = {self._stored[name]: name for name in names if self._stored[name] != name}
        scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        frame = scan.rename(odd).slice(start, stop - start).select(names).collect()
        if len(frame) != stop - start:
            raise pl.exceptions.ComputeError(f"it ends after {counted(start + len(frame), 'row', 'rows')}")
        return frame

    def _internal(self, name: str, file: int, start: int) -> pl.Expr:
        """The columns that parts read in place do not have."""
        if name == RECORD_COLUMN:
            return pl.int_range(start + 1, start + 1 + pl.len(), dtype=pl.UInt64).alias(name)
        if name == FILE_COLUMN:
            return pl.lit(file, pl.UInt32).alias(name)
        if name == FILE_KEY_COLUMN and FILE_COLUMN not in self._stored:
            return pl.lit(self._keys[file]).alias(name)
        if name == FILE_KEY_COLUMN:
            return pl.lit(pl.Series(self._keys, dtype=pl.String)).gather(pl.col(FILE_COLUMN)).alias(name)
        raise KeyError(name)

    def _next_rows(self, position: int, left: int, names: tuple[str, ...]) -> int:
        """How many rows to read from there: those of the last frame tell what they weigh, and so do the footers."""
        if self._fixed is not None:
            return min(self._fixed, left)
        known = self._row_bytes.get(names)
        wanted = min(left, self._first_rows(left) if known is None else max(1, int(FRAME_BYTES / known)))
        return wanted if self._fit_a_frame else self._stored_in_budget(position, wanted)

    def _first_rows(self, left: int) -> int:
        """How many rows to read blind: of few rows all of them, where they cannot be heavy."""
        return left if len(self._parts) == 1 and left <= 2 * _FIRST_ROWS and self._light else _FIRST_ROWS

    @property
    def _fit_a_frame(self) -> bool:
        """All values are known to fit into one frame, which is told without reading a footer."""
        most = self._parts[0].most_bytes if len(self._parts) == 1 else None
        return most is not None and most <= FRAME_BYTES

    @cached_property
    def _light(self) -> bool:
        """Of one part all rows can be read at once: no value weighs more than its column chunk, dictionary included."""
        if self._fit_a_frame:
            return True
        with source_errors(self._snapshot, self._parts[0]):
            footer = _footer(self._parts[0].path)
        groups = [footer.row_group(place) for place in range(footer.num_row_groups)]
        chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
        return bool(sum(chunk.num_values * chunk.total_uncompressed_size for chunk in chunks) <= _FIRST_BYTES)

    def _stored_in_budget(self, position: int, wanted: int) -> int:
        """As many of the wanted rows from there, one at least, as the budget holds in the form they are stored in.

        Of the columns that are not read as well, and of what dictionaries fold up only a part: an upper bound for rows
        that weigh more than those before them.
        """
        first, budget, end = bisect_right(self._starts, position) - 1, float(FRAME_BYTES), position
        for index in range(first, len(self._parts)):
            stops, weights = self._stored_weights(index)
            for place in range(bisect_right(stops, end), len(stops)):
                fitting = end + int(budget / weights[place])
                if min(fitting, stops[place]) >= position + wanted:
                    return wanted
                if fitting < stops[place]:
                    return max(1, fitting - position)
                budget -= (stops[place] - end) * weights[place]
                end = stops[place]
        return wanted

    def _stored_weights(self, index: int) -> tuple[list[int], list[float]]:
        """Where the row groups of a part end, by position in the snapshot, and what a row of each weighs, from 1."""
        known = self._weights.get(index)
        if known is None:
            with source_errors(self._snapshot, self._parts[index]):
                footer = _footer(self._parts[index].path)
            groups = [footer.row_group(place) for place in range(footer.num_row_groups)]
            stops = list(accumulate((group.num_rows for group in groups), initial=self._starts[index]))[1:]
            known = stops, [max(1.0, group.total_byte_size / max(1, group.num_rows)) for group in groups]
            self._weights[index] = known
        return known

    def _split(self, frame: pl.DataFrame, names: tuple[str, ...]) -> Iterator[pl.DataFrame]:
        """Cut a frame where it came out heavier than the budget (dictionaries unfold, rows differ)."""
        if self._fixed is not None:
            yield frame
            return
        size = max(1, frame.estimated_size())
        self._row_bytes[names] = size / len(frame)
        pieces = min(len(frame), -(-int(size) // FRAME_BYTES))
        cuts = [len(frame) * piece // pieces for piece in range(pieces + 1)]
        for low, high in pairwise(cuts):
            yield frame.slice(low, high - low)


def _footer(path: Path) -> pq.FileMetaData:
    import pyarrow.parquet as pq  # noqa: PLC0415 (with file systems of its own, which few rows have no use for)

    return pq.read_metadata(path)


def snapshot_schema(snapshot: Snapshot) -> dict[str, pl.DataType]:
    """Column name -> polars type, of the columns that can be read (an INTERVAL of Parquet cannot)."""
    wanted = [column.name for column in snapshot.columns if column.kind is not Kind.INTERVAL]
    if not snapshot.parts:
        return dict.fromkeys(wanted, pl.String())
    with source_errors(snapshot, snapshot.parts[0]):
        stored = pl.scan_parquet(snapshot.parts[0].path, glob=False, hive_partitioning=False).collect_schema()
    texts = (pl.Categorical, pl.Enum)  # read as text, see frames
    return {name: pl.String() if isinstance(stored[name], texts) else stored[name] for name in wanted}
