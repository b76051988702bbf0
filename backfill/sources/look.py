"""A job's source and SQL as DuckDB sees them, without a row of it being staged."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backfill.errors import JobError
from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.formats import one_format
from backfill.sources.inspect import Schema, SqlFault
from backfill.sources.origins.content import unwatched
from backfill.sources.partitioned import with_partition_columns
from backfill.sources.sql.check import sql_faults
from backfill.sources.sql.engine import Engine, open_engine, quoted
from backfill.sources.sql.layout import (
    SourceColumn,
    binding_scope,
    empty_relation,
    lay_out,
    refuse_absent,
    text_columns,
)


def look(job: Job, files: Sequence[SourceFile], further: Mapping[str, SourceFile]) -> Schema:
    """The columns of the source's own `files`, or of its query over those and `further`; raises as `inspect` does."""
    with (
        tempfile.TemporaryDirectory(prefix="backfill-") as folder,
        open_engine(Path(folder), timezone=job.source.timezone) as engine,
    ):
        kind = one_format(job, files)
        seen = _source_columns(engine, job, kind, files)
        if kind != "sqlite":
            seen = replace(seen, columns=with_partition_columns(seen.columns, job, files))
            refuse_absent(job, [column.name for column in seen.columns])
        if job.source.query is None or kind == "sqlite":
            return _bound(engine, job, seen)
        return _look_at_query(engine, job, seen, further)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The columns of the source's rows; for the rest see Schema."""

    columns: tuple[SourceColumn, ...]
    complete: bool = True
    records: int = 0
    assumed: frozenset[str] = frozenset()


def _look_at_query(engine: Engine, job: Job, seen: _Seen, further: Mapping[str, SourceFile]) -> Schema:
    from backfill.sources.query import has_decimals, input_job, query_columns, query_reads, undeclared

    names = ", ".join(quoted(column.name) for column in seen.columns)
    engine.run(f"CREATE VIEW source AS SELECT {names} FROM {binding_scope(job, seen.columns)}")
    for name, file in further.items():
        alone = input_job(job, file)
        inputs = _source_columns(engine, alone, one_format(alone, [file]), [file]).columns
        engine.run(f"CREATE VIEW {quoted(name)} AS SELECT * FROM {empty_relation(inputs)}")
    try:
        query_reads(engine, job, seen.columns)
        columns = query_columns(engine, job)
    except JobError as error:
        if seen.complete or not _is_absence(error.message):
            raise
        doubt = SqlFault("source.query", job.source.query or "", None, error.message.removeprefix("source.query: "))
        return Schema((), (), complete=False, records=seen.records, assumed=seen.assumed, doubts=(doubt,))
    return _bound(engine, undeclared(job), _Seen(columns), trimmed=has_decimals(job))


def _is_absence(message: str) -> bool:
    """DuckDB says that a name is not there."""
    return "not found" in message


def _bound(engine: Engine, job: Job, seen: _Seen, *, trimmed: bool = False) -> Schema:
    if not seen.columns:  # of a database's query that gave no row yet
        return Schema((), complete=seen.complete)
    faults = sql_faults(engine, job, seen.columns)
    if faults:
        job = job.model_copy(update={"where": None, "calls": ()})
    doubts: tuple[SqlFault, ...] = ()
    if not seen.complete:  # what the sample lacks may come after it; staging, which sees all, will say if it does not
        doubts = tuple(fault for fault in faults if _is_absence(fault.message))
        faults = tuple(fault for fault in faults if fault not in doubts)
    laid_out = lay_out(engine, job, seen.columns, trimmed=trimmed).columns
    columns = tuple(replace(column, failed=None) for column in laid_out)  # no row was asked yet
    return Schema(columns, faults, seen.complete, seen.records, seen.assumed, doubts)


def _source_columns(engine: Engine, job: Job, kind: str, files: Sequence[SourceFile]) -> _Seen:
    """The columns of the source's rows, before any query but a database's.

    Each format's reader is imported here.
    """
    if kind == "parquet":
        from backfill.sources.parquet.reader import parquet_reader

        return _Seen(parquet_reader(engine, job, files).columns)
    if kind == "sqlite":
        from backfill.sources.sqlite.query import describe, sample_classes
        from backfill.sources.sqlite.reader import database_columns, own_query

        names = describe(files[0], own_query(job))
        result, complete = sample_classes(files[0], own_query(job), names)
        columns = database_columns(engine, job, result)
        if not complete:  # of what is all NULL so far nothing is known
            held = dict(result.columns)
            columns = tuple(column for column in columns if held[column.name] != "null")
        return _Seen(columns, complete)
    if kind == "ndjson":
        from backfill.sources.ndjson.reader import NdjsonReader

        reader = NdjsonReader(engine, job, files, unwatched, sampled=True)
        return _Seen(reader.columns, reader.complete, reader.seen, reader.assumed)
    from backfill.sources.csv.reader import header_names

    return _Seen(text_columns(engine, job, header_names(files, job, kind)))
