"""Snapshots that DuckDB makes: a reader's rows streamed through it, which computes what the job says, into one part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]
from duckdb.sqltypes import DuckDBPyType

from backfill.errors import BackfillError, JobError, counted
from backfill.job import expression_paths
from backfill.job.models import Job
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Snapshot, SnapshotPart, SourceFile
from backfill.sources.formats import one_format
from backfill.sources.freeze_wide import WIDE_COLUMNS, write_wide
from backfill.sources.partitioned import with_partitions
from backfill.sources.reader import Discarding, Reader, UnreadableFile, UnreadableSink
from backfill.sources.sql.check import bound_layout
from backfill.sources.sql.duckdb_types import sql_type
from backfill.sources.sql.engine import open_engine, quoted, reason, storage_failure
from backfill.sources.sql.layout import KEEP, Layout, place_columns, typed_relation
from backfill.sources.staging import Staging, settled

_STREAM = "__bf_stream"
_PLACES = (FILE_COLUMN, RECORD_COLUMN)


def freeze_stream(staging: Staging, reader: Reader, in_query: Sequence[str] = ()) -> Snapshot:
    """One part of all rows of the source, each with its file and record number.

    Raises:
        SourceError: what the reader raises.
        JobError: the job's SQL does not fit the columns, or fails on a row.
        BackfillError: DuckDB gave another number of rows than it was handed.
    """
    reader = with_partitions(reader, staging.job, staging.files)
    layout = bound_layout(staging.engine, staging.job, reader.columns, in_query=in_query)
    path = staging.part(0)
    with UnreadableFile(staging.unreadable_file, staging.files) as unreadable:
        handed = _Handed()
        try:
            kept = _write(staging, reader, layout, _watched(staging, reader, unreadable, handed), path, in_query)
        except duckdb.Error as error:
            failure = handed.failure
            raise (failure or storage_failure(error) or _expression_failure(staging, reader, layout, error)) from error
    if layout.keep is None and kept != handed.rows:
        came, read = counted(kept, "row", "rows"), counted(handed.rows, "row", "rows")
        raise BackfillError(f"{came} came of {read} read", hint="please report it")
    return Snapshot(
        parts=(SnapshotPart(path, kept),),
        columns=(*settled(staging.engine, path, layout.columns), *place_columns(file=True)),
        files=staging.files,
        read=handed.rows + unreadable.count,
        filtered=handed.rows - kept,
        unreadable=unreadable.count,
        in_place=False,
        unreadable_file=staging.unreadable_file if unreadable.count else None,
    )


def _write(
    staging: Staging,
    reader: Reader,
    layout: Layout,
    batches: Iterator[pa.RecordBatch],
    path: Path,
    in_query: Sequence[str],
) -> int:
    """Write the part; returns its rows."""
    if len(reader.columns) > WIDE_COLUMNS:
        empty = _schema(staging, reader)
        return write_wide(staging, reader.columns, layout, batches, path, in_query=in_query, schema=empty)
    select = layout.select(typed_relation(reader.columns, _STREAM), filtered=True, extra=_PLACES)
    first = next(batches, None)
    row_bytes = 0.0 if first is None else first.nbytes / max(first.num_rows, 1)
    with _registered(staging, reader, batches if first is None else chain([first], batches)):
        return staging.copy_counted(select, path, row_bytes)


@dataclass(slots=True)
class _Handed:
    """What a stream has given so far, and what it failed of: DuckDB keeps only the words of an error."""

    rows: int = 0
    failure: BaseException | None = field(default=None)


@contextmanager
def _registered(staging: Staging, reader: Reader, batches: Iterator[pa.RecordBatch]) -> Iterator[None]:
    """The rows as the relation _STREAM, to be read once."""
    first = next(batches, None)
    schema = _schema(staging, reader) if first is None else first.schema
    rest = batches if first is None else chain([first], batches)
    stream = pa.RecordBatchReader.from_batches(schema, rest)
    staging.engine.connection.register(_STREAM, stream)
    try:
        yield
    finally:
        staging.engine.connection.unregister(_STREAM)
        stream.close()


def _watched(staging: Staging, reader: Reader, unreadable: UnreadableSink, handed: _Handed) -> Iterator[pa.RecordBatch]:
    """The reader's batches, counted, up to the rows that are wanted where that is a sample."""
    wanted = staging.sample
    try:
        batches = reader.batches(unreadable)
        for batch in batches if wanted is not None else gathered(batches):
            taken = batch if wanted is None else batch.slice(0, wanted - handed.rows)
            handed.rows += taken.num_rows
            staging.rows += taken.num_rows
            yield taken
            if wanted is not None and handed.rows >= wanted:
                return
    except BaseException as error:
        handed.failure = error
        raise


def _schema(staging: Staging, reader: Reader) -> pa.Schema:
    """A schema of the reader's columns, where there is no batch to tell it."""
    kinds = ", ".join(f"CAST(NULL AS {_raw(column.type)}) AS {quoted(column.name)}" for column in reader.columns)
    stream = staging.engine.connection.sql(f"SELECT {kinds} LIMIT 0").to_arrow_table().schema
    return stream.append(pa.field(FILE_COLUMN, pa.uint32())).append(pa.field(RECORD_COLUMN, pa.uint64()))


def _raw(kind: DuckDBPyType) -> str:
    """The type a column has in the stream."""
    return "VARCHAR" if str(kind) == "JSON" else sql_type(kind)


def _expression_failure(staging: Staging, reader: Reader, layout: Layout, error: duckdb.Error) -> BackfillError:
    """The error to raise for an expression that fails on a row: which one, found by asking each alone."""
    columns = staging.job.expressions()
    for text, path in expression_paths(staging.job).items():
        column = quoted(columns[text]) if text in columns else KEEP
        select = layout.select(typed_relation(reader.columns, _STREAM), filtered=False)
        with _registered(staging, reader, reader.batches(Discarding())):
            try:
                staging.engine.run(f"SELECT count({column}) FROM ({select})")
            except duckdb.Error as inner:
                return JobError(
                    f"{path}: the expression fails on a row: {reason(inner)}",
                    hint="guard it, for example with TRY_CAST, nullif or CASE WHEN",
                )
    return JobError(f"the source cannot be staged: {reason(error)}")


#: A batch of so many rows or bytes is large enough.
ENOUGH_ROWS = 16_384
ENOUGH_BYTES = 2**20


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, in batches of ENOUGH_ROWS or ENOUGH_BYTES where there are as many."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if not held and _is_enough(batch.num_rows, batch.nbytes):
            yield batch
            continue
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if _is_enough(rows, size):
            yield pa.concat_batches(held)
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_batches(held)


def _is_enough(rows: int, size: int) -> bool:
    return rows >= ENOUGH_ROWS or size >= ENOUGH_BYTES


def computed(
    job: Job,
    folder: Path,
    files: tuple[SourceFile, ...],
    *,
    memory_bytes: int | None,
    threads: int | None,
    sample: int | None,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> Snapshot:
    """The snapshot of these files in `folder`, not durable yet; for the rest see `stage`."""
    zone = job.source.timezone
    with open_engine(folder, memory_bytes=memory_bytes, threads=threads, cancelled=cancelled, timezone=zone) as engine:
        try:
            return freeze(Staging(job, folder, files, engine, progress, sample))
        except duckdb.Error as error:
            raise storage_failure(error) or JobError(f"the source cannot be staged: {reason(error)}") from error


def freeze(staging: Staging) -> Snapshot:
    """The snapshot, its files not durable yet."""
    if staging.job.source.database is None and staging.job.source.query is not None:
        from backfill.sources.query import freeze_query

        return freeze_query(staging, freeze_rows)
    return freeze_rows(staging)


def freeze_rows(staging: Staging, in_query: Sequence[str] = ()) -> Snapshot:
    """The rows as the source has them; `in_query` are the columns that a query is to read.

    Each format's reader is imported where its turn comes: a run uses one.
    """
    kind = one_format(staging.job, staging.files)
    match kind:
        case "csv" | "tsv":
            from backfill.sources.csv.reader import open_csv

            reader = open_csv(staging.engine, staging.job, staging.files, kind, staging.count)
            return freeze_stream(staging, reader, in_query)
        case "parquet":
            from backfill.sources.parquet.reader import freeze_parquet

            return freeze_parquet(staging, in_query)
        case "ndjson":
            from backfill.sources.ndjson.reader import freeze_ndjson

            return freeze_ndjson(staging, in_query)
        case "sqlite":
            from backfill.sources.sqlite.reader import freeze_database

            return freeze_database(staging)
        case _:
            raise JobError(f"source.format: {kind!r} is not read", hint="csv, tsv, parquet or ndjson")
