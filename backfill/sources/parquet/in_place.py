"""Parquet that is read where it is: what its footers, its values and the job have to say for that, without DuckDB.

A copy costs time and disk, and to load and open DuckDB takes longer than to prepare a small file. What polars, which
prepares, reads as pyarrow does is known here: flat columns of the usual types. It is read by pyarrow all the same
before anything is made of it, for pyarrow verifies the pages' checksums, and tells what is damaged where polars may
panic. All else is staged by the reader, which knows every type and can tell what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backfill.frozen import frozen
from backfill.job.leaves import expression_columns
from backfill.job.models import Job
from backfill.memory import LARGEST_ROW_GROUP_BYTES, LARGEST_ROW_GROUP_ROWS
from backfill.records import INTERNAL_PREFIX, Column, Kind, Snapshot, SnapshotPart, SourceFile, Zone
from backfill.sources.files import base_folder
from backfill.sources.origins.content import Watch, origin_of
from backfill.sources.partitions import partitions_of

if TYPE_CHECKING:
    import polars as pl

MANY_FILES = 256
SMALL_FILE_BYTES = 2**20
#: Physical and logical type -> the kind that DuckDB's type of it has (see storage).
#: https://github.com/apache/parquet-format/blob/master/LogicalTypes.md
_KINDS = {
    ("BOOLEAN", "NONE"): Kind.BOOLEAN,
    **{(physical, logical): Kind.INTEGER for physical in ("INT32", "INT64") for logical in ("NONE", "INT")},
    ("FLOAT", "NONE"): Kind.NUMBER,
    ("DOUBLE", "NONE"): Kind.NUMBER,
    **{(physical, "DECIMAL"): Kind.DECIMAL for physical in ("INT32", "INT64", "FIXED_LEN_BYTE_ARRAY")},
    ("BYTE_ARRAY", "STRING"): Kind.TEXT,
    ("INT32", "DATE"): Kind.DATE,
    ("INT64", "TIMESTAMP"): Kind.TIMESTAMP,
}
#: Encodings that polars reads whatever the type; BYTE_STREAM_SPLIT of fixed-length bytes it does not.
_ENCODINGS = frozenset({
    "PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY",
    "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY",
})  # fmt: skip
_TIME_UNITS = ("milliseconds", "microseconds")
_LARGEST_PRECISION = 38


@frozen
class InPlace:
    """A source that is its own snapshot."""

    files: tuple[SourceFile, ...]
    columns: tuple[Column, ...]
    rows: tuple[int, ...]  # of each file
    batch_rows: int  # to be read at once

    def is_sound(self, watch: Watch, sample: int | None = None) -> bool:
        """Every value is what its type says; where one is not, the reader of the staged way tells whose.

        Only the first `sample` rows are read, if given. `watch` gets the bytes.

        Raises:
            SourceError: a file is damaged or gone.
        """
        from backfill.sources.arrow_reader import check_rows
        from backfill.sources.arrow_types import unfit
        from backfill.sources.parquet.file import raw_batches

        seen = 0
        for file, stated in zip(self.files, self.rows, strict=True):
            read = 0
            for batch in raw_batches(file, self.batch_rows):
                read += batch.num_rows
                watch(file.bytes * batch.num_rows // max(stated, 1))
                if any(next(unfit(values), None) is not None for values in batch.columns):
                    return False
                if sample is not None and seen + read >= sample:
                    return True
            seen += read
            check_rows(file, stated, read)
        return True

    def snapshot(self) -> Snapshot:
        """The snapshot that the files are."""
        parts = tuple(
            SnapshotPart(origin_of(file).local_path(), rows, index)
            for index, (file, rows) in enumerate(zip(self.files, self.rows, strict=True))
        )
        return Snapshot(parts, self.columns, self.files, sum(self.rows), 0, 0, in_place=True)


def in_place(job: Job, files: Sequence[SourceFile]) -> InPlace | None:
    """The source, if it surely can be read where it is; None where it is to be staged, or where something is wrong."""
    source = job.source
    if computes(job) or source.columns or source.query or partitioned(job, files):
        return None
    if are_many(files):
        return None
    footers = _footers(files)
    columns = _columns(footers.schema) if footers else ()
    if footers is None or not columns or not _usable(job, columns) or not read_alike(files, columns):
        return None
    return InPlace(tuple(files), columns, tuple(footers.rows), footers.batch_rows)


def computes(job: Job) -> bool:
    """Something is to be computed of the rows before they are prepared: SQL, or declared types."""
    declared = any(spec.type != "text" for spec in job.source.columns.values())
    return bool(job.where or job.source.query or expression_columns(job) or declared)


def are_many(files: Sequence[SourceFile]) -> bool:
    """So many small files are sooner copied into one, which preparing then opens a few times, than opened each."""
    return len(files) > MANY_FILES and sum(file.bytes for file in files) < SMALL_FILE_BYTES * len(files)


def are_small(rows: int, size: int) -> bool:
    """Row groups of at most that size, with `size` in uncompressed bytes, can be walked in slices."""
    return rows <= LARGEST_ROW_GROUP_ROWS and size <= LARGEST_ROW_GROUP_BYTES


def read_alike(files: Sequence[SourceFile], columns: Sequence[Column]) -> bool:
    """Polars, which prepares, reads these columns in all files as the same type, and as what the footers say.

    A file may hold an Arrow schema that has its own word: another zone or unit, a duration where Parquet has integers.
    """
    import polars as pl  # of no use to other sources

    first: dict[str, pl.DataType] = {}
    for file in files:
        try:
            stored = pl.scan_parquet(origin_of(file).local_path(), glob=False, hive_partitioning=False).collect_schema()
        except (pl.exceptions.PolarsError, OSError):  # an extension type, say
            return False
        found = {column.name: stored.get(column.name, pl.Unknown()) for column in columns}
        first = first or found
        if found != first:
            return False
    return all(column.kind is Kind.INTERVAL or _is_known(first[column.name]) for column in columns)


def _is_known(dtype: pl.DataType) -> bool:
    """Prepare has a word for it, and it is no duration, of which the footer knows nothing."""
    from backfill.encode import kind_of

    try:
        return kind_of(dtype) is not Kind.INTERVAL
    except KeyError:
        return False


def partitioned(job: Job, files: Sequence[SourceFile]) -> bool:
    """A row may have a column that its file does not hold: of a folder's name such as `year=2024`."""
    return bool(partitions_of(job, files, base_folder(job)))


def _usable(job: Job, columns: Sequence[Column]) -> bool:
    """The names are no trouble in SQL either, and no time is to be read from text."""
    names = {column.name.lower() for column in columns}
    texts = {column.name for column in columns if column.kind is Kind.TEXT}
    good = len(names) == len(columns) and all(map(_is_name, names))
    return good and not any(name in texts for name, _ in job.time_columns())


def _is_name(name: str) -> bool:
    return bool(name) and "\0" not in name and not name.startswith(INTERNAL_PREFIX)


@dataclass(slots=True)
class _Footers:
    """What the files' footers say together: one of them is of 25 KB, and there may be ten thousand."""

    schema: Any
    rows: list[int]
    batch_rows: int


def _footers(files: Sequence[SourceFile]) -> _Footers | None:
    """What pyarrow reads of each file; None where one is unlike the first, or has large row groups or odd encodings.

    Raises:
        SourceError: one is damaged or gone.
    """
    from backfill.sources.parquet.file import (  # pyarrow, of no use to other sources
        batch_rows,
        in_turn,
        opened,
        stated_rows,
    )

    footers: _Footers | None = None
    for file in in_turn(files):
        with opened(file) as content:
            footer = content.metadata
            stated_rows(file, content)
        groups = [footer.row_group(place) for place in range(footer.num_row_groups)]
        plain = all(
            _ENCODINGS.issuperset(group.column(at).encodings) for group in groups for at in range(group.num_columns)
        )
        small = all(are_small(group.num_rows, group.total_byte_size) for group in groups)
        footers = footers or _Footers(footer.schema, [], batch_rows(footer))
        if not plain or not small or not footer.schema.equals(footers.schema):
            return None
        footers.rows.append(footer.num_rows)
        footers.batch_rows = min(footers.batch_rows, batch_rows(footer))
    return footers


def _columns(schema: Any) -> tuple[Column, ...]:  # noqa: ANN401
    """The snapshot's columns; none where one is not known here."""
    found = [_column(schema.column(place)) for place in range(len(schema))]
    known = tuple(column for column in found if column is not None)
    return known if len(known) == len(found) else ()


def _column(schema: Any) -> Column | None:  # noqa: ANN401
    """The snapshot's column of a flat column of one of the usual types, else None."""
    kind = _KINDS.get((schema.physical_type, schema.logical_type.type))
    flat = schema.path == schema.name and schema.max_repetition_level == 0
    if kind is None or not flat or (kind is Kind.DECIMAL and schema.precision > _LARGEST_PRECISION):
        return None
    if kind is not Kind.TIMESTAMP:
        return Column(schema.name, kind)
    stated = json.loads(schema.logical_type.to_json())
    if stated["is_from_converted_type"] or stated["timeUnit"] not in _TIME_UNITS:
        return None
    return Column(schema.name, kind, Zone.UTC if stated["isAdjustedToUTC"] else Zone.NAIVE)
