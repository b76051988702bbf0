"""A job's source and SQL as DuckDB sees them, without a row of it being staged."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from backfill.job.models import Job
from backfill.records import SourceFile
from backfill.sources.binding import sql_faults
from backfill.sources.checksum import unwatched
from backfill.sources.engine import Engine, open_engine, quoted
from backfill.sources.formats import one_format
from backfill.sources.layout import SourceColumn, binding_scope, empty_relation, lay_out, refuse_absent, text_columns
from backfill.sources.partitioned import with_partition_columns
from backfill.sources.schema import Schema


def look(job: Job, files: Sequence[SourceFile], further: Mapping[str, SourceFile]) -> Schema:
    """The columns of the source's own `files`, or of its query over those and `further`; raises as `inspect` does."""
    paths = [file.path for file in (*files, *further.values())]
    with (
        tempfile.TemporaryDirectory(prefix="backfill-") as folder,
        open_engine(Path(folder), paths, timezone=job.source.timezone) as engine,
    ):
        kind = one_format(job, files)
        columns, complete = _source_columns(engine, job, kind, files)
        if kind != "sqlite":
            columns = with_partition_columns(columns, job, files)
            refuse_absent(job, [column.name for column in columns])
        if job.source.query is None or kind == "sqlite":
            return _bound(engine, job, columns, complete=complete)
        return _look_at_query(engine, job, columns, further)


def _look_at_query(
    engine: Engine, job: Job, columns: Sequence[SourceColumn], further: Mapping[str, SourceFile]
) -> Schema:
    from backfill.sources.stage_query import has_decimals, input_job, query_columns, query_reads, undeclared

    names = ", ".join(quoted(column.name) for column in columns)
    engine.run(f"CREATE VIEW source AS SELECT {names} FROM {binding_scope(job, columns)}")
    for name, file in further.items():
        alone = input_job(job, file)
        inputs, _ = _source_columns(engine, alone, one_format(alone, [file]), [file])
        engine.run(f"CREATE VIEW {quoted(name)} AS SELECT * FROM {empty_relation(inputs)}")
    query_reads(engine, job, columns)
    return _bound(engine, undeclared(job), query_columns(engine, job), trimmed=has_decimals(job))


def _bound(
    engine: Engine, job: Job, columns: Sequence[SourceColumn], *, complete: bool = True, trimmed: bool = False
) -> Schema:
    if not columns:  # of a database's query that gave no row yet
        return Schema((), complete=complete)
    faults = sql_faults(engine, job, columns)
    wrong = bool(faults)
    if not complete:  # what the sample lacks may come after it; staging, which sees all, will say if it does not
        faults = tuple(fault for fault in faults if "not found" not in fault.message)
    if wrong:
        job = job.model_copy(update={"where": None, "calls": ()})
    laid_out = lay_out(engine, job, columns, trimmed=trimmed).columns
    return Schema(tuple(replace(column, failed=None) for column in laid_out), faults, complete)  # no row was asked yet


def _source_columns(
    engine: Engine, job: Job, kind: str, files: Sequence[SourceFile]
) -> tuple[tuple[SourceColumn, ...], bool]:
    """The columns of the source's rows, before any query but a database's, and whether those are all.

    Each format's reader is imported here.
    """
    if kind == "parquet":
        from backfill.sources import parquet

        return parquet.parquet_reader(engine, job, files).columns, True
    if kind == "sqlite":
        from backfill.sources import database
        from backfill.sources.stage_database import database_columns, own_query

        names = database.describe(files[0], own_query(job))
        result, complete = database.sample_classes(files[0], own_query(job), names)
        columns = database_columns(engine, job, result)
        if not complete:  # of what is all NULL so far nothing is known
            held = dict(result.columns)
            columns = tuple(column for column in columns if held[column.name] != "null")
        return columns, complete
    if kind == "ndjson":
        from backfill.sources.ndjson import NdjsonReader

        reader = NdjsonReader(engine, job, files, unwatched, sampled=True)
        return reader.columns, reader.complete
    from backfill.sources.csv_reader import header_names

    return text_columns(engine, job, header_names(files, job, kind)), True
