"""Rows of which no SQL computes anything, frozen without DuckDB between the reader and the file.

To take the rows in and write them, DuckDB needs two to three times what Arrow does, most of all for its dictionaries.
Text of declared types is cast by Arrow where it is sure to (see arrow_casts), else by DuckDB for these rows alone: by
the same SQL as any other job's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import types

from backfill.disk import close_writer, out_of_space
from backfill.frozen import frozen
from backfill.job.models import ColumnSpec
from backfill.memory import ROW_GROUP_ROWS
from backfill.records import FILE_COLUMN, RECORD_COLUMN
from backfill.sources.arrow_casts import Made, are_numbers, cast_text
from backfill.sources.columns import SourceColumn
from backfill.sources.sql.casts import Cast, cast_of
from backfill.sources.sql.engine import ROW_GROUP_BYTES, quoted
from backfill.sources.sql.layout import RAW, UTC_FLAG, Layout, beside, empty_relation
from backfill.sources.staging import Staging

if TYPE_CHECKING:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

_ROWS = "__bf_rows"
_JSON = pa.json_(pa.string())
_PLACES = (pa.field(FILE_COLUMN, pa.uint32()), pa.field(RECORD_COLUMN, pa.uint64()))


@frozen
class Plain:
    """Rows that are written as they come, but for the casts of their own columns."""

    staging: Staging
    schema: pa.Schema  # of what is written
    casts: Mapping[str, Cast]  # of texts called by the column that is made of them
    columns: Mapping[str, SourceColumn]  # that are cast
    times: Mapping[str, tuple[str, ColumnSpec]]  # further columns, each made of a column of texts
    numbers: set[str]  # columns of JSON, those left in the end that are plain numbers throughout

    def write(self, batches: Iterator[pa.RecordBatch], path: Path) -> int:
        """Write the rows as one part; returns how many. Raises what the reader raises, StoppedError for a full disk."""
        rows = self.staging.engine.call(lambda: self._written(batches, path), self._progress)
        self._progress()
        return rows

    def _progress(self, _: float = 1.0) -> None:
        self.staging.progress(self.staging.rows, self.staging.bytes)

    def _written(self, batches: Iterator[pa.RecordBatch], path: Path) -> int:
        writer, rows, written = self._writer(path), 0, None
        try:
            with ThreadPoolExecutor(1, "write") as pool:  # while the next rows are read
                for table in _row_groups(map(self._cast, batches)):
                    self.staging.engine.go_on()
                    if written is not None:
                        written.result()
                    written = pool.submit(_write, writer, table, path)
                    rows += table.num_rows
                if written is not None:
                    written.result()
        finally:
            close_writer(writer, path)
        return rows

    def _writer(self, path: Path) -> pq.ParquetWriter:
        """Without dictionaries, which cost more than all else; what the footer is to tell is of texts and flags."""
        import pyarrow.parquet as pq

        told = [one.name for one in self.schema if types.is_string(one.type) or types.is_boolean(one.type)]
        options = {"compression": "zstd", "compression_level": 1, "store_schema": False, "use_dictionary": False}
        with out_of_space(path.parent):
            return pq.ParquetWriter(path, self.schema, write_statistics=told or False, **options)

    def _cast(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows as they are written."""
        made = dict(zip(batch.schema.names, batch.columns, strict=True))
        unsure = {}
        texts = {name: (made[name], _spec(column), column.sound) for name, column in self.columns.items()}
        texts |= {name: (made[source], spec, False) for name, (source, spec) in self.times.items()}
        for name, (values, spec, sound) in texts.items():
            found = Made(values, as_printed=True) if sound else cast_text(values, spec)
            if found is None:
                unsure[name] = values
                continue
            made[name], made[UTC_FLAG + name] = found.values, found.flags
            made[RAW + name] = pa.nulls(len(values), pa.string()) if found.as_printed else values
        self.numbers.difference_update([name for name in self.numbers if not are_numbers(_stored(made[name]))])
        if unsure:
            made |= self._asked(unsure)
        arrays = [_stored(made[one.name]).cast(one.type) for one in self.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _asked(self, texts: dict[str, pa.Array]) -> dict[str, pa.Array]:
        """The values, and flags, that DuckDB makes of some columns."""
        casts = [(name, self.casts[name]) for name in texts]
        wanted = [f"{cast.value} AS {quoted(name)}" for name, cast in casts]
        wanted += [f"{cast.utc_flag} AS {quoted(UTC_FLAG + name)}" for name, cast in casts if cast.utc_flag]
        wanted += [
            f"{beside(quoted(name), cast.value, cast.kind)} AS {quoted(RAW + name)}"
            for name, cast in casts
            if name not in self.times
        ]
        connection = self.staging.engine.connection
        connection.register(_ROWS, pa.table(texts))
        try:
            found = connection.sql(f"SELECT {', '.join(wanted)} FROM {_ROWS}").to_arrow_table()
        finally:
            connection.unregister(_ROWS)
        return {name: found.column(name).combine_chunks() for name in found.schema.names}


def _stored(values: pa.Array) -> pa.Array:
    """The values as they are stored: JSON is text."""
    return values.storage if isinstance(values, pa.ExtensionArray) else values


def plain(staging: Staging, layout: Layout, columns: Sequence[SourceColumn]) -> Plain | None:
    """How the reader's columns are written where nothing but casts is to be done with them; else None."""
    to_cast = {column.name: column for column in columns if column.spec is not None}
    casts = {name: cast_of(quoted(name), _spec(column), read_by_sql=False) for name, column in to_cast.items()}
    written = {column.name for column in layout.columns}
    times = {
        name: (source, ColumnSpec(type="timestamp", format=pattern))
        for (source, pattern), name in staging.job.time_columns().items()
        if name in written
    }
    casts |= {name: cast_of(quoted(name), spec, read_by_sql=False) for name, (_, spec) in times.items()}
    known = {column.name for column in columns} | {RAW + name for name in to_cast} | times.keys()
    known |= {UTC_FLAG + name for name, cast in casts.items() if cast.utc_flag}
    if layout.keep is not None or known != written:
        return None
    select = layout.select(empty_relation(layout.source), filtered=True)
    made = staging.engine.connection.sql(select).to_arrow_table().schema
    if not all(column.spec is not None or _alike(column.type, made.field(column.name).type) for column in columns):
        return None
    numbers = {column.name for column in columns if column.type == _JSON and column.spec is None}
    return Plain(staging, pa.schema([*made, *_PLACES]), casts, to_cast, times, numbers)


def _spec(column: SourceColumn) -> ColumnSpec:
    assert column.spec is not None
    return column.spec


def _alike(source: pa.DataType, written: pa.DataType) -> bool:
    """Values of the reader's type are written as they are."""
    if types.is_timestamp(source) and types.is_timestamp(written):
        return bool(source.unit == written.unit == "us" and (source.tz is None) == (written.tz is None))
    if source == _JSON:
        return bool(types.is_string(written))
    return bool(source == written) and not types.is_nested(source)


def _write(writer: pq.ParquetWriter, table: pa.Table, path: Path) -> None:
    with out_of_space(path.parent):
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)


def _row_groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows, so many together as make a row group."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        each = max(1, batch.nbytes // max(batch.num_rows, 1))
        first = 0
        while first < batch.num_rows:
            taken = batch.slice(first, min(ROW_GROUP_ROWS - rows, max(1, (ROW_GROUP_BYTES - size) // each)))
            held.append(taken)
            first, rows, size = first + taken.num_rows, rows + taken.num_rows, size + each * taken.num_rows
            if rows >= ROW_GROUP_ROWS or size + each > ROW_GROUP_BYTES:
                yield pa.Table.from_batches(held)
                held, rows, size = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)
