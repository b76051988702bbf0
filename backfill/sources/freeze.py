"""Snapshots that DuckDB makes: a reader's rows streamed through it, which computes what the job says, into one part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]

from backfill.errors import BackfillError, JobError, counted
from backfill.job.models import Job
from backfill.job.references import references
from backfill.records import FILE_COLUMN, RECORD_COLUMN, Column, Snapshot, SnapshotPart, SourceFile
from backfill.sources.formats import one_format
from backfill.sources.freeze_wide import WIDE_COLUMNS, write_wide
from backfill.sources.partitions import with_partition_columns, with_partitions
from backfill.sources.reader import MoreColumnsError, Reader, UnreadableSink
from backfill.sources.sql.check import bound_layout
from backfill.sources.sql.engine import Engine, open_engine, reason, storage_failure
from backfill.sources.sql.explode import FLAG, VALUE, exploded, exploded_columns, refuse_absent_list
from backfill.sources.sql.kept import KeptEngine
from backfill.sources.sql.layout import Layout, place_columns, sql_columns, typed_relation
from backfill.sources.staging import IgnoredRecords, Staging, UnreadableFile, most_bytes, refine_columns

_STREAM = "__bf_stream"
_PLACES = (FILE_COLUMN, RECORD_COLUMN)


def freeze_stream(staging: Staging, reader: Reader) -> Snapshot:
    """One part of all rows of the source, each with its file and record number.

    Raises:
        SourceError: what the reader raises.
        JobError: the job's SQL does not fit the columns, or fails on a row.
        BackfillError: DuckDB gave another number of rows than it was handed.
    """
    reader = with_partitions(reader, staging.job, staging.files)
    staging.specs = {column.name: column.spec for column in reader.columns if column.spec is not None}
    in_query = tuple(staging.specs) if staging.for_query else ()
    layout = _layout(staging, reader, in_query)
    path = staging.part(0)
    with UnreadableFile(staging.unreadable_file, staging.files) as unreadable:
        handed = _Handed()
        try:
            batches = _counted(staging, reader, unreadable, handed)
            kept = _write(staging, reader, layout, batches, path, in_query)
        except duckdb.Error as error:
            raise (handed.failure or storage_failure(error) or _failure(staging, reader, layout, error)) from error
    if staging.job.explode is not None:
        return _exploded(staging, layout, kept, handed.rows, unreadable.count)
    if layout.keep is None and kept != handed.rows:
        came, read = counted(kept, "row", "rows"), counted(handed.rows, "row", "rows")
        raise BackfillError(f"{came} came of {read} read", hint="please report it")
    return Snapshot(
        parts=(SnapshotPart(path, kept, most_bytes=most_bytes(staging.engine, path)),),
        columns=(*_refined(staging, path, layout), *place_columns(file=True)),
        files=staging.files,
        read=handed.rows + unreadable.count,
        filtered=handed.rows - kept,
        unreadable=unreadable.count,
        in_place=False,
        unreadable_file=staging.unreadable_file if unreadable.count else None,
    )


def _refined(staging: Staging, part: Path, layout: Layout) -> tuple[Column, ...]:
    """The columns by what the part holds."""
    columns = refine_columns(staging.engine, part, layout, staging.job)
    return tuple(replace(one, numbers=True) if one.name in staging.numbers else one for one in columns)


def _layout(staging: Staging, reader: Reader, in_query: Sequence[str]) -> Layout:
    """The layout of the reader's rows, exploded."""
    columns = sql_columns(staging.engine, reader.columns)
    refuse_absent_list(staging.job, columns)
    return bound_layout(
        staging.engine, staging.job, exploded_columns(staging.engine, staging.job, columns), in_query=in_query
    )


def _relation(staging: Staging, reader: Reader) -> str:
    """SQL: the rows of the stream, exploded."""
    columns = sql_columns(staging.engine, reader.columns)
    return exploded(staging.job, columns, typed_relation(columns, _STREAM))


def _exploded(staging: Staging, layout: Layout, rows: int, records: int, unreadable: int) -> Snapshot:
    """The snapshot of exploded rows, of which `rows` were written: those that are elements, and that `where` keeps."""
    part = staging.part(0)
    if rows < records:
        came, read = counted(rows, "row", "rows"), counted(records, "record", "records")
        raise BackfillError(f"{came} came of {read} exploded", hint="please report it")
    everything = Snapshot(
        parts=(SnapshotPart(part, rows),),
        columns=(*layout.columns, *place_columns(file=True)),
        files=staging.files,
        read=rows + unreadable,
        filtered=0,
        unreadable=unreadable,
        in_place=False,
        unreadable_file=staging.unreadable_file if unreadable else None,
    )
    from backfill.sources.exploding import keep_elements

    kept = keep_elements(staging, everything, layout)
    columns = refine_columns(staging.engine, part, layout, staging.job)
    return replace(kept, columns=(*columns, *place_columns(file=True)))


def _write(
    staging: Staging,
    reader: Reader,
    layout: Layout,
    batches: Iterator[pa.RecordBatch],
    path: Path,
    in_query: Sequence[str],
) -> int:
    """Write the part; returns its rows."""
    explode = staging.job.explode is not None
    if explode and len(layout.source) > WIDE_COLUMNS:
        message = f"explode: the source has more than {WIDE_COLUMNS} columns"
        raise JobError(message, hint="select those that are wanted in a `query`, and unnest the list there")
    if len(layout.source) > WIDE_COLUMNS:
        return write_wide(staging, layout, batches, path, in_query=in_query, schema=_schema(reader))
    if not explode and not in_query and staging.sample is None:
        # What Arrow computes with takes longer to load than DuckDB takes to cast a sample, to the same values.
        from backfill.sources.freeze_plain import plain

        direct = plain(staging, layout, reader.columns)
        if direct is not None:
            rows = direct.write(batches, path)
            staging.numbers = frozenset(direct.numbers)
            return rows
    staging.numbers = frozenset()
    extra = (*_PLACES, FLAG, VALUE) if explode else _PLACES
    select = layout.select(_relation(staging, reader), filtered=not explode, extra=extra)
    first = next(batches, None)
    row_bytes = 0.0 if first is None else first.nbytes / max(first.num_rows, 1)
    with _registered(staging.engine, reader, batches if first is None else chain([first], batches)):
        return staging.copy_counted(select, path, row_bytes)


@dataclass(slots=True, repr=False, eq=False)
class _Handed:
    """What a stream has given so far, and what it failed of: DuckDB keeps only the words of an error."""

    rows: int = 0
    failure: BaseException | None = field(default=None)


@contextmanager
def _registered(engine: Engine, reader: Reader, batches: Iterator[pa.RecordBatch]) -> Iterator[None]:
    """The rows as the relation _STREAM, to be read once."""
    first = next(batches, None)
    schema = _schema(reader) if first is None else first.schema
    rest = batches if first is None else chain([first], batches)
    stream = pa.RecordBatchReader.from_batches(schema, rest)
    engine.connection.register(_STREAM, stream)
    try:
        yield
    finally:
        engine.connection.unregister(_STREAM)
        stream.close()


def _counted(staging: Staging, reader: Reader, unreadable: UnreadableSink, handed: _Handed) -> Iterator[pa.RecordBatch]:
    """The reader's batches, counted, up to the rows that are wanted where that is a sample."""
    wanted = staging.sample
    try:
        batches = reader.batches(unreadable)
        for batch in batches if wanted is not None else merge_small(batches):
            taken = batch if wanted is None else batch.slice(0, wanted - handed.rows)
            handed.rows += taken.num_rows
            staging.rows += taken.num_rows
            yield taken
            if wanted is not None and handed.rows >= wanted:
                return
    except BaseException as error:
        handed.failure = error
        raise


def _schema(reader: Reader) -> pa.Schema:
    """The schema of a reader's batches, where there is none to tell it."""
    columns = [(column.name, column.type) for column in reader.columns]
    return pa.schema([*columns, (FILE_COLUMN, pa.uint32()), (RECORD_COLUMN, pa.uint64())])


def _failure(staging: Staging, reader: Reader, layout: Layout, error: duckdb.Error) -> BackfillError:
    """The error to raise where DuckDB failed, and neither the reader nor the disk: an expression's, if it is one."""

    def again() -> AbstractContextManager[None]:
        return _registered(staging.engine, reader, reader.batches(IgnoredRecords()))

    found = staging.failing_expression(layout, _relation(staging, reader), again)
    return found or JobError(f"the source cannot be staged: {reason(error)}")


#: Batches of fewer rows and fewer bytes are merged.
ENOUGH_ROWS = 16_384
ENOUGH_BYTES = 2**20


def merge_small(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
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


def freeze_source(
    job: Job,
    folder: Path,
    files: tuple[SourceFile, ...],
    *,
    memory_bytes: int | None,
    threads: int | None,
    sample: int | None,
    progress: Callable[[int, int], None],
    stopping: Callable[[], bool],
    kept: KeptEngine | None = None,
) -> Snapshot:
    """The snapshot of these files in `folder`, not durable yet; for the rest see `stage`."""
    zone = job.source.timezone
    with (
        kept.lent(stopping)
        if kept is not None
        else open_engine(folder, memory_bytes=memory_bytes, threads=threads, stopping=stopping, timezone=zone)
    ) as engine:
        try:
            return freeze(Staging(job, folder, files, engine, progress, sample))
        except duckdb.Error as error:
            raise storage_failure(error) or JobError(f"the source cannot be staged: {reason(error)}") from error


def freeze(staging: Staging) -> Snapshot:
    """The snapshot, its files not durable yet."""
    rows = _freeze_all(staging)
    if staging.job.latest is None:
        return rows
    from backfill.sources.latest import keep_latest

    return keep_latest(staging, rows, staging.job.latest)


def _freeze_all(staging: Staging) -> Snapshot:
    if staging.job.source.query is not None and not one_format(staging.job, staging.files[:1]).is_database:
        from backfill.sources.query import freeze_query

        return freeze_query(staging, freeze_rows)
    return freeze_rows(staging)


def freeze_rows(staging: Staging) -> Snapshot:
    """The rows as the source has them.

    Where the columns are known by a sample only, and the job wants another, or the rows turn out to have others, all
    columns are found out first.
    """
    job, files = staging.job, staging.files
    reader = one_format(job, files).open(job, files, watch=staging.count, sample=staging.sample)
    if not reader.complete and _lacks(reader, staging):
        reader = reader.completed()
    read = staging.rows
    try:
        return freeze_stream(staging, reader)
    except MoreColumnsError as error:
        reader = error.reader
    except JobError:
        if reader.complete:
            raise
        reader = reader.completed()  # what the job names may come after the sample
    staging.rows = read
    return freeze_stream(staging, reader)


def _lacks(reader: Reader, staging: Staging) -> bool:
    """Whether the job takes values from a column that the reader does not have, nor any folder's name."""
    known = {column.name for column in with_partition_columns(reader.columns, staging.job, staging.files)}
    return any(each.column is not None and each.column not in known for each in references(staging.job))
